//! Log lines: to stderr, for people or for machines, from the configured level on.

use std::io::{self, IsTerminal};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::config::{Config, LogFormat};

/// Starts logging as `config` says. Only the first call in a process counts.
pub fn start(config: &Config) {
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match config.log_format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // An error only says that somebody, a test for example, logs already.
    let _ = tracing_subscriber::registry().with(lines.with_filter(config.log_level.targets())).try_init();
}
