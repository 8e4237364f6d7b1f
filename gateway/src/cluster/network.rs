//! A connection to NATS that comes back by itself, and whether it is there now.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use tokio::sync::watch;

/// A server that does not answer pings is left after three of these.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// A server that takes the connection and says nothing is left after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Between tries: so much longer each time,
const RETRY_STEP_MS: u64 = 20;
/// up to this.
const RETRY_LONGEST_MS: u64 = 500;

/// Whether NATS is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Presence {
    /// It is, as far as we know: a server that stopped answering is noticed some seconds later.
    pub connected: bool,
    /// How often it came: two connections differ in it.
    pub times: u64,
}

/// Why nobody can even try to reach NATS.
#[derive(Debug, thiserror::Error)]
pub enum NotReachable {
    /// A text is no address of NATS.
    #[error("{server:?} is not an address of NATS such as nats://127.0.0.1:4222: {source}")]
    Address {
        /// The text.
        server: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The file with credentials cannot be read, or has none.
    #[error("cannot use the NATS credentials in {} (nats_credentials): {source}", path.display())]
    Credentials {
        /// Which file.
        path: PathBuf,
        /// What the system, or the reader of such files, said.
        source: io::Error,
    },
}

/// Where NATS is, and what it is shown.
#[derive(Clone, Debug)]
pub(super) struct Servers {
    addresses: Vec<ServerAddr>,
    credentials: Option<String>,
}

/// One connection of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// What operators see in NATS's list of connections.
    pub(super) name: &'static str,
    /// Commands that may wait for the socket; then publishing waits, for as long as NATS is away.
    pub(super) commands_max: usize,
    /// Messages of a subscription that may wait for us; then the newest are dropped.
    pub(super) messages_max: usize,
}

/// Servers at these addresses, which ask for what is in that file.
pub(super) fn servers(servers: &[String], credentials: Option<&Path>) -> Result<Servers, NotReachable> {
    let address = |server: &String| {
        server.parse().map_err(|source| NotReachable::Address { server: server.clone(), source })
    };
    let addresses = servers.iter().map(address).collect::<Result<_, _>>()?;
    let Some(path) = credentials else { return Ok(Servers { addresses, credentials: None }) };
    let failed = |source| NotReachable::Credentials { path: path.to_owned(), source };
    let credentials = std::fs::read_to_string(path).map_err(failed)?;
    // Looked at now, while somebody can still be told.
    with_credentials(ConnectOptions::new(), &credentials).map_err(failed)?;
    Ok(Servers { addresses, credentials: Some(credentials) })
}

/// Options that show what a file of credentials has: a user's JWT and seed, as `nsc` writes them, or the seed of an NKEY alone.
pub(crate) fn with_credentials(options: ConnectOptions, file: &str) -> io::Result<ConnectOptions> {
    let seed = file.trim();
    if seed.starts_with("SU") && !seed.contains(char::is_whitespace) {
        return Ok(options.nkey(seed.to_owned()));
    }
    options.credentials(file)
}

/// A client that connects as soon as a server is there, and again after each loss. `presence` says when it is.
pub(super) async fn connect(
    servers: Servers,
    line: Line,
    presence: watch::Sender<Presence>,
) -> Result<Client, async_nats::ConnectError> {
    let mut options = ConnectOptions::new();
    if let Some(credentials) = &servers.credentials {
        options = with_credentials(options, credentials)?;
    }
    options
        .name(line.name)
        .client_capacity(line.commands_max)
        .subscription_capacity(line.messages_max)
        .ping_interval(PING_INTERVAL)
        .connection_timeout(CONNECT_TIMEOUT)
        .retry_on_initial_connect()
        .reconnect_delay_callback(|attempts| {
            Duration::from_millis((attempts as u64 * RETRY_STEP_MS).min(RETRY_LONGEST_MS))
        })
        .event_callback(move |event| {
            note(&presence, &event, line.name);
            std::future::ready(())
        })
        .connect(servers.addresses)
        .await
}

fn note(presence: &watch::Sender<Presence>, event: &Event, name: &str) {
    match event {
        Event::Connected => {
            tracing::info!(name, "connected to NATS");
            presence.send_modify(|it| *it = Presence { connected: true, times: it.times + 1 });
        }
        Event::Disconnected | Event::Closed => {
            tracing::warn!(name, "the connection to NATS is lost; trying again until it is back");
            presence.send_modify(|it| it.connected = false);
        }
        // Links find out what is missing and ask for it; one line a message would be a storm.
        Event::SlowConsumer(_) => tracing::debug!(name, "NATS brings more than is taken"),
        other => tracing::warn!(name, %other, "NATS"),
    }
}
