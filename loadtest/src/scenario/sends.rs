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
use crate::report::{Figure, Recorded, Table};
use crate::worker::{self, Order, Report, Sessions, must_be_clean};

/// The longest latency that is told apart.
const LATENCY_MAX_US: u64 = 60_000_000;
/// How long after the last send everything may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// What to drive.
#[derive(Args, Clone, Debug)]
pub struct Sends {
    #[command(flatten)]
    pub(super) target: Target,
    /// Sends a second, in all
    #[arg(long, default_value_t = 50_000)]
    pub(super) rate: u64,
    /// Seconds that are measured
    #[arg(long, default_value_t = 15)]
    pub(super) seconds: u64,
    /// Seconds before them that are not
    #[arg(long, default_value_t = 5)]
    pub(super) warm_up: u64,
    /// Sessions, in all
    #[arg(long, default_value_t = 500)]
    pub(super) sessions: u64,
    /// Rooms, in all
    #[arg(long, default_value_t = 2_000)]
    pub(super) rooms: u64,
    /// Members of each room, all of them connected
    #[arg(long, default_value_t = 2)]
    pub(super) members: u64,
    /// Bytes of each text
    #[arg(long, default_value_t = 64)]
    pub(super) bytes: usize,
    /// Processes that send
    #[arg(long, default_value_t = 1)]
    pub(super) workers: u64,
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
    /// Latencies in microseconds.
    latencies: Recorded,
    /// Sends acknowledged in the time that counts.
    acknowledged: u64,
    /// Events received, in all.
    events: u64,
    /// What was wrong with the streams.
    faults: Faults,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Sends acknowledged a second, in the time that counts.
    pub per_s: f64,
    /// From when each was due until it was acknowledged, in microseconds.
    pub latencies: Histogram<u64>,
    /// Events delivered, in all.
    pub events: u64,
    /// Messages that one `fdatasync` made durable.
    pub per_sync: f64,
    /// Bytes that the log wrote for a message.
    pub log_bytes: f64,
    /// The gateway's processor time, in microseconds a send with its deliveries; nothing where it is not ours.
    pub cpu_us: Option<f64>,
    /// What was wrong with the streams.
    pub faults: Faults,
}

impl Outcome {
    /// The latency that this share of sends stays within, in milliseconds.
    pub fn ms(&self, quantile: f64) -> f64 {
        self.latencies.value_at_quantile(quantile) as f64 / 1000.0
    }
}

/// Runs it.
pub fn run(sends: &Sends) -> anyhow::Result<Table> {
    let outcome = measure(sends)?;
    must_be_clean(outcome.faults)?;
    let mut figures = vec![
        Figure::new("asked for", sends.rate as f64, "durable sends/s"),
        Figure::new("acknowledged", outcome.per_s, "durable sends/s").at_least(0.99 * sends.rate as f64),
        Figure::new("half within", outcome.ms(0.5), "ms from when it was due"),
        Figure::new("99 % within", outcome.ms(0.99), "ms").at_most(20.0),
        Figure::new("99.9 % within", outcome.ms(0.999), "ms"),
        Figure::new("the slowest", outcome.latencies.max() as f64 / 1000.0, "ms"),
        Figure::new("messages per fsync", outcome.per_sync, ""),
    ];
    if let Some(cpu_us) = outcome.cpu_us {
        let what = "µs a send with its deliveries";
        figures.push(Figure::new("the gateway's processor time", cpu_us, what));
    }
    let checked = "without a gap, a repeat or a wrong order";
    figures.push(Figure::new("events delivered and checked", outcome.events as f64, checked));
    Ok(Table::new("sends", figures))
}

/// Drives it and says what it came to, faults included.
pub fn measure(sends: &Sends) -> anyhow::Result<Outcome> {
    let gateway = sends.target.gateway()?;
    let run = Uuid::new_v4();
    let mut workers = worker::start(sends.workers)?;
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
    worker::wait(&mut workers)?;
    let cpu = gateway.pid().map(|_| gateway.cpu()).transpose()?;
    progress(&gateway, sends)?;
    let mut latencies = Histogram::<u64>::new_with_max(LATENCY_MAX_US, 3)?;
    let (mut acknowledged, mut events, mut faults) = (0, 0, Faults::default());
    for worker in &mut workers {
        let Report::Sends(measured) = worker.report()? else { anyhow::bail!("a report of something else") };
        latencies.add(measured.latencies.histogram()?)?;
        acknowledged += measured.acknowledged;
        events += measured.events;
        faults = faults.and(measured.faults);
    }
    let messages = events as f64 / sends.members as f64;
    let cpu = cpu.map(|before| anyhow::Ok(gateway.cpu()? - before)).transpose()?;
    let stats = gateway.stats()?;
    let log = |count: &str| {
        stats["log"][count].as_f64().with_context(|| format!("the gateway does not count its log's {count}"))
    };
    Ok(Outcome {
        per_s: acknowledged as f64 / sends.seconds as f64,
        latencies,
        events,
        per_sync: messages / log("syncs")?,
        log_bytes: log("bytes_written")? / messages,
        cpu_us: cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / messages),
        faults,
    })
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
    let latencies = Recorded::of(&drive.latencies);
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
            faults.missing += fleet.lost.len() as u64;
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
