//! `hold`: so many sessions at once, more than one process has descriptors for: on several gateways, each a node of its own,
//! whose clients are a worker of their own. All of them are reached: each answers pings while it rests, and each hears every
//! message sent into the room that all sessions of its gateway are in.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use uuid::Uuid;

use super::Started;
use super::idle::{SMALL_CACHE, rest};
use crate::clock::now_us;
use crate::drive::lead::LEAD;
use crate::drive::{Load, Measured, Mix, Rooms, Timing};
use crate::gateway::{self, Gateway};
use crate::report::{Figure, Spread, Table};
use crate::worker::{self, Order, Report, Sessions, Worker};

/// Descriptors of a process that are not its clients'.
const OWN_FILES: u64 = 300;
/// Seconds between a gateway's messages: each is a delivery to every session.
const MESSAGE_EVERY_S: u64 = 2;
/// How long sessions may take to answer a ping, after their rest.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to hold.
#[derive(Args, Clone, Debug)]
pub struct Hold {
    #[command(flatten)]
    gateway: Started,
    /// Sessions, on all gateways together
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    sessions: u64,
    /// Gateways, each a process with its share of the sessions; as many processes hold the clients' ends
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(1..=64))]
    gateways: u64,
    /// Seconds in which they do nothing but answer pings (one in 25 s)
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    rest: u64,
    /// Messages to every session, afterwards
    #[arg(long, default_value_t = 5)]
    messages: u64,
    /// Bytes of each text
    #[arg(long, default_value_t = 64)]
    bytes: usize,
}

/// A gateway, and the process that has its clients.
struct Pair {
    // Who goes first: a gateway that leaves would be told of by every client.
    clients: Worker,
    gateway: Gateway,
    sessions: Sessions,
}

/// What processes take.
struct Reading {
    /// Resident memory of each gateway, in bytes.
    gateways_bytes: Vec<u64>,
    /// That of all clients' processes.
    clients_bytes: u64,
    kernel_bytes: u64,
    /// Processor time of all gateways.
    cpu: Duration,
}

/// What was seen of it.
struct Seen {
    before: Reading,
    /// As soon as all had come.
    fresh: Reading,
    /// After their rest.
    rested: Reading,
    came_in: Duration,
    /// Descriptors of the gateway that has the most.
    open_files: usize,
    answered: u64,
    connected: u64,
    measured: Measured,
}

/// Runs it.
pub fn run(hold: &Hold) -> anyhow::Result<Table> {
    if hold.sessions < hold.gateways {
        bail!("{} sessions are too few for {} gateways", hold.sessions, hold.gateways);
    }
    if hold.messages == 0 {
        bail!("a session that hears nothing is not known to be there (--messages)");
    }
    make_room_for(hold.sessions.div_ceil(hold.gateways))?;
    let mut pairs = (0..hold.gateways).map(|index| hold.pair(index)).collect::<anyhow::Result<Vec<_>>>()?;
    let seen = hold.see(&mut pairs)?;
    Ok(Table::new("hold", hold.figures(&pairs, &seen)?))
}

impl Hold {
    fn see(&self, pairs: &mut [Pair]) -> anyhow::Result<Seen> {
        let before = Reading::of(pairs)?;
        eprintln!("{} sessions come to {} gateways", self.sessions, self.gateways);
        let start = Instant::now();
        order_all(pairs, |pair| Order::Open(pair.sessions.clone()))?;
        let came_in = start.elapsed();
        let fresh = Reading::of(pairs)?;
        rest(self.rest, self.sessions);
        let rested = Reading::of(pairs)?;
        let open_files = pairs.iter().map(|pair| open_files(&pair.gateway)).collect::<Result<Vec<_>, _>>()?;
        let answered = wait_for_pings(pairs, self.sessions)?;
        eprintln!("{} messages to every session", self.messages);
        let measured = self.reach_everyone(pairs)?;
        let connected = connected(pairs)?;
        let open_files = open_files.into_iter().max().unwrap_or(0);
        Ok(Seen { before, fresh, rested, came_in, open_files, answered, connected, measured })
    }

    fn figures(&self, pairs: &[Pair], seen: &Seen) -> anyhow::Result<Vec<Figure>> {
        let deliveries = seen.measured.deliveries_us.histogram()?;
        let wanted = self.messages * self.sessions;
        if deliveries.len() != wanted {
            bail!("{} deliveries came where {wanted} were due", deliveries.len());
        }
        let (before, rested, sessions) = (&seen.before, &seen.rested, self.sessions as f64);
        let each = |before: u64, rested: u64| (rested as f64 - before as f64) / sessions;
        let of_gateways = before.gateways_bytes.iter().zip(&rested.gateways_bytes).zip(pairs);
        let Spread { least, median, most } = Spread::of(
            of_gateways
                .map(|((before, rested), pair)| {
                    (*rested as f64 - *before as f64) / pair.sessions.count as f64
                })
                .collect(),
        );
        let rest_us = (rested.cpu - seen.fresh.cpu).as_micros() as f64 / self.rest as f64;
        let ms = |quantile| deliveries.value_at_quantile(quantile) as f64 / 1000.0;
        Ok(vec![
            Figure::new("sessions held to the end", seen.connected as f64, "sessions").at_least(sessions),
            Figure::new("  gateway processes", self.gateways as f64, "each with a process of clients"),
            Figure::new("  descriptors of a gateway", seen.open_files as f64, "at the most"),
            Figure::new("  came in", seen.came_in.as_secs_f64(), "s"),
            Figure::new("what a gateway grew by, for a session", median, "bytes resident"),
            Figure::new("  least of the gateways", least, "bytes"),
            Figure::new("  most of the gateways", most, "bytes"),
            Figure::new(
                "a session's two sockets (both ends are here)",
                each(before.kernel_bytes, rested.kernel_bytes),
                "bytes of the kernel's slabs",
            ),
            Figure::new(
                "its client",
                each(before.clients_bytes, rested.clients_bytes),
                "bytes of the load tool's memory",
            ),
            Figure::new("its pings", rest_us / sessions, "µs of processor time a second").at_most(1.0),
            Figure::new("sessions that answered pings", seen.answered as f64, "sessions").at_least(sessions),
            Figure::new(
                "messages that every session heard",
                (seen.measured.acknowledged / self.gateways) as f64,
                "without a gap, a repeat or a wrong order",
            )
            .at_least(self.messages as f64),
            Figure::new("  deliveries", deliveries.len() as f64, ""),
            Figure::new("  half within", ms(0.5), "ms from when the send was due, on all gateways at once"),
            Figure::new("  99 % within", ms(0.99), "ms"),
            Figure::new("  the last within", deliveries.max() as f64 / 1000.0, "ms"),
        ])
    }

    fn pair(&self, index: u64) -> anyhow::Result<Pair> {
        let gateway = self.gateway.target().gateway_with(&[SMALL_CACHE])?;
        let sessions = Sessions {
            address: gateway.address,
            others: Vec::new(),
            transport: self.gateway.transport,
            tls: gateway.tls,
            key: gateway.key(),
            first_user: 1,
            count: self.sessions * (index + 1) / self.gateways - self.sessions * index / self.gateways,
        };
        Ok(Pair { gateway, clients: Worker::start()?, sessions })
    }

    /// Each gateway's first user makes a room of all its users and sends into it, all at the same moments.
    fn reach_everyone(&self, pairs: &mut [Pair]) -> anyhow::Result<Measured> {
        order_all(pairs, |pair| Order::Gather(Box::new(self.load(&pair.sessions))))?;
        let order = Order::Drive { start_us: now_us() + LEAD.as_micros() as u64 };
        pairs.iter_mut().try_for_each(|pair| pair.clients.order(&order))?;
        let mut measured = Measured::default();
        for pair in pairs.iter_mut() {
            let heads = loop {
                match pair.clients.report()? {
                    Report::Second(_) => {}
                    Report::Driven(heads) => break heads,
                    _ => bail!("a report of something else"),
                }
            };
            pair.clients.order(&Order::Settle(heads))?;
        }
        for pair in pairs {
            let Report::Settled(of_one) = pair.clients.report()? else { bail!("a report of something else") };
            measured.add(*of_one);
        }
        measured.must_be_clean()?;
        Ok(measured)
    }

    fn load(&self, sessions: &Sessions) -> Load {
        Load {
            run: Uuid::new_v4(),
            sessions: sessions.clone(),
            rooms: Rooms::One { users: sessions.count, senders: 1 },
            mix: Mix { sends_per_s: 1.0 / MESSAGE_EVERY_S as f64, ..Mix::default() },
            bytes: self.bytes,
            timing: Timing { ramp_s: 0, warm_up_s: 0, seconds: self.messages * MESSAGE_EVERY_S },
            slow: None,
        }
    }
}

impl Reading {
    fn of(pairs: &[Pair]) -> anyhow::Result<Self> {
        let (mut clients_bytes, mut cpu) = (0, Duration::ZERO);
        for pair in pairs {
            clients_bytes += gateway::resident_bytes(pair.clients.pid())?;
            cpu += pair.gateway.cpu()?;
        }
        let gateways_bytes = pairs.iter().map(|pair| pair.gateway.resident_bytes());
        Ok(Self {
            gateways_bytes: gateways_bytes.collect::<Result<_, _>>()?,
            clients_bytes,
            kernel_bytes: gateway::kernel_bytes()?,
            cpu,
        })
    }
}

/// Raises the limit on open files, which every process started from here has too, or says how many gateways it takes.
fn make_room_for(sessions_each: u64) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    }
    let Some(maximum) = limit.maximum else { return Ok(()) };
    if sessions_each + OWN_FILES > maximum {
        let most = maximum.saturating_sub(OWN_FILES);
        bail!(
            "{sessions_each} sessions of a gateway need more than the {maximum} files that a process may have open here: \
             at most {most} sessions each, so more of them (--gateways), or a higher limit (ulimit -n)"
        );
    }
    Ok(())
}

/// Has every worker carry out an order, all at once.
fn order_all(pairs: &mut [Pair], order: impl Fn(&Pair) -> Order) -> anyhow::Result<()> {
    for pair in pairs.iter_mut() {
        let order = order(pair);
        pair.clients.order(&order)?;
    }
    pairs.iter_mut().try_for_each(|pair| worker::wait(std::slice::from_mut(&mut pair.clients)))
}

/// Waits until so many sessions have answered a ping.
fn wait_for_pings(pairs: &mut [Pair], sessions: u64) -> anyhow::Result<u64> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut answered = 0;
        for pair in pairs.iter_mut() {
            pair.clients.order(&Order::CountPinged)?;
            let Report::Pinged(more) = pair.clients.report()? else { bail!("a report of something else") };
            answered += more;
        }
        if answered == sessions {
            return Ok(answered);
        }
        if Instant::now() > deadline {
            bail!(
                "only {answered} of {sessions} sessions were pinged and answered, {PATIENCE:?} after their rest"
            );
        }
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn open_files(gateway: &Gateway) -> anyhow::Result<usize> {
    let pid = gateway.pid().context("a gateway of ours")?;
    Ok(std::fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// Sessions that the gateways have now; whoever asks is a connection too, and no session.
fn connected(pairs: &[Pair]) -> anyhow::Result<u64> {
    let mut all = 0;
    for pair in pairs {
        let stats = pair.gateway.stats()?;
        let connections = stats["connections"].as_u64().context("no count of connections")?;
        all += connections.min(pair.sessions.count);
    }
    Ok(all)
}
