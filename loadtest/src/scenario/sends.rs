//! `sends`: durable sends at a fixed rate into many rooms, and how long each takes to be acknowledged.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use carillon_protocol::{Frame, RoomId};
use clap::Args;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Target, client_id, create_room, room, user};
use crate::check::{Faults, Stream};
use crate::fleet::Fleet;
use crate::link::Link;
use crate::pace::Pace;
use crate::report::{Figure, Table};
use crate::worker::{Order, Report, Sessions, Worker, must_be_clean};

/// The longest latency that is told apart.
const LATENCY_MAX_US: u64 = 60_000_000;
/// How long after the last send everything may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to drive.
#[derive(Args, Clone, Debug)]
pub struct Sends {
    #[command(flatten)]
    target: Target,
    /// Sends a second, in all
    #[arg(long, default_value_t = 50_000)]
    rate: u64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Seconds before them that are not
    #[arg(long, default_value_t = 5)]
    warm_up: u64,
    /// Sessions, in all
    #[arg(long, default_value_t = 500)]
    sessions: u64,
    /// Rooms, in all
    #[arg(long, default_value_t = 2_000)]
    rooms: u64,
    /// Members of each room, all of them connected
    #[arg(long, default_value_t = 2)]
    members: u64,
    /// Bytes of each text
    #[arg(long, default_value_t = 64)]
    bytes: usize,
    /// Processes that send
    #[arg(long, default_value_t = 1)]
    workers: u64,
}

/// One worker's share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Load {
    run: Uuid,
    first_user: u64,
    first_room: u64,
    rooms: u64,
    members: u64,
    rate: f64,
    warm_up_s: u64,
    seconds: u64,
    bytes: usize,
}

/// What a worker measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Latencies in microseconds, and how often each.
    latencies: Vec<(u64, u64)>,
    /// Sends acknowledged in the time that counts.
    acknowledged: u64,
    /// Events received, in all.
    events: u64,
    /// What was wrong with the streams.
    faults: Faults,
}

/// Runs it.
pub fn run(sends: &Sends) -> anyhow::Result<Table> {
    let gateway = sends.target.gateway()?;
    let run = Uuid::new_v4();
    let mut workers: Vec<Worker> = (0..sends.workers).map(|_| Worker::start()).collect::<Result<_, _>>()?;
    for (index, worker) in workers.iter_mut().enumerate() {
        let index = index as u64;
        let (count, rooms) = (sends.sessions / sends.workers, sends.rooms / sends.workers);
        let first_user = 1 + index * count;
        let (address, transport, key) = (gateway.address, sends.target.transport, gateway.key());
        worker.order(&Order::Open(Sessions { address, transport, key, first_user, count }))?;
        worker.order(&Order::Sends(Load {
            run,
            first_user,
            first_room: index * rooms,
            rooms,
            members: sends.members,
            rate: sends.rate as f64 / sends.workers as f64,
            warm_up_s: sends.warm_up,
            seconds: sends.seconds,
            bytes: sends.bytes,
        }))?;
    }
    for worker in &mut workers {
        worker.report()?;
    }
    progress(&gateway, sends)?;
    let mut latencies = Histogram::<u64>::new_with_max(LATENCY_MAX_US, 3)?;
    let (mut acknowledged, mut events, mut faults) = (0, 0, Faults::default());
    for worker in &mut workers {
        let Report::Sends(measured) = worker.report()? else { anyhow::bail!("a report of something else") };
        for (value, count) in measured.latencies {
            latencies.record_n(value, count)?;
        }
        acknowledged += measured.acknowledged;
        events += measured.events;
        faults = faults.and(measured.faults);
    }
    must_be_clean(faults)?;
    let stats = gateway.stats()?;
    let syncs = stats["log"]["syncs"].as_f64().context("the gateway does not count its syncs")?;
    let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(Table::new(
        "sends",
        vec![
            Figure::new("asked for", sends.rate as f64, "durable sends/s"),
            Figure::new("acknowledged", acknowledged as f64 / sends.seconds as f64, "durable sends/s")
                .at_least(0.99 * sends.rate as f64),
            Figure::new("half within", ms(0.5), "ms from when it was due"),
            Figure::new("99 % within", ms(0.99), "ms").at_most(20.0),
            Figure::new("99.9 % within", ms(0.999), "ms"),
            Figure::new("the slowest", latencies.max() as f64 / 1000.0, "ms"),
            Figure::new("messages per fsync", events as f64 / sends.members as f64 / syncs, ""),
            Figure::new(
                "events delivered and checked",
                events as f64,
                "without a gap, a repeat or a wrong order",
            ),
        ],
    ))
}

/// Says how far it is while the workers drive.
fn progress(gateway: &crate::gateway::Gateway, sends: &Sends) -> anyhow::Result<()> {
    let mut last = 0;
    for second in 1..=sends.warm_up + sends.seconds {
        std::thread::sleep(Duration::from_secs(1));
        let frames = gateway.stats()?["frames"].as_u64().unwrap_or(0);
        eprint!("\r{second} s of {}: {} frames/s ", sends.warm_up + sends.seconds, frames - last);
        last = frames;
    }
    eprintln!();
    Ok(())
}

/// A send that is under way: when it was due, and into which room.
type UnderWay = HashMap<u64, (Instant, RoomId)>;

/// One worker's driving.
struct Drive {
    streams: Vec<Stream>,
    under_way: UnderWay,
    heads: HashMap<RoomId, u64>,
    latencies: Histogram<u64>,
    measure_from: Instant,
    measure_to: Instant,
    acknowledged: u64,
    events: u64,
    faults: Faults,
}

impl Drive {
    fn heard(&mut self, number: usize, frame: Frame<'_>) {
        match frame {
            Frame::Event(event) => {
                self.events += 1;
                self.streams[number].event(event.room, event.seq, &mut self.faults);
            }
            Frame::Ack { request, seq, .. } => {
                let Some((due, room)) = self.under_way.remove(&request) else { return };
                let head = self.heads.entry(room).or_default();
                *head = seq.max(*head);
                if due >= self.measure_from && due < self.measure_to {
                    self.acknowledged += 1;
                    let latency_us = due.elapsed().as_micros() as u64;
                    self.latencies.saturating_record(latency_us);
                }
            }
            Frame::Error { .. } | Frame::Lagged { .. } => self.faults.refused += 1,
            _ => {}
        }
    }
}

/// A worker's side: creates its rooms, then sends at its rate until the time is over and everything has arrived.
pub fn drive(fleet: &mut Fleet, load: &Load) -> anyhow::Result<Measured> {
    let rooms = create_rooms(fleet, load)?;
    let start = Instant::now();
    let measure_from = start + Duration::from_secs(load.warm_up_s);
    let measure_to = measure_from + Duration::from_secs(load.seconds);
    let mut drive = Drive {
        streams: streams(fleet, &rooms),
        under_way: HashMap::new(),
        heads: HashMap::new(),
        latencies: Histogram::new_with_max(LATENCY_MAX_US, 3)?,
        measure_from,
        measure_to,
        acknowledged: 0,
        events: 0,
        faults: Faults::default(),
    };
    let text = "x".repeat(load.bytes);
    let mut pace = Pace::new(load.rate, start);
    while Instant::now() < measure_to {
        let now = Instant::now();
        while let Some(due) = pace.due(now) {
            let number = pace.begun();
            let (room, members) = &rooms[number as usize % rooms.len()];
            let sender = members[(number as usize / rooms.len()) % members.len()];
            send(&mut fleet.links[sender], number, *room, &text);
            drive.under_way.insert(number, (due, *room));
            fleet.mark(sender);
        }
        fleet.flush_marked()?;
        let patience = pace.next().saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        fleet.turn(patience, |number, _, frame| drive.heard(number, frame))?;
    }
    settle(fleet, &mut drive)?;
    let latencies =
        drive.latencies.iter_recorded().map(|it| (it.value_iterated_to(), it.count_at_value())).collect();
    Ok(Measured { latencies, acknowledged: drive.acknowledged, events: drive.events, faults: drive.faults })
}

fn send(link: &mut Link, request: u64, room: RoomId, text: &str) {
    link.say(&Frame::Send { request, room, client_id: client_id(), text: text.into() });
}

/// Waits until every send is answered and every event has come; what has not by then is missing.
fn settle(fleet: &mut Fleet, drive: &mut Drive) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        fleet.turn(Duration::from_millis(20), |number, _, frame| drive.heard(number, frame))?;
        let mut faults = Faults { missing: drive.under_way.len() as u64, ..Faults::default() };
        drive.streams.iter().for_each(|stream| stream.end(&drive.heads, &mut faults));
        if faults.is_none() || Instant::now() > deadline {
            faults.missing += fleet.lost;
            drive.faults = drive.faults.and(faults);
            return Ok(());
        }
    }
}

/// The worker's rooms, with the clients in each.
type Rooms = Vec<(RoomId, Vec<usize>)>;

fn create_rooms(fleet: &mut Fleet, load: &Load) -> anyhow::Result<Rooms> {
    let sessions = fleet.links.len() as u64;
    let mut rooms = Rooms::new();
    for index in 0..load.rooms {
        // Each lap around the sessions takes another step between members, so that rooms differ.
        let step = 1 + index / sessions;
        let members: Vec<u64> = (0..load.members).map(|place| (index + place * step) % sessions).collect();
        let others =
            members[1..].iter().map(|member| user(load.first_user + member)).collect::<Result<_, _>>()?;
        let room = room(load.run, load.first_room + index);
        fleet.links[members[0] as usize].say(&create_room(1 + index, room, others));
        fleet.flush(members[0] as usize)?;
        rooms.push((room, members.into_iter().map(|member| member as usize).collect()));
    }
    let (mut created, mut events, mut refused) = (0, 0, None);
    let wanted: u64 = rooms.iter().map(|(_, members)| distinct(members)).sum();
    fleet.until("rooms are created", |_, _, frame| {
        match frame {
            Frame::Ack { .. } => created += 1,
            Frame::Event(_) => events += 1,
            Frame::Error { message, .. } => refused = Some(message.into_owned()),
            _ => {}
        }
        (created == load.rooms && events == wanted) || refused.is_some()
    })?;
    refused.map_or(Ok(rooms), |message| Err(anyhow::anyhow!("a room was refused: {message}")))
}

fn distinct(members: &[usize]) -> u64 {
    let mut members = members.to_vec();
    members.sort_unstable();
    members.dedup();
    members.len() as u64
}

fn streams(fleet: &Fleet, rooms: &Rooms) -> Vec<Stream> {
    let mut streams: Vec<Stream> = fleet.links.iter().map(|_| Stream::default()).collect();
    for (room, members) in rooms {
        // The event that created the room has come already.
        members.iter().for_each(|&member| streams[member].expect(*room, 1));
    }
    streams
}
