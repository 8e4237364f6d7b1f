//! `slow`: a broadcast of which some members read slowly, or not at all. The others must not notice; the slow ones lose nothing,
//! since they are told that they lag and catch up when they read again.

use anyhow::bail;
use clap::Args;

use super::Target;
use super::broadcast::{self, Crowd};
use crate::drive::Slow;
use crate::drive::lead::{self, Plan, Run};
use crate::report::{Figure, Table};

/// What to drive.
#[derive(Args, Clone, Debug)]
pub struct SlowReaders {
    #[command(flatten)]
    target: Target,
    /// Members of the room, all of them connected
    #[arg(long, default_value_t = 500)]
    subscribers: u64,
    /// Members who send; they keep up
    #[arg(long, default_value_t = 1)]
    senders: u64,
    /// Sends a second, of all senders together
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// Bytes of each text: a run has to send each member more than the kernel keeps for a connection (some MB) and its outbox
    #[arg(long, default_value_t = 8_000)]
    bytes: usize,
    /// Members that read slowly, in percent
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..100))]
    slow_percent: u64,
    /// Bytes that each of them reads in a second; 0 for none at all
    #[arg(long, default_value_t = 0)]
    slow_bytes_per_s: u64,
    #[command(flatten)]
    run: Run,
}

/// Runs it.
pub fn run(readers: &SlowReaders) -> anyhow::Result<Table> {
    let gateway = readers.target.gateway()?;
    let crowd = Crowd {
        subscribers: readers.subscribers,
        senders: readers.senders,
        rate: readers.rate,
        bytes: readers.bytes,
    };
    let sessions = crowd.subscribers * readers.slow_percent / 100;
    let keep_up = crowd.subscribers - sessions;
    if crowd.senders > keep_up / readers.run.workers {
        bail!("{} senders among {keep_up} members who keep up: those who send have to read", crowd.senders);
    }
    let slow = Slow { sessions, bytes_per_s: readers.slow_bytes_per_s };
    let plan = Plan { slow: Some(slow), ..crowd.plan()? };
    let outcome = lead::drive(&gateway, readers.target.transport, &readers.run, &plan)?;
    outcome.measured.must_be_clean()?;
    let mut figures = broadcast::figures(&crowd, &outcome);
    let measured = &outcome.measured;
    figures.push(Figure::new("members that read slowly", sessions as f64, "whose deliveries are not timed"));
    figures.push(Figure::new("  told that they lag", measured.lagged as f64, "times"));
    figures.push(Figure::new("  cut off, and back", measured.lost as f64, "times"));
    figures.push(Figure::new("  events they caught up with", measured.fetched as f64, ""));
    Ok(Table::new("slow", figures).with_moments(outcome.moments))
}
