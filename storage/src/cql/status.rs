//! What is counted of every kind of request: how many, how many failed, how long they took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use scylla::errors::{DbError, ExecutionError, RequestAttemptError};

use super::pace::{Answer, Pace};

/// Kinds of requests that are counted apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    WriteRooms,
    WriteMessages,
    WriteUserRooms,
    WriteSent,
    WriteArchived,
    ReadRoom,
    ReadMember,
    ReadMembers,
    ReadUserRooms,
    ReadEvents,
    ReadSent,
    ReadArchived,
    WriteCounters,
    ReadCounters,
}

impl Kind {
    /// Whether a client waits for it: nothing else asks this.
    pub(super) fn is_live(self) -> bool {
        matches!(self, Self::ReadMember | Self::ReadUserRooms | Self::ReadEvents | Self::ReadSent)
    }
}

/// How many there are.
pub(super) const KINDS: usize = NAMES.len();

/// In the order of [`Kind`].
const NAMES: [&str; 14] = [
    "write_rooms",
    "write_messages",
    "write_user_rooms",
    "write_sent",
    "write_archived",
    "read_room",
    "read_member",
    "read_members",
    "read_user_rooms",
    "read_events",
    "read_sent",
    "read_archived",
    "write_counters",
    "read_counters",
];

/// Steps of the times that are told apart: each is twice the one before, from 1 µs to over two minutes.
const STEPS: usize = 28;

/// How the store is doing, since it was opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CqlStatus {
    /// By kind of request; those that never happened are there too.
    pub kinds: Vec<KindStatus>,
    /// Batches that may be on their way to the servers now: fewer when answers come late.
    pub batches_in_flight_max: usize,
    /// Requests of any kind that failed since one last succeeded; 0 while all is well.
    pub failures_in_a_row: u64,
}

/// How requests of one kind went.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KindStatus {
    /// What they do: `write_messages`, `read_room`, …
    pub name: &'static str,
    /// Answered, failures included.
    pub count: u64,
    /// Failed, after what the driver tried again by itself.
    pub failures: u64,
    /// Of those, for want of an answer in time: to us, or from a replica to the server that was asked.
    pub timeouts: u64,
    /// Rows written or read.
    pub rows: u64,
    /// Time they took together, in microseconds.
    pub total_us: u64,
    /// Half of them took at most about this, in microseconds; known to a factor of two.
    pub p50_us: u64,
    /// And 99 of a hundred this.
    pub p99_us: u64,
}

#[derive(Default)]
pub(super) struct Stats {
    kinds: [KindStats; KINDS],
    failures_in_a_row: AtomicU64,
}

#[derive(Default)]
struct KindStats {
    count: AtomicU64,
    failures: AtomicU64,
    timeouts: AtomicU64,
    rows: AtomicU64,
    total_us: AtomicU64,
    steps: [AtomicU64; STEPS],
}

/// How a request ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ended {
    /// Answered, with so many rows written or read.
    Well(usize),
    TimedOut,
    Failed,
}

impl Ended {
    pub(super) fn of<T>(answer: &Result<T, ExecutionError>, rows: usize) -> Self {
        match answer {
            Ok(_) => Self::Well(rows),
            Err(
                ExecutionError::RequestTimeout(_)
                | ExecutionError::LastAttemptError(RequestAttemptError::DbError(
                    DbError::ReadTimeout { .. } | DbError::WriteTimeout { .. },
                    _,
                )),
            ) => Self::TimedOut,
            Err(_) => Self::Failed,
        }
    }
}

impl Stats {
    pub(super) fn note(&self, kind: Kind, took: Duration, ended: Ended) -> Answer {
        let stats = &self.kinds[kind as usize];
        let took_us = took.as_micros() as u64;
        let step = (took_us.max(1).ilog2() as usize).min(STEPS - 1);
        stats.count.fetch_add(1, Ordering::Relaxed);
        stats.total_us.fetch_add(took_us, Ordering::Relaxed);
        stats.steps[step].fetch_add(1, Ordering::Relaxed);
        match ended {
            Ended::Well(rows) => {
                stats.rows.fetch_add(rows as u64, Ordering::Relaxed);
                self.failures_in_a_row.store(0, Ordering::Relaxed);
                return Answer::Good(took);
            }
            Ended::TimedOut => drop(stats.timeouts.fetch_add(1, Ordering::Relaxed)),
            Ended::Failed => {}
        }
        stats.failures.fetch_add(1, Ordering::Relaxed);
        self.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
        Answer::Failed
    }

    pub(super) fn status(&self, pace: &Pace) -> CqlStatus {
        let kinds = self.kinds.iter().zip(NAMES).map(|(stats, name)| stats.status(name));
        CqlStatus {
            kinds: kinds.collect(),
            batches_in_flight_max: pace.limit(),
            failures_in_a_row: self.failures_in_a_row.load(Ordering::Relaxed),
        }
    }
}

impl KindStats {
    fn status(&self, name: &'static str) -> KindStatus {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        KindStatus {
            name,
            count: read(&self.count),
            failures: read(&self.failures),
            timeouts: read(&self.timeouts),
            rows: read(&self.rows),
            total_us: read(&self.total_us),
            p50_us: self.quantile_us(50),
            p99_us: self.quantile_us(99),
        }
    }

    /// The upper end of the step in which that many of a hundred have been answered.
    fn quantile_us(&self, of_100: u64) -> u64 {
        let steps = self.steps.each_ref().map(|step| step.load(Ordering::Relaxed));
        let wanted = (steps.iter().sum::<u64>() * of_100).div_ceil(100);
        let mut seen = 0;
        for (step, count) in steps.iter().enumerate() {
            seen += count;
            if seen >= wanted && wanted > 0 {
                return 2 << step;
            }
        }
        0
    }
}
