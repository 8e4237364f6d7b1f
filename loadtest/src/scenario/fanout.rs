//! `fanout`: one room, many subscribers; against a floor, which is a loop of bare `write`s of as many bytes on as many sockets,
//! and against other servers under the same work.
//!
//! Every server has one core and all clients the other; they take turns. A round is: the sender sends its messages, and the
//! next round begins when every subscriber has all of them.

mod carillon;
mod centrifugo;
pub mod floor;
mod foreign;
mod nats;
mod peer;
pub mod side;
mod sockudo;

use std::fmt;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::Started;
use crate::contest::{Contest, Length, Missing, Unit};
use crate::report::{Figure, Table, number, verdict};
use side::{Order, Side, Who};

const UNIT: Unit = Unit { per_second: "deliveries/s", per_cpu_second: "deliveries a server CPU-second" };
/// How many times Carillon's memory for a subscriber others should take.
const MEMORY_GOAL: f64 = 20.0;

/// What to drive.
#[derive(Args, Clone, Debug)]
pub struct Fanout {
    #[command(flatten)]
    gateway: Started,
    #[command(flatten)]
    room: Room,
    /// Messages that the sender has outstanding
    #[arg(long, default_value_t = 1)]
    outstanding: u64,
    #[command(flatten)]
    length: Length,
    #[command(flatten)]
    peers: Peers,
    /// Also Carillon as one of two nodes, with the sender and the room's home at the other; takes --nats
    #[arg(long, requires = "nats")]
    across: bool,
}

/// The room.
#[derive(Args, Clone, Copy, Debug)]
#[command(next_help_heading = "Fan-out")]
pub struct Room {
    /// Subscribers
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(2..))]
    subscribers: u64,
    /// Bytes of each text
    #[arg(long, default_value_t = 64)]
    bytes: usize,
}

/// Other servers to compare with, in the same run: whichever are there.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Servers to compare with, each by its program")]
pub struct Peers {
    /// nats-server (2.10 or later): its WebSocket listener
    #[arg(long, value_name = "PROGRAM")]
    nats: Option<PathBuf>,
    /// Sockudo (cargo install sockudo, which needs protoc): the Pusher protocol
    #[arg(long, value_name = "PROGRAM")]
    sockudo: Option<PathBuf>,
    /// Centrifugo v6 (go install github.com/centrifugal/centrifugo/v6@latest): its JSON protocol
    #[arg(long, value_name = "PROGRAM")]
    centrifugo: Option<PathBuf>,
}

impl Peers {
    /// Each, or how to have it there.
    fn all(&self) -> [Result<Who, Missing>; 3] {
        let Self { nats, sockudo, centrifugo } = self.clone();
        let not_given = |name, how: &'static str| move || Missing::not_given(name, how);
        [
            nats.map(Who::Nats)
                .ok_or_else(not_given("nats-server", "install nats-server, then --nats PROGRAM")),
            sockudo
                .map(Who::Sockudo)
                .ok_or_else(not_given("Sockudo", "cargo install sockudo, then --sockudo PROGRAM")),
            centrifugo.map(Who::Centrifugo).ok_or_else(not_given(
                "Centrifugo",
                "go install github.com/centrifugal/centrifugo/v6@latest, then --centrifugo PROGRAM",
            )),
        ]
    }
}

/// Runs it.
pub fn run(fanout: &Fanout) -> anyhow::Result<Table> {
    let mut gathered = Gathered::gather(&fanout.gateway, fanout.room, &fanout.peers)?;
    if fanout.across {
        gathered.come_across(&fanout.gateway, &fanout.peers)?;
    }
    let memory = gathered.memory();
    let contest = gathered.contest(fanout.outstanding, fanout.length)?;
    let figures = contest.figures().into_iter().chain(memory.figures()).collect();
    let missing = contest.missing().cloned();
    Ok(Table::new("fanout", figures).without(missing).shown(format!("{contest}\n{memory}")))
}

/// Every server that is there, with its subscribers.
pub struct Gathered {
    sides: Vec<Side>,
    room: Room,
    missing: Vec<Missing>,
}

impl Gathered {
    /// Starts them all, one after the other, and lets everyone in.
    pub fn gather(gateway: &Started, room: Room, peers: &Peers) -> anyhow::Result<Self> {
        let carillon = Who::Carillon { program: gateway.start.clone(), flags: gateway.flags.clone() };
        let order = |who| {
            let Room { subscribers, bytes } = room;
            Order { who, transport: gateway.transport, is_tls: gateway.tls, subscribers, bytes }
        };
        let sides = vec![Side::start(order(carillon))?, Side::start(order(Who::Floor))?];
        let mut gathered = Self { sides, room, missing: Vec::new() };
        for peer in peers.all() {
            let started = peer.and_then(|who| {
                let name = who.name();
                Side::start(order(who)).map_err(|error| Missing::no_part(name, &error))
            });
            match started {
                Ok(side) => gathered.sides.push(side),
                Err(missing) => gathered.missing.push(missing),
            }
        }
        Ok(gathered)
    }

    /// Also Carillon as a node whose events come from another.
    fn come_across(&mut self, gateway: &Started, peers: &Peers) -> anyhow::Result<()> {
        if gateway.tls {
            anyhow::bail!("a cluster is driven without TLS");
        }
        let (program, flags) = (std::path::absolute(&gateway.start)?, gateway.flags.clone());
        let nats = peers.nats.clone().context("--across needs --nats")?;
        let Room { subscribers, bytes } = self.room;
        let who = Who::Across { program, flags, nats };
        let order = Order { who, transport: gateway.transport, is_tls: false, subscribers, bytes };
        self.sides.insert(1, Side::start(order)?);
        Ok(())
    }

    /// Has them all deliver, with so many messages outstanding; who fails takes no further part.
    pub fn contest(&mut self, outstanding: u64, length: Length) -> anyhow::Result<Contest> {
        let Room { subscribers, bytes } = self.room;
        let work =
            format!("fan-out of {bytes} bytes to {subscribers} subscribers, {outstanding} outstanding");
        let contest = Contest::hold(work, UNIT, &mut self.sides, outstanding, length)?;
        let contest = contest.without(&self.missing);
        // Who failed takes no part in the next one either.
        self.missing = contest.missing().cloned().collect();
        Ok(contest)
    }

    /// What their subscribers took.
    pub fn memory(&self) -> Memory {
        // What writes and nothing else keeps nothing for anyone; a second node is the first again.
        let is_compared = |side: &&Side| !matches!(side.who, Who::Floor | Who::Across { .. });
        let servers = self.sides.iter().filter(is_compared);
        Memory(servers.map(|side| (side.who.name(), side.bytes_per_subscriber)).collect())
    }
}

/// What a subscriber took of each server's memory while nothing was sent, in bytes. Carillon is the first.
pub struct Memory(Vec<(&'static str, f64)>);

impl Memory {
    /// As figures.
    pub fn figures(&self) -> Vec<Figure> {
        let each = self.0.iter().map(|&(name, bytes)| {
            Figure::new(format!("{name}: an idle subscriber"), bytes, "bytes resident")
        });
        let ratios = self.others().map(|(name, _, ratio)| {
            let name = format!("{name} to Carillon, an idle subscriber");
            Figure::new(name, ratio, "times").at_least(MEMORY_GOAL)
        });
        each.chain(ratios).collect()
    }

    fn others(&self) -> impl Iterator<Item = (&'static str, f64, f64)> {
        let ours = self.0.first().map_or(f64::NAN, |&(_, bytes)| bytes);
        self.0.iter().skip(1).map(move |&(name, bytes)| (name, bytes, bytes / ours))
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "an idle subscriber, bytes of the server's resident memory")?;
        for (name, bytes) in self.0.iter().take(1) {
            writeln!(f, "  {name:19}{:>14}", number(*bytes))?;
        }
        for (name, bytes, ratio) in self.others() {
            let verdict = verdict("≥", MEMORY_GOAL, ratio >= MEMORY_GOAL);
            writeln!(f, "  {name:19}{:>14}  {ratio:.1} times Carillon's {verdict}", number(bytes))?;
        }
        Ok(())
    }
}
