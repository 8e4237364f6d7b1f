//! The connection to NATS, and how it is.
//!
//! What async-nats does under pressure, and what is done about it:
//!
//! - While it is not connected it takes commands into a queue of 2,048 and then *blocks*. So nothing but tasks of the log
//!   talks to it, each with a time limit, and each partition has one message under way.
//! - What was handed to a socket that broke is gone, and nobody is told. So every answer has a time limit, and who waits
//!   for one wakes up when the connection is back ([`Connection::changed`]).
//! - A frozen server leaves the connection open. Pings find out: after three without an answer it connects elsewhere.
//! - Subscriptions drop the *newest* messages when nobody reads them. Tails therefore pull what they have room for, and
//!   look whether positions follow on each other.

use std::path::Path;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::log::LogError;

const PING: Duration = Duration::from_secs(1);
const CONNECTING: Duration = Duration::from_secs(2);
/// How long to wait between attempts to connect; it grows up to this.
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(1);
const RECONNECT_DELAY: Duration = Duration::from_millis(50);

/// A client, and when its connection changed.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    changes: watch::Receiver<u64>,
}

impl Connection {
    /// Connects, within the time given; afterwards it connects again by itself, for ever.
    pub(super) async fn open(
        servers: &[String],
        credentials: Option<&Path>,
        name: &str,
        deadline: Instant,
    ) -> Result<Self, LogError> {
        let place = || format!("NATS at {}", servers.join(","));
        let credentials = match credentials {
            None => None,
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .map_err(|source| LogError::Io { place: path.display().to_string(), source })?,
            ),
        };
        loop {
            let (changed, changes) = watch::channel(0);
            let failed = match options(name, credentials.as_deref(), changed) {
                Ok(options) => match options.connect(servers).await {
                    Ok(client) => return Ok(Self { client, changes }),
                    Err(error) => std::io::Error::other(error),
                },
                Err(error) => return Err(LogError::Io { place: place(), source: error }),
            };
            if Instant::now() > deadline {
                return Err(LogError::Io { place: place(), source: failed });
            }
            sleep(RECONNECT_DELAY).await;
        }
    }

    /// Sees every change from now on, once: connected again, or a subscription that lost messages.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        let mut changes = self.changes.clone();
        changes.mark_unchanged();
        changes
    }
}

fn options(
    name: &str,
    credentials: Option<&str>,
    changed: watch::Sender<u64>,
) -> std::io::Result<ConnectOptions> {
    let mut options = ConnectOptions::new();
    if let Some(credentials) = credentials {
        options = options.credentials(credentials)?;
    }
    Ok(options
        .name(name)
        .ping_interval(PING)
        .connection_timeout(CONNECTING)
        .reconnect_delay_callback(|attempts| {
            (RECONNECT_DELAY * attempts.min(1000) as u32).min(RECONNECT_DELAY_MAX)
        })
        .event_callback(move |event| {
            match &event {
                Event::Connected | Event::SlowConsumer(_) => changed.send_modify(|changes| *changes += 1),
                _ => {}
            }
            match event {
                Event::Connected => tracing::info!("connected to NATS"),
                Event::SlowConsumer(_) => tracing::debug!("NATS: a subscription was too slow"),
                other => tracing::warn!("NATS: {other}"),
            }
            std::future::ready(())
        }))
}
