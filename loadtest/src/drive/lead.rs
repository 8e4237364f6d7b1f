//! Leading: the workers' orders, their seconds as they come, and what it all came to.

use std::ops::Range;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use hdrhistogram::Histogram;
use uuid::Uuid;

use super::{Heads, Load, Measured, Mix, Rooms, Slow, Timing};
use crate::clock::now_us;
use crate::gateway::Gateway;
use crate::link::Transport;
use crate::timeline::{Moment, Timeline};
use crate::worker::{self, Order, Report, Sessions, Worker};

/// Workers begin together, so long after they are told.
pub const LEAD: Duration = Duration::from_millis(200);

/// How long a run is, and who drives it.
#[derive(Args, Clone, Copy, Debug)]
pub struct Run {
    /// Seconds that are measured
    #[arg(long, default_value_t = 15)]
    pub seconds: u64,
    /// Seconds before them that are not
    #[arg(long, default_value_t = 5)]
    pub warm_up: u64,
    /// Seconds before those in which rates rise from nothing, in a straight line
    #[arg(long, default_value_t = 0)]
    pub ramp: u64,
    /// Processes that drive; each holds its share of the sessions
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub workers: u64,
}

impl Run {
    /// Its parts.
    pub fn timing(&self) -> Timing {
        Timing { ramp_s: self.ramp, warm_up_s: self.warm_up, seconds: self.seconds }
    }
}

/// What is driven, all workers together.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Sessions.
    pub sessions: u64,
    /// The rooms they are in.
    pub rooms: PlannedRooms,
    /// What they do, each so many times a second.
    pub mix: Mix,
    /// Bytes of each text.
    pub bytes: usize,
    /// Those that read slowly.
    pub slow: Option<Slow>,
}

/// Which rooms.
#[derive(Clone, Copy, Debug)]
pub enum PlannedRooms {
    /// So many, each with so many members, who are one worker's.
    Small {
        /// Rooms.
        count: u64,
        /// Members of each.
        members: u64,
    },
    /// One, with every session as a member.
    One {
        /// Members who send; they are the first worker's.
        senders: u64,
    },
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Sends that were due in the time that counts, and acknowledged, a second.
    pub per_s: f64,
    /// From when a send was due until it was acknowledged, in microseconds.
    pub acks_us: Histogram<u64>,
    /// From when a send was due until one client had it, in microseconds.
    pub deliveries_us: Histogram<u64>,
    /// Everything else, of all workers.
    pub measured: Measured,
    /// The gateway's processor time from the first second to the last; nothing where it is not ours.
    pub cpu: Option<Duration>,
    /// Second by second.
    pub moments: Vec<Moment>,
}

impl Outcome {
    /// The time that this share of sends was acknowledged within, in milliseconds.
    pub fn ack_ms(&self, quantile: f64) -> f64 {
        self.acks_us.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// The time that this share of deliveries came within, in milliseconds.
    pub fn delivery_ms(&self, quantile: f64) -> f64 {
        self.deliveries_us.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// Sends that were begun, in all.
    pub fn begun(&self) -> u64 {
        self.moments.iter().map(|moment| moment.begun).sum()
    }

    /// The most memory that the gateway had; nothing where it is not ours.
    pub fn resident_bytes_max(&self) -> Option<u64> {
        self.moments.iter().filter_map(|moment| moment.resident_bytes).max()
    }
}

/// Drives it.
pub fn drive(gateway: &Gateway, transport: Transport, run: &Run, plan: &Plan) -> anyhow::Result<Outcome> {
    let loads = loads(gateway, transport, run, plan)?;
    let mut workers = worker::start(run.workers)?;
    eprintln!("{} sessions come", plan.sessions);
    for (worker, load) in workers.iter_mut().zip(&loads) {
        worker.order(&Order::Open(load.sessions.clone()))?;
    }
    worker::wait(&mut workers)?;
    // The first makes the room that all others join.
    for (worker, load) in workers.iter_mut().zip(loads) {
        worker.order(&Order::Gather(Box::new(load)))?;
        worker::wait(std::slice::from_mut(worker))?;
    }
    let (mut timeline, cpu) = (Timeline::start(gateway, run.timing())?, cpu(gateway)?);
    let start_us = now_us() + LEAD.as_micros() as u64;
    order(&mut workers, &Order::Drive { start_us })?;
    for _ in 0..run.timing().total_s() {
        let seconds = workers.iter_mut().map(worker::second).collect::<Result<Vec<_>, _>>()?;
        timeline.second(gateway, seconds)?;
    }
    let mut heads = Heads::new();
    for worker in &mut workers {
        let Report::Driven(known) = worker.report()? else { bail!("a report of something else") };
        heads.extend(known);
    }
    order(&mut workers, &Order::Settle(heads))?;
    let mut measured = Measured::default();
    for worker in &mut workers {
        let Report::Settled(of_one) = worker.report()? else { bail!("a report of something else") };
        measured.add(*of_one);
    }
    let cpu = cpu.map(|before| anyhow::Ok(gateway.cpu()? - before)).transpose()?;
    Ok(Outcome {
        per_s: measured.acknowledged as f64 / run.seconds as f64,
        acks_us: measured.acks_us.histogram()?,
        deliveries_us: measured.deliveries_us.histogram()?,
        measured,
        cpu,
        moments: timeline.into_moments(),
    })
}

fn cpu(gateway: &Gateway) -> anyhow::Result<Option<Duration>> {
    gateway.pid().map(|_| gateway.cpu()).transpose()
}

fn order(workers: &mut [Worker], order: &Order) -> anyhow::Result<()> {
    workers.iter_mut().try_for_each(|worker| worker.order(order))
}

/// Each worker's share.
fn loads(gateway: &Gateway, transport: Transport, run: &Run, plan: &Plan) -> anyhow::Result<Vec<Load>> {
    let workers = run.workers;
    if plan.sessions < workers {
        bail!("{} sessions are too few for {workers} workers", plan.sessions);
    }
    let id = Uuid::new_v4();
    Ok((0..workers).map(|index| load(gateway, transport, run, plan, (id, index))).collect())
}

fn load(gateway: &Gateway, transport: Transport, run: &Run, plan: &Plan, (id, index): (Uuid, u64)) -> Load {
    let part = |all: u64| share(all, run.workers, index);
    let each = |per_s: f64| per_s / run.workers as f64;
    let users = part(plan.sessions);
    let (rooms, sends_per_s) = match plan.rooms {
        PlannedRooms::Small { count, members } => {
            let rooms = part(count);
            let count = rooms.end - rooms.start;
            (Rooms::Small { first: rooms.start, count, members }, each(plan.mix.sends_per_s))
        }
        PlannedRooms::One { senders } if index == 0 => {
            (Rooms::One { users: plan.sessions, senders }, plan.mix.sends_per_s)
        }
        PlannedRooms::One { .. } => (Rooms::One { users: plan.sessions, senders: 0 }, 0.0),
    };
    let slow = plan.slow.map(|slow| {
        let of_one = part(slow.sessions);
        Slow { sessions: of_one.end - of_one.start, ..slow }
    });
    Load {
        run: id,
        sessions: Sessions {
            address: gateway.address,
            others: gateway.others.clone(),
            transport,
            tls: gateway.tls,
            key: gateway.key(),
            first_user: 1 + users.start,
            count: users.end - users.start,
        },
        rooms,
        mix: Mix {
            sends_per_s,
            reads_per_s: each(plan.mix.reads_per_s),
            typing_per_s: each(plan.mix.typing_per_s),
            reconnects_per_s: each(plan.mix.reconnects_per_s),
        },
        bytes: plan.bytes,
        timing: run.timing(),
        slow,
    }
}

/// One worker's part of so many.
fn share(all: u64, workers: u64, index: u64) -> Range<u64> {
    all * index / workers..all * (index + 1) / workers
}

impl Measured {
    /// What another worker measured, too.
    pub fn add(&mut self, other: Self) {
        self.acks_us.add(other.acks_us);
        self.deliveries_us.add(other.deliveries_us);
        self.acknowledged += other.acknowledged;
        self.events += other.events;
        self.fetched += other.fetched;
        self.signals += other.signals;
        self.reads += other.reads;
        self.returned += other.returned;
        self.lost += other.lost;
        self.lagged += other.lagged;
        self.faults = self.faults.and(other.faults);
        self.refusal = self.refusal.take().or(other.refusal);
    }

    /// Fails where something was wrong, and says what.
    pub fn must_be_clean(&self) -> anyhow::Result<()> {
        if let Some(refusal) = &self.refusal {
            bail!("{} requests were refused, the first of them: {refusal}", self.faults.refused);
        }
        worker::must_be_clean(self.faults)
    }
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn shares_make_up_the_whole() {
        let shares: Vec<_> = (0..3).map(|index| share(10, 3, index)).collect();
        assert_eq!(shares, [0..3, 3..6, 6..10]);
    }
}
