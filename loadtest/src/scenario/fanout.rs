//! `fanout`: one room, many subscribers, and a floor in the same run: a loop of bare `write`s of as many bytes on as many
//! sockets, read by the same clients.
//!
//! Both servers have one core and the clients the other; they take turns. A round is: the sender sends its messages, and the next
//! round begins when every subscriber has all of them.

pub mod floor;
pub mod nats;
mod rival;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use carillon_protocol::{Event, EventBody, Frame, RoomId, encode};
use clap::Args;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Target, client_id, create_room, room, user};
use crate::check::{Faults, Stream};
use crate::fleet::Fleet;
use crate::gateway::Gateway;
use crate::report::{Figure, Spread, Table};
use crate::worker::must_be_clean;

/// One sender is all there is, and may send as fast as it can.
const NO_RATE_LIMIT: &str = "--requests-per-second-max=1000000000";
/// Users added in one request.
const MEMBERS_PER_REQUEST: u64 = 1_000;
/// The cores, when both sides are pinned.
const SERVER_CORE: &str = "0";
const CLIENT_CORE: usize = 1;

/// What to drive.
#[derive(Args, Clone, Debug)]
pub struct Fanout {
    #[command(flatten)]
    target: Target,
    /// Subscribers
    #[arg(long, default_value_t = 10_000)]
    subscribers: u64,
    /// Messages that the sender has outstanding
    #[arg(long, default_value_t = 1)]
    outstanding: u64,
    /// Bytes of each text
    #[arg(long, default_value_t = 64)]
    bytes: usize,
    /// Seconds of each turn
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Turns that each side has
    #[arg(long, default_value_t = 5)]
    turns: u64,
    /// Compare with the WebSocket of this nats-server, in the same run
    #[arg(long, value_name = "PROGRAM")]
    nats: Option<PathBuf>,
}

/// What a turn came to.
#[derive(Serialize, Deserialize)]
struct Turn {
    deliveries_per_s: f64,
    cpu_us_per_delivery: f64,
}

/// Runs it.
pub fn run(fanout: &Fanout) -> anyhow::Result<Table> {
    let program =
        fanout.target.start.as_deref().context("fanout starts the gateway itself: --start PROGRAM")?;
    let target = Target { start: Some(pinned(program)?), ..fanout.target.clone() };
    let gateway = target.gateway_with(&["--shards=1", NO_RATE_LIMIT])?;
    pin_self()?;
    let before = gateway.resident_bytes()?;
    let mut subscribers = Subscribers::gather(fanout, &gateway)?;
    let our_bytes = (gateway.resident_bytes()? as f64 - before as f64) / fanout.subscribers as f64;
    let frame = event_frame(subscribers.room, fanout.bytes)?;
    let mut floor = floor::start(fanout, &frame)?;
    let mut nats = fanout.nats.as_deref().map(|program| nats::start(fanout, program)).transpose()?;
    let mut turns = Turns::default();
    for number in 1..=fanout.turns {
        turns.bare.push(floor.turn()?);
        turns.ours.push(subscribers.turn(fanout, &gateway)?);
        if let Some((nats, _)) = &mut nats {
            turns.nats.push(nats.turn()?);
        }
        eprintln!("turn {number}: {}", turns.last());
    }
    must_be_clean(subscribers.faults)?;
    let mut figures = turns.against_the_floor(fanout);
    if let Some((_, nats_bytes)) = nats {
        figures.extend(turns.against_nats(fanout));
        figures.push(Figure::new("a subscriber takes of the gateway", our_bytes, "bytes resident"));
        figures.push(Figure::new("a subscriber takes of nats-server", nats_bytes, "bytes resident"));
    }
    Ok(Table::new("fanout", figures))
}

/// Everyone's turns so far.
#[derive(Default)]
struct Turns {
    ours: Vec<Turn>,
    bare: Vec<Turn>,
    nats: Vec<Turn>,
}

impl Turns {
    /// How the last ones went, for people who wait.
    fn last(&self) -> String {
        let each = [("carillon", &self.ours), ("bare writes", &self.bare), ("nats-server", &self.nats)];
        let each = each.iter().filter_map(|(name, turns)| {
            let turn = turns.last()?;
            Some(format!("{name} {:.0}/s, {:.2} µs each", turn.deliveries_per_s, turn.cpu_us_per_delivery))
        });
        each.collect::<Vec<_>>().join("; ")
    }

    fn against_the_floor(&self, fanout: &Fanout) -> Vec<Figure> {
        let what = format!("{} subscribers, {} outstanding", fanout.subscribers, fanout.outstanding);
        let ratios =
            ratios(&self.ours, &self.bare, |ours, bare| ours.deliveries_per_s / bare.deliveries_per_s);
        vec![
            Figure::new(what, median(&self.ours, rate), "deliveries/s (median turn)"),
            Figure::new(
                "bare writes of as many bytes",
                median(&self.bare, rate),
                "deliveries/s (median turn)",
            ),
            Figure::new("ratio to bare writes", ratios.median, "(median turn)").at_least(0.9),
            Figure::new("  smallest of the turns", ratios.least, ""),
            Figure::new("  largest of the turns", ratios.most, ""),
            Figure::new("the gateway's processor time", median(&self.ours, cpu), "µs a delivery"),
            Figure::new("the floor's processor time", median(&self.bare, cpu), "µs a delivery"),
        ]
    }

    /// What is aimed at depends on how much can be written together.
    fn against_nats(&self, fanout: &Fanout) -> Vec<Figure> {
        let goal = if fanout.outstanding >= 16 { 10.0 } else { 2.5 };
        let by_rate =
            ratios(&self.ours, &self.nats, |ours, nats| ours.deliveries_per_s / nats.deliveries_per_s);
        let by_cpu =
            ratios(&self.ours, &self.nats, |ours, nats| nats.cpu_us_per_delivery / ours.cpu_us_per_delivery);
        vec![
            Figure::new("nats-server's WebSocket", median(&self.nats, rate), "deliveries/s (median turn)"),
            Figure::new("nats-server's processor time", median(&self.nats, cpu), "µs a delivery"),
            Figure::new("deliveries a second, to nats-server's", by_rate.median, "(median turn)"),
            Figure::new("deliveries a server CPU-second, to nats-server's", by_cpu.median, "(median turn)")
                .at_least(goal),
            Figure::new("  smallest of the turns", by_cpu.least, ""),
            Figure::new("  largest of the turns", by_cpu.most, ""),
        ]
    }
}

fn rate(turn: &Turn) -> f64 {
    turn.deliveries_per_s
}

fn cpu(turn: &Turn) -> f64 {
    turn.cpu_us_per_delivery
}

fn median(turns: &[Turn], value: fn(&Turn) -> f64) -> f64 {
    Spread::of(turns.iter().map(value).collect()).median
}

/// Ratios, each of two turns that followed one another.
fn ratios(ours: &[Turn], theirs: &[Turn], ratio: fn(&Turn, &Turn) -> f64) -> Spread {
    Spread::of(ours.iter().zip(theirs).map(|(ours, theirs)| ratio(ours, theirs)).collect())
}

/// The room's members, all connected; the first is the sender.
struct Subscribers {
    fleet: Fleet,
    room: RoomId,
    streams: Vec<Stream>,
    faults: Faults,
    sends: u64,
}

impl Subscribers {
    fn gather(fanout: &Fanout, gateway: &Gateway) -> anyhow::Result<Self> {
        let mut fleet = Fleet::new()?;
        let place = fanout.target.place(gateway)?;
        fleet.open(&place, 1..=fanout.subscribers, |_, _, _| {})?;
        let room = room(Uuid::new_v4(), 0);
        // How far the last member is: its event may come before the sender's ack.
        let mut last_seq = 0;
        fleet.links[0].say(&create_room(1, room, Vec::new()));
        answered(&mut fleet, &mut last_seq)?;
        for first in (2..=fanout.subscribers).step_by(MEMBERS_PER_REQUEST as usize) {
            let last = fanout.subscribers.min(first + MEMBERS_PER_REQUEST - 1);
            let members = (first..=last).map(user).collect::<Result<_, _>>()?;
            fleet.links[0].say(&Frame::AddMembers { request: first, room, members });
            answered(&mut fleet, &mut last_seq)?;
        }
        let additions = (fanout.subscribers - 1).div_ceil(MEMBERS_PER_REQUEST);
        let streams = (0..fanout.subscribers).map(|_| Stream::default()).collect();
        let mut all = Self { fleet, room, streams, faults: Faults::default(), sends: 0 };
        all.wait_for_last(1 + additions, last_seq)?;
        all.streams.iter_mut().for_each(|stream| stream.expect(room, 1 + additions));
        Ok(all)
    }

    /// Until the room's last addition has reached its last member, who is at `last_seq`.
    fn wait_for_last(&mut self, seq: u64, mut last_seq: u64) -> anyhow::Result<()> {
        let last = self.fleet.links.len() - 1;
        while last_seq < seq {
            self.fleet.until("the room is complete", |number, _, frame| {
                last_seq = last_seq.max(seq_at(last, number, &frame));
                last_seq >= seq
            })?;
        }
        // What is still on its way to the others.
        for _ in 0..20 {
            self.fleet.turn(Duration::from_millis(25), |_, _, _| {})?;
        }
        Ok(())
    }

    fn turn(&mut self, fanout: &Fanout, gateway: &Gateway) -> anyhow::Result<Turn> {
        let (text, room) = ("x".repeat(fanout.bytes), self.room);
        let (start, cpu) = (Instant::now(), gateway.cpu()?);
        let wanted = fanout.subscribers * fanout.outstanding;
        let mut rounds = 0;
        while start.elapsed() < Duration::from_secs(fanout.seconds) {
            for _ in 0..fanout.outstanding {
                self.sends += 1;
                let request = 1_000_000 + self.sends;
                self.fleet.links[0].say(&Frame::Send {
                    request,
                    room,
                    client_id: client_id(),
                    text: text.as_str().into(),
                });
            }
            self.fleet.flush(0)?;
            let mut came = 0;
            let (streams, faults) = (&mut self.streams, &mut self.faults);
            self.fleet.until("every subscriber has it", |number, _, frame| {
                if let Frame::Event(event) = frame {
                    streams[number].event(event.room, event.seq, faults);
                    came += 1;
                }
                came == wanted
            })?;
            rounds += 1;
        }
        Ok(turn(rounds * wanted, start, gateway.cpu()? - cpu))
    }
}

fn turn(deliveries: u64, start: Instant, cpu: Duration) -> Turn {
    Turn {
        deliveries_per_s: deliveries as f64 / start.elapsed().as_secs_f64(),
        cpu_us_per_delivery: cpu.as_secs_f64() * 1e6 / deliveries as f64,
    }
}

/// Waits for the sender's ack, and notes how far the last member comes meanwhile.
fn answered(fleet: &mut Fleet, last_seq: &mut u64) -> anyhow::Result<()> {
    fleet.flush(0)?;
    let (last, mut refused) = (fleet.links.len() - 1, None);
    fleet.until("the room grows", |number, _, frame| {
        *last_seq = seq_at(last, number, &frame).max(*last_seq);
        match frame {
            Frame::Ack { .. } => number == 0,
            Frame::Error { message, .. } => {
                refused = Some(message.into_owned());
                true
            }
            _ => false,
        }
    })?;
    refused.map_or(Ok(()), |message| Err(anyhow::anyhow!("refused: {message}")))
}

/// The seq of an event that came to this member; 0 for anything else.
fn seq_at(member: usize, number: usize, frame: &Frame<'_>) -> u64 {
    match frame {
        Frame::Event(event) if number == member => event.seq,
        _ => 0,
    }
}

/// A delivery's bytes: an event of that length, with numbers as long as they are in the run.
fn event_frame(room: RoomId, bytes: usize) -> anyhow::Result<Vec<u8>> {
    let text = "x".repeat(bytes);
    let body = EventBody::Message { client_id: client_id(), text: text.as_str().into() };
    let at_ms = 1_800_000_000_000;
    let event = Event { room, seq: 1_000, ordinal: 1_000, at_ms, sender: user(1)?, body };
    let mut frame = Vec::new();
    encode(&Frame::Event(event), &mut frame);
    Ok(frame)
}

/// A command that runs this program on the server's core; its process id is the program's.
fn on_server_core(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", SERVER_CORE]).arg(program);
    command
}

/// A program that starts the gateway on the server's core: `exec` keeps its process id the gateway's.
fn pinned(program: &Path) -> anyhow::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::temp_dir().join(format!("carillon-pinned-{}", std::process::id()));
    let program = program.canonicalize().with_context(|| format!("there is no {}", program.display()))?;
    std::fs::write(
        &path,
        format!("#!/bin/sh\nexec taskset -c {SERVER_CORE} '{}' \"$@\"\n", program.display()),
    )?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
    Ok(path)
}

fn pin_self() -> anyhow::Result<()> {
    // SAFETY: an all-zero set is an empty one, and the call reads just the one set it is given the size of.
    let result = unsafe {
        let mut cores: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(CLIENT_CORE, &mut cores);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &cores)
    };
    if result != 0 {
        eprintln!("the clients cannot be pinned to a core of their own; the figures are rougher for it");
    }
    Ok(())
}
