//! `capacity`: how many connections and messages a machine will hold. It measures here what a session, a send and a delivery
//! cost, looks for the highest rate that still answers in time, and shows the arithmetic from these to a node of given
//! cores and memory.
//!
//! Clients and node share this machine, so the rate found here is a lower bound; what each thing costs the node is
//! the node's own processor time and memory.

use anyhow::bail;
use clap::Args;

use super::{Started, idle, sends};
use crate::drive::lead::Run;
use crate::report::search::{Search, Try};
use crate::report::{Figure, Table};

/// The share of a node's cores and memory that may be spent: the rest is for bursts, reconnecting clients and the system.
const SHARE: f64 = 0.7;
/// What a node takes beside its sessions, in bytes.
const OWN_BYTES: f64 = 256e6;
/// The first rate that is tried; each further one is twice as high, until one is too high.
const FIRST_RATE: u64 = 5_000;
/// How often the space between the last good rate and the first bad one is halved.
const HALVINGS: u32 = 3;

/// Members that a room has more when deliveries are told apart from sends.
const EXTRA_MEMBERS: u64 = 8;

/// What to find out.
#[derive(Args, Clone, Debug)]
pub struct Capacity {
    #[command(flatten)]
    gateway: Started,
    /// Cores of the node that is asked about
    #[arg(long, default_value_t = 8)]
    cores: u64,
    /// Its memory, in GiB
    #[arg(long, default_value_t = 16)]
    memory_gib: u64,
    /// The latency that 99 % of durable sends must stay within, in ms
    #[arg(long, default_value_t = 20.0)]
    p99_ms: f64,
    /// Messages that each session sends in a minute
    #[arg(long, default_value_t = 2.0)]
    per_minute: f64,
    /// Members of each room
    #[arg(long, default_value_t = 10)]
    members: u64,
    /// Sessions that send, in the search for the highest rate
    #[arg(long, default_value_t = 100)]
    sessions: u64,
    /// Seconds that each rate is measured
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Sessions at rest, at the larger of two sizes, whose memory is measured
    #[arg(long, default_value_t = 8_000)]
    idle_sessions: u64,
}

/// What things cost a node, as measured.
#[derive(Clone, Copy, Debug)]
struct Costs {
    /// Bytes of the node for a session at rest.
    session_bytes: f64,
    /// Bytes of the kernel for its socket.
    kernel_bytes: f64,
    /// Processor time of a session at rest, in µs a second.
    session_us_per_s: f64,
    /// Processor time of a durable send, without deliveries, in µs.
    send_us: f64,
    /// Processor time of one delivery, in µs.
    delivery_us: f64,
    /// Bytes of the log for a message.
    log_bytes: f64,
}

/// Runs it.
pub fn run(capacity: &Capacity) -> anyhow::Result<Table> {
    if capacity.members < 2 {
        bail!("a room has at least two members (--members)");
    }
    eprintln!("1. sessions at rest");
    let idle = idle::measure(&idle::Idle {
        target: capacity.gateway.target(),
        small: capacity.idle_sessions / 4,
        large: capacity.idle_sessions,
        rooms: 20,
        workers: 2,
        rest: 20,
        times: 3,
        with_cache: false,
    })?;
    eprintln!("2. the highest rate of durable sends, 2 members a room");
    let knee = capacity.knee()?;
    let Some(good) = &knee.good else {
        bail!(
            "at {FIRST_RATE} sends/s 99 % took more than {} ms already: no rate was found",
            capacity.p99_ms
        );
    };
    eprintln!("3. what a delivery costs: the same with {} members a room", 2 + EXTRA_MEMBERS);
    let rate = (knee.rate / 4).max(1_000);
    let (few, many) = (capacity.measure(rate, 2)?, capacity.measure(rate, 2 + EXTRA_MEMBERS)?);
    let (few_us, many_us) = (few.cpu_us.unwrap_or(f64::NAN), many.cpu_us.unwrap_or(f64::NAN));
    let delivery_us = (many_us - few_us).max(0.0) / EXTRA_MEMBERS as f64;
    let costs = Costs {
        // A plan rather counts on too much than on too little.
        session_bytes: idle.session_bytes.most,
        kernel_bytes: idle.kernel_bytes / 2.0,
        session_us_per_s: idle.cpu_us_per_s,
        send_us: (few_us - 2.0 * delivery_us).max(0.0),
        delivery_us,
        log_bytes: good.log_bytes,
    };
    let mut figures = vec![
        Figure::new(
            "highest rate found here",
            knee.rate as f64,
            "durable sends/s, clients on the same cores",
        ),
        Figure::new("  99 % within, at it", good.drive.ack_ms(0.99), "ms").at_most(capacity.p99_ms),
        Figure::new("  messages per fsync, at it", good.per_sync, ""),
        Figure::new("a session at rest", costs.session_bytes, "bytes of the node, at the most"),
        Figure::new("  its socket", costs.kernel_bytes, "bytes of the kernel"),
        Figure::new("  its pings", costs.session_us_per_s, "µs of processor time a second"),
        Figure::new("a durable send", costs.send_us, "µs of processor time"),
        Figure::new("a delivery", costs.delivery_us, "µs of processor time"),
        Figure::new("a message on disk", costs.log_bytes, "bytes of the log"),
    ];
    figures.extend(capacity.node(&costs));
    let Knee { rate, tries, .. } = knee;
    Ok(Table::new("capacity", figures).with_search(Search { tries, bound_ms: capacity.p99_ms, knee: rate }))
}

/// The highest rate that answers in time.
struct Knee {
    rate: u64,
    good: Option<sends::Outcome>,
    tries: Vec<Try>,
}

impl Capacity {
    fn measure(&self, rate: u64, members: u64) -> anyhow::Result<sends::Outcome> {
        sends::measure(&sends::Sends {
            target: self.gateway.target(),
            rate,
            sessions: self.sessions,
            rooms: 2_000,
            members,
            bytes: 64,
            gateways: None,
            servers: "3".to_owned(),
            nats: None,
            run: Run { seconds: self.seconds, warm_up: 2, ramp: 0, workers: 1 },
        })
    }

    /// Doubles the rate until sends take too long, and then halves the space between.
    fn knee(&self) -> anyhow::Result<Knee> {
        let mut knee = Knee { rate: 0, good: None, tries: Vec::new() };
        let mut bad = None;
        let mut rate = FIRST_RATE;
        let mut halvings = 0;
        while halvings < HALVINGS {
            let mut outcome = self.attempt(rate, &mut knee.tries)?;
            if !self.is_in_time(rate, &outcome) {
                // Once may be somebody else's doing.
                outcome = self.attempt(rate, &mut knee.tries)?;
            }
            let in_time = self.is_in_time(rate, &outcome);
            let verdict = if in_time { "in time" } else { "too late, twice" };
            eprintln!("   {rate} sends/s: 99 % within {:.1} ms: {verdict}", outcome.drive.ack_ms(0.99));
            match in_time {
                true => (knee.rate, knee.good) = (rate, Some(outcome)),
                false => bad = Some(rate),
            }
            rate = match bad {
                None => 2 * rate,
                Some(bad) => {
                    halvings += 1;
                    knee.rate.midpoint(bad)
                }
            };
        }
        Ok(knee)
    }

    fn attempt(&self, rate: u64, tries: &mut Vec<Try>) -> anyhow::Result<sends::Outcome> {
        let outcome = self.measure(rate, 2)?;
        let is_in_time = self.is_in_time(rate, &outcome);
        tries.push(Try { rate, p99_ms: outcome.drive.ack_ms(0.99), is_in_time });
        Ok(outcome)
    }

    fn is_in_time(&self, rate: u64, outcome: &sends::Outcome) -> bool {
        let is_whole = outcome.drive.measured.faults.is_none() && outcome.drive.per_s >= 0.99 * rate as f64;
        is_whole && outcome.drive.ack_ms(0.99) <= self.p99_ms
    }

    /// The node that was asked about: what each of its parts holds, and which ends first.
    fn node(&self, costs: &Costs) -> Vec<Figure> {
        let memory = (self.memory_gib as f64 * 1024.0_f64.powi(3) * SHARE - OWN_BYTES).max(0.0);
        let by_memory = memory / (costs.session_bytes + costs.kernel_bytes);
        let core_us_per_s = self.cores as f64 * 1e6 * SHARE;
        let sends_per_s = self.per_minute / 60.0;
        let us_per_s =
            costs.session_us_per_s + sends_per_s * (costs.send_us + self.members as f64 * costs.delivery_us);
        let by_cores = core_us_per_s / us_per_s;
        let sessions = by_memory.min(by_cores);
        let first = if by_memory < by_cores { "its memory" } else { "its cores" };
        vec![
            Figure::new(
                format!("{} GiB hold", self.memory_gib),
                by_memory,
                "sessions: (70 % of memory - 256 MB) / (bytes of the node + bytes of the kernel)",
            ),
            Figure::new(
                format!("{} cores hold", self.cores),
                by_cores,
                "sessions: 70 % of the cores / (pings + sends x (a send + members x a delivery))",
            ),
            Figure::new(
                format!("so the node holds, limited by {first}"),
                sessions,
                "sessions; it needs as many open files, and 300 more",
            ),
            Figure::new("  they send", sessions * sends_per_s, "messages a second"),
            Figure::new("  they get", sessions * sends_per_s * self.members as f64, "deliveries a second"),
            Figure::new("  the log grows by", sessions * sends_per_s * costs.log_bytes / 1e6, "MB a second"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        capacity: Capacity,
    }

    fn node(args: &[&str]) -> Vec<Figure> {
        let costs = Costs {
            session_bytes: 1_000.0,
            kernel_bytes: 4_000.0,
            session_us_per_s: 0.5,
            send_us: 6.0,
            delivery_us: 4.0,
            log_bytes: 200.0,
        };
        Cli::parse_from(["capacity", "--start", "carillon"].iter().chain(args)).capacity.node(&costs)
    }

    fn value(figures: &[Figure], name: &str) -> f64 {
        figures.iter().find(|figure| figure.name.contains(name)).map(|figure| figure.value).unwrap()
    }

    #[test]
    fn whichever_ends_first_is_named() {
        // 0.5 + 60 / 60 x (6 + 10 x 4) = 46.5 µs a second each, of 700,000 on one core.
        let busy = node(&["--cores", "1", "--memory-gib", "16", "--per-minute", "60"]);
        assert_eq!(value(&busy, "limited by its cores").round(), (700_000.0_f64 / 46.5).round());
        // Nobody says anything: 0.5 µs a second each, and (0.7 GiB - 256 MB) / 5,000 bytes.
        let quiet = node(&["--cores", "8", "--memory-gib", "1", "--per-minute", "0"]);
        assert_eq!(value(&quiet, "limited by its memory").floor(), 99_123.0);
        assert_eq!(value(&quiet, "they send"), 0.0);
    }
}
