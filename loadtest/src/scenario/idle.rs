//! `idle`: what a session costs that does nothing. Memory is read at two sizes, so that what a node costs without any falls
//! out, and several times, as sessions come and go.

use std::time::Duration;

use anyhow::Context;
use carillon_protocol::Frame;
use clap::Args;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Target, create_room, room, user};
use crate::fleet::Fleet;
use crate::gateway;
use crate::report::{Figure, Spread, Table};
use crate::worker::{self, Order, Sessions, Worker};

/// Rooms that a worker creates at a time: creating is not what is measured, and a node takes only so many at once.
const ROOMS_AT_ONCE: u64 = 256;

/// The store's cache fills as sessions come back, up to its size: at its smallest it does so before the first reading, and
/// what is measured after that is sessions.
pub(super) const SMALL_CACHE: &str = "--store-cache-bytes=1048576";

/// What to measure.
#[derive(Args, Clone, Debug)]
pub struct Idle {
    #[command(flatten)]
    pub(super) target: Target,
    /// Sessions at the first reading
    #[arg(long, default_value_t = 4_000)]
    pub(super) small: u64,
    /// Sessions at the second
    #[arg(long, default_value_t = 16_000)]
    pub(super) large: u64,
    /// Rooms that each session's user is a member of; as many members are in each room
    #[arg(long, default_value_t = 20)]
    pub(super) rooms: u64,
    /// Processes that hold the clients' ends
    #[arg(long, default_value_t = 2)]
    pub(super) workers: u64,
    /// Seconds to let the node come to rest before each reading
    #[arg(long, default_value_t = 30)]
    pub(super) rest: u64,
    /// How often the many come; their going is measured too
    #[arg(long, default_value_t = 3)]
    pub(super) times: u64,
    /// Leave the store's cache at its own size, and measure it too as it fills
    #[arg(long)]
    pub(super) with_cache: bool,
}

impl Idle {
    fn cache_flag(&self) -> &'static [&'static str] {
        if self.with_cache { &[] } else { &[SMALL_CACHE] }
    }
}

/// Rooms for a worker to create: one for each of its users, who each are a member of as many.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rooms {
    run: Uuid,
    first_user: u64,
    users: u64,
    members: u64,
}

/// Each of the worker's users creates the room of their number, with the users after them (around the corner) as members: so
/// everyone is in as many rooms as a room has members.
pub fn create_rooms(fleet: &mut Fleet, rooms: &Rooms) -> anyhow::Result<()> {
    let first_link = fleet.links.len() - rooms.users as usize;
    for first in (0..rooms.users).step_by(ROOMS_AT_ONCE as usize) {
        let last = rooms.users.min(first + ROOMS_AT_ONCE);
        for index in first..last {
            let members =
                (1..rooms.members).map(|step| user(rooms.first_user + (index + step) % rooms.users));
            let id = room(rooms.run, rooms.first_user + index);
            fleet.links[first_link + index as usize].say(&create_room(
                1,
                id,
                members.collect::<Result<_, _>>()?,
            ));
            fleet.flush(first_link + index as usize)?;
        }
        created(fleet, last - first)?;
    }
    Ok(())
}

/// Waits until so many rooms are there.
fn created(fleet: &mut Fleet, wanted: u64) -> anyhow::Result<()> {
    let mut created = 0;
    fleet.until("rooms are created", |_, _, frame| {
        created += u64::from(matches!(frame, Frame::Ack { .. }));
        created == wanted
    })
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The gateway's resident memory without sessions, with few, with many, and a minute after all left.
    pub resident_bytes: [u64; 4],
    /// Bytes that a session takes of it, by each coming and going.
    pub session_bytes: Spread,
    /// Bytes that a session's two sockets take of the kernel.
    pub kernel_bytes: f64,
    /// Processor time of the gateway that a session at rest takes, in microseconds a second.
    pub cpu_us_per_s: f64,
}

/// Runs it.
pub fn run(idle: &Idle) -> anyhow::Result<Table> {
    let outcome = measure(idle)?;
    let [before, few, many, after] = outcome.resident_bytes.map(|bytes| bytes as f64);
    let Spread { least, median, most } = outcome.session_bytes;
    Ok(Table::new(
        "idle",
        vec![
            Figure::new("memory without sessions", before / 1e6, "MB resident"),
            Figure::new(format!("memory with {} sessions", idle.small), few / 1e6, "MB resident"),
            Figure::new(format!("memory with {} sessions", idle.large), many / 1e6, "MB resident"),
            Figure::new(
                format!("a session, member of {} rooms", idle.rooms),
                median,
                "bytes of the gateway's memory",
            )
            .at_most(1024.0),
            Figure::new("  least of the times", least, "bytes"),
            Figure::new("  most of the times", most, "bytes"),
            Figure::new("memory a minute after all left, of that before", after / before, "").at_most(1.1),
            Figure::new(
                "its two sockets (both ends are here)",
                outcome.kernel_bytes,
                "bytes of the kernel's slabs",
            ),
            Figure::new("a session's pings", outcome.cpu_us_per_s, "µs of processor time a second")
                .at_most(1.0),
        ],
    ))
}

/// Measures it.
pub fn measure(idle: &Idle) -> anyhow::Result<Outcome> {
    let mut gateway = idle.target.gateway_with(idle.cache_flag())?;
    let (address, tls, key) = (gateway.address, gateway.tls, gateway.key());
    let sessions = |first_user, count| {
        let (transport, tls, key) = (idle.target.transport, tls, key.clone());
        Order::Open(Sessions { address, others: Vec::new(), transport, tls, key, first_user, count })
    };
    eprintln!("{} users create a room each, with {} members", idle.large, idle.rooms);
    let share = idle.large / idle.workers;
    let run = Uuid::new_v4();
    let mut makers = worker::start(idle.workers)?;
    for (index, maker) in makers.iter_mut().enumerate() {
        let first_user = 1 + index as u64 * share;
        maker.order(&sessions(first_user, share))?;
        maker.order(&Order::CreateRooms(Rooms { run, first_user, users: share, members: idle.rooms }))?;
    }
    // Sessions, then rooms.
    worker::wait(&mut makers)?;
    worker::wait(&mut makers)?;
    drop(makers);
    // What creating them took is not what having them takes.
    eprintln!("the gateway starts again, with the rooms on disk");
    gateway.restart()?;
    let before = gateway.resident_bytes()?;
    let kernel_before = gateway::kernel_bytes()?;
    let mut few = worker::start(idle.workers)?;
    open(idle, &mut few, &sessions, 0, idle.small)?;
    rest(idle.rest, idle.small);
    let mut readings = vec![gateway.resident_bytes()?];
    let mut many = Vec::new();
    for _ in 0..idle.times {
        drop(std::mem::take(&mut many));
        if readings.len() > 1 {
            rest(idle.rest, idle.small);
            readings.push(gateway.resident_bytes()?);
        }
        many = worker::start(idle.workers)?;
        open(idle, &mut many, &sessions, idle.small, idle.large)?;
        rest(idle.rest, idle.large);
        readings.push(gateway.resident_bytes()?);
    }
    let (cpu, cpu_for) = (gateway.cpu()?, Duration::from_secs(10));
    std::thread::sleep(cpu_for);
    let cpu_us_per_s = (gateway.cpu()? - cpu).as_micros() as f64 / cpu_for.as_secs_f64();
    let kernel_after = gateway::kernel_bytes()?;
    let stats = gateway.stats()?;
    let connected = stats["connections"].as_u64().context("no count of connections")?;
    anyhow::ensure!(connected >= idle.large, "only {connected} connections are left");
    drop((few, many));
    rest(60, 0);
    let after = gateway.resident_bytes()?;
    let session_bytes = Spread::of(slopes(&readings, idle.large - idle.small));
    // Both ends are on this machine, so each session's share of the kernel is two sockets.
    let kernel = (kernel_after as f64 - kernel_before as f64) / idle.large as f64;
    let (few, many) = (readings[readings.len() - 2], readings[readings.len() - 1]);
    Ok(Outcome {
        resident_bytes: [before, few, many, after],
        session_bytes,
        kernel_bytes: kernel,
        cpu_us_per_s: cpu_us_per_s / idle.large as f64,
    })
}

/// What a session takes, by each coming and going of so many: what starting left behind is given back at some time, and
/// the median does not see it.
fn slopes(readings: &[u64], sessions: u64) -> Vec<f64> {
    let steps = readings.windows(2).enumerate();
    let slope = |(index, step): (usize, &[u64])| {
        let sign = if index % 2 == 0 { 1.0 } else { -1.0 };
        sign * (step[1] as f64 - step[0] as f64) / sessions as f64
    };
    steps.map(slope).collect()
}

/// Opens the sessions of the users after the first `from` and up to `to`, shared among the workers.
fn open(
    idle: &Idle,
    workers: &mut [Worker],
    sessions: &impl Fn(u64, u64) -> Order,
    from: u64,
    to: u64,
) -> anyhow::Result<()> {
    let share = idle.large / idle.workers;
    for (index, worker) in workers.iter_mut().enumerate() {
        let first_user = 1 + index as u64 * share + from / idle.workers;
        worker.order(&sessions(first_user, (to - from) / idle.workers))?;
    }
    worker::wait(workers)
}

/// Lets sessions be, and says how long still.
pub(super) fn rest(seconds: u64, size: u64) {
    for left in (1..=seconds).rev() {
        eprint!("\r{size} sessions are open; {left} s of rest ");
        std::thread::sleep(Duration::from_secs(1));
    }
    eprintln!("\r{size} sessions are open and at rest      ");
}
