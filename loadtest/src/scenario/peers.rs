//! `peers`: Carillon and other servers under the same work in one run: `echo` and `fanout`, with one message outstanding and with
//! many.

use clap::Args;

use super::Started;
use super::echo::{Talk, Talking};
use super::fanout::{Gathered, Peers, Room};
use crate::contest::{Contest, Length};
use crate::report::Table;

/// Bytes of each echoed message.
const ECHO_BYTES: usize = 512;
/// Messages outstanding: one alone, and as many as are worth writing together.
const OUTSTANDING: [u64; 2] = [1, 16];

const EXAMPLE: &str = "\
Example, with all of them there:
  cargo build --release -p carillon-gateway --bin carillon --example echo
  cargo build --release -p carillon-loadtest -p carillon-bench
  target/release/carillon-loadtest peers --start target/release/carillon \\
      --nats nats-server --sockudo sockudo --centrifugo centrifugo --json peers.json

Who is not there is said to be missing. All servers have core 0, one after the other, and all clients core 1.";

/// What to compare.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLE)]
pub struct Compared {
    #[command(flatten)]
    gateway: Started,
    #[command(flatten)]
    peers: Peers,
    #[command(flatten)]
    room: Room,
    #[command(flatten)]
    talk: Talk,
    #[command(flatten)]
    length: Length,
}

/// Runs it.
pub fn run(compared: &Compared) -> anyhow::Result<Table> {
    let mut contests = echoes(compared)?;
    let mut gathered = Gathered::gather(&compared.gateway, compared.room, &compared.peers)?;
    let memory = gathered.memory();
    for outstanding in OUTSTANDING {
        contests.push(gathered.contest(outstanding, compared.length)?);
    }
    let figures = contests.iter().flat_map(|contest| contest.figures()).chain(memory.figures()).collect();
    let shown: String = contests.iter().map(|contest| format!("{contest}\n")).collect();
    let missing = contests.iter().flat_map(|contest| contest.missing()).cloned();
    Ok(Table::new("peers", figures).without(missing).shown(format!("{shown}{memory}")))
}

/// The echo servers are gone again when the others come.
fn echoes(compared: &Compared) -> anyhow::Result<Vec<Contest>> {
    let mut talking = Talking::begin(&compared.talk, ECHO_BYTES)?;
    OUTSTANDING.into_iter().map(|outstanding| talking.contest(outstanding, compared.length)).collect()
}
