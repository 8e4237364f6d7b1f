//! `carillon doctor`: what limits a node on this machine, and what to set.
//!
//! Each check reads one fact and says whether it holds fewer connections than the settings ask for. Facts that this
//! system does not have (another kernel, a container that hides them) are reported as such, and guessed by nobody.

mod checks;
mod disk;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::{Config, with_underscores};

/// What a connection takes of the kernel, in bytes: a socket with nothing under way (measured by
/// `carillon-loadtest idle`, half of what both ends take).
pub const KERNEL_BYTES_PER_CONNECTION: u64 = 4_700;
/// What a session takes of the node, in bytes, at most.
pub const NODE_BYTES_PER_SESSION: u64 = 1_024;

/// What TLS adds to that, in bytes, at most.
pub const TLS_BYTES_PER_SESSION: u64 = 3_072;

/// Where facts are read: the running machine, or folders that stand for it in a test.
#[derive(Clone, Debug)]
pub struct Machine {
    /// `/proc`.
    pub proc: PathBuf,
    /// `/sys`.
    pub sys: PathBuf,
    /// How many files the process may hold: at once, and at most if it asks.
    pub descriptors: Descriptors,
    /// Cores that this process may use.
    pub cores: usize,
}

/// Limits on open files (`RLIMIT_NOFILE`); nothing where there is none.
#[derive(Clone, Copy, Debug)]
pub struct Descriptors {
    /// As it is. `carillon serve` raises it as far as it may.
    pub now: Option<u64>,
    /// As far as it may be raised.
    pub most: Option<u64>,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        Self {
            proc: "/proc".into(),
            sys: "/sys".into(),
            descriptors: Descriptors { now: limit.current, most: limit.maximum },
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// What a check came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is as it should be.
    Good,
    /// It holds back what is asked for.
    Limits {
        /// At how many connections, where it can be said.
        connections: Option<u64>,
        /// What to do about it.
        advice: String,
    },
    /// It cannot be told.
    Unknown,
}

/// One fact.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// Of what.
    pub name: &'static str,
    /// As it was found.
    pub found: String,
    /// What follows from it.
    pub verdict: Verdict,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, found: found.into(), verdict: Verdict::Good }
    }

    /// Of something that holds so many connections, of as many as are wanted.
    fn of(name: &'static str, found: String, holds: u64, wanted: u64, advice: String) -> Self {
        if holds >= wanted { Self::good(name, found) } else { Self::limits(name, found, holds, advice) }
    }

    fn limits(
        name: &'static str,
        found: impl Into<String>,
        connections: impl Into<Option<u64>>,
        advice: impl Into<String>,
    ) -> Self {
        let verdict = Verdict::Limits { connections: connections.into(), advice: advice.into() };
        Self { name, found: found.into(), verdict }
    }

    fn unknown(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, found: found.into(), verdict: Verdict::Unknown }
    }
}

/// All of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Findings {
    /// In the order in which they are shown.
    pub checks: Vec<Check>,
    /// How many connections the settings ask for.
    pub wanted: u64,
}

/// Looks at everything. Writes a small file in the data folder (or where that will be), times its way to the disk, and
/// removes it.
pub fn examine(machine: &Machine, config: &Config) -> Findings {
    let wanted = config.connections_max as u64;
    let mut checks = vec![
        checks::open_files(machine, wanted),
        checks::open_files_of_the_system(machine, wanted),
        checks::memory(machine, config, wanted),
        checks::socket_memory(machine, wanted),
        checks::accept_queue(machine),
        checks::tracked_connections(machine, wanted),
        checks::port_range(machine),
        checks::cores(machine, config),
        checks::governor(machine),
        disk::sync_time(nearest_folder(&config.data)),
    ];
    checks.extend(checks::certificate(config));
    Findings { checks, wanted }
}

/// The folder itself, or the nearest one above it that is there.
fn nearest_folder(folder: &Path) -> &Path {
    folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."))
}

impl Findings {
    /// What holds the fewest connections, if anything holds fewer than are asked for.
    pub fn first_limit(&self) -> Option<(&Check, u64)> {
        let limits = self.checks.iter().filter_map(|check| match check.verdict {
            Verdict::Limits { connections: Some(connections), .. } => Some((check, connections)),
            _ => None,
        });
        limits.min_by_key(|&(_, connections)| connections)
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        for Check { name, found, verdict } in &self.checks {
            let word = match verdict {
                Verdict::Good => "ok",
                Verdict::Limits { .. } => "limits",
                Verdict::Unknown => "unknown",
            };
            writeln!(f, "  {word:7}  {name:width$}  {found}")?;
            if let Verdict::Limits { advice, .. } = verdict {
                writeln!(f, "  {:7}  {:width$}  -> {advice}", "", "")?;
            }
        }
        writeln!(f)?;
        match self.first_limit() {
            Some((check, connections)) => writeln!(
                f,
                "The first limit is {}: about {} connections. The settings ask for {} (connections_max).",
                check.name,
                thousands(connections),
                thousands(self.wanted)
            ),
            None => writeln!(
                f,
                "Nothing here holds fewer than the {} connections that the settings ask for (connections_max).",
                thousands(self.wanted)
            ),
        }
    }
}

/// A number with its thousands apart.
fn thousands(number: u64) -> String {
    with_underscores(number).replace('_', ",")
}

#[cfg(test)]
mod tests;
