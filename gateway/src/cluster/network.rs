//! A connection to NATS that comes back by itself, and whether it is there now.

use std::io;
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

/// A text is not an address of NATS.
#[derive(Debug, thiserror::Error)]
#[error("{server:?} is not an address of NATS such as nats://127.0.0.1:4222: {source}")]
pub struct NotAnAddress {
    server: String,
    source: io::Error,
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

/// Where servers are.
pub(super) fn addresses(servers: &[String]) -> Result<Vec<ServerAddr>, NotAnAddress> {
    let address =
        |server: &String| server.parse().map_err(|source| NotAnAddress { server: server.clone(), source });
    servers.iter().map(address).collect()
}

/// A client that connects as soon as a server is there, and again after each loss. `presence` says when it is.
pub(super) async fn connect(
    servers: Vec<ServerAddr>,
    line: Line,
    presence: watch::Sender<Presence>,
) -> Result<Client, async_nats::ConnectError> {
    ConnectOptions::new()
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
        .connect(servers)
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
