//! What a server must be made to do for the fan-out, whoever it is; and one loop that has it done.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::contest::{Load, Turn};
use crate::gateway;

/// How long anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);
/// How long one look for what comes takes, if nothing does.
pub(super) const LISTEN: Duration = Duration::from_millis(100);
/// How long a server may rest before its memory is read.
const REST: Duration = Duration::from_secs(2);

/// A server of ours and its clients: subscribers of one room, and one who publishes there.
pub(super) trait Peer {
    /// The server's process.
    fn pid(&self) -> u32;

    /// Lets subscribers in until there are so many. All of them have the room when this returns.
    fn admit(&mut self, subscribers: u64) -> anyhow::Result<()>;

    /// Publishes so many messages at once.
    fn publish(&mut self, messages: u64) -> anyhow::Result<()>;

    /// Waits a little for what comes, and says how many deliveries did. One that is not what was published is an error.
    fn hear(&mut self) -> anyhow::Result<u64>;
}

/// Lets everyone in. Says how many bytes of the server's memory a subscriber takes: between half of them and all, so that
/// what grows once does not count.
pub(super) fn gather(peer: &mut dyn Peer, subscribers: u64) -> anyhow::Result<f64> {
    let half = subscribers.div_ceil(2);
    peer.admit(half)?;
    let before = at_rest(peer)?;
    peer.admit(subscribers)?;
    let after = at_rest(peer)?;
    Ok((after as f64 - before as f64) / (subscribers - half).max(1) as f64)
}

fn at_rest(peer: &mut dyn Peer) -> anyhow::Result<u64> {
    let start = Instant::now();
    while start.elapsed() < REST {
        if peer.hear()? > 0 {
            bail!("something was delivered that nobody published");
        }
    }
    gateway::resident_bytes(peer.pid())
}

/// Rounds for the length of a turn: so many messages at once, and the next when every subscriber has all of them.
pub(super) fn turn(peer: &mut dyn Peer, subscribers: u64, load: Load) -> anyhow::Result<Turn> {
    let (start, cpu) = (Instant::now(), gateway::cpu(peer.pid())?);
    let wanted = subscribers * load.outstanding;
    let mut rounds = 0;
    while start.elapsed() < load.turn {
        round(peer, load.outstanding, wanted)?;
        rounds += 1;
    }
    Ok(Turn::of(rounds * wanted, start, gateway::cpu(peer.pid())? - cpu))
}

fn round(peer: &mut dyn Peer, messages: u64, wanted: u64) -> anyhow::Result<()> {
    let start = Instant::now();
    peer.publish(messages)?;
    let mut came = 0;
    while came < wanted {
        came += peer.hear()?;
        if start.elapsed() > PATIENCE {
            bail!("{came} of {wanted} deliveries came within {PATIENCE:?}");
        }
    }
    if came > wanted {
        bail!("{came} deliveries came where {wanted} were due");
    }
    Ok(())
}
