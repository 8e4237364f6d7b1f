//! How many batches are on their way at once: as many as the server answers in good time, and as leave live reads theirs.
//!
//! Without reads the number grows by one for each round of good answers and shrinks by a fifth when answers come late, by half when one fails
//! (additive increase, multiplicative decrease). What is late is absolute: past [`LATE`] more in flight only means that everybody
//! waits longer.
//!
//! While somebody reads, reads decide: how long they take while nothing is written is known, and one that takes much longer takes a quarter off
//! the number. Below one it is a share of the time: a batch, and then a rest. It never falls below [`SHARE_MIN`], and when the
//! archiver says that the log fills ([`Pace::hurry`]), reads no longer count.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::status::{KINDS, Kind};

/// An answer that took longer than this came late.
const LATE: Duration = Duration::from_millis(25);
/// Batches that are on their way at least, while nobody reads,
const IN_FLIGHT_MIN: f32 = 2.0;
/// at first,
const IN_FLIGHT_FIRST: f32 = 16.0;
/// and at most.
const IN_FLIGHT_MAX: f32 = 128.0;

/// The least while somebody reads: one batch, and a rest of three times what it took.
const SHARE_MIN: f32 = 0.25;
/// Somebody reads as long as the last read is not longer ago.
const READING: Duration = Duration::from_secs(1);
/// A read waited for batches if it took so many times what nine of ten take while there are none: a little more than the slowest in a hundred
/// take then,
const READ_LATE: f32 = 4.0;
/// and at least this: differences below it nobody notices.
const READ_LATE_MIN: Duration = Duration::from_micros(500);
/// What a read that waited takes off, and what one that did not adds: they are even where one in three hundred
/// waits.
const READ_WAITED: f32 = 0.75;
const READ_GOOD: f32 = 1.001;
/// What is added in a second whatever reads do: few of them hold up nothing.
const READ_GROWTH: f32 = 0.05;
/// How fast what reads take is learned.
const LEARNED: f32 = 0.02;

/// Answers change it, of batches and of reads, on several threads: a change that gets lost among them is no harm.
pub(super) struct Pace {
    /// Bits of an `f32`.
    limit: AtomicU32,
    batches: AtomicUsize,
    is_urgent: AtomicBool,
    began: Instant,
    /// Milliseconds since it began; 0 before the first.
    last_read_ms: AtomicU64,
    last_batch_ms: AtomicU64,
    /// What nine of ten reads take while no batch is on its way, of each kind, in microseconds: bits of an `f32`.
    quiet_us: [AtomicU32; KINDS],
}

/// How an answer came.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    Good(Duration),
    Failed,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            limit: AtomicU32::new(IN_FLIGHT_FIRST.to_bits()),
            batches: AtomicUsize::new(0),
            is_urgent: AtomicBool::new(false),
            began: Instant::now(),
            last_read_ms: AtomicU64::new(0),
            last_batch_ms: AtomicU64::new(0),
            quiet_us: Default::default(),
        }
    }

    /// Batches that may be on their way now.
    pub(super) fn limit(&self) -> usize {
        self.current().max(1.0) as usize
    }

    /// How long to rest after a batch that took so long.
    pub(super) fn rest(&self, took: Duration) -> Duration {
        match self.current() {
            share if share < 1.0 => took.min(LATE).mul_f32(1.0 / share.max(SHARE_MIN) - 1.0),
            _ => Duration::ZERO,
        }
    }

    /// From now on the archiver must get on whatever reads take, or need no longer.
    pub(super) fn hurry(&self, is_urgent: bool) {
        self.is_urgent.store(is_urgent, Ordering::Relaxed);
    }

    /// A batch is on its way, as long as what this gives is there.
    pub(super) fn begin(&self) -> UnderWay<'_> {
        self.batches.fetch_add(1, Ordering::Relaxed);
        UnderWay(self)
    }

    /// A batch was answered.
    pub(super) fn note(&self, answer: Answer) {
        let (limit, is_read, now_ms) = (self.current(), self.is_read(), self.now_ms());
        let since_ms = now_ms.saturating_sub(self.last_batch_ms.swap(now_ms, Ordering::Relaxed)).min(1000);
        let limit = match answer {
            Answer::Good(took) if took <= LATE && is_read => {
                limit * (1.0 + READ_GROWTH * since_ms as f32 / 1000.0)
            }
            // A share of the time grows too, or it would stay small when the reads are over.
            Answer::Good(took) if took <= LATE => limit + 1.0 / limit.max(1.0),
            // Of a round every answer is late: together they take a fifth.
            Answer::Good(_) => limit - 0.2,
            Answer::Failed => limit / 2.0,
        };
        let min = if is_read { SHARE_MIN } else { IN_FLIGHT_MIN };
        self.set(limit.clamp(min, IN_FLIGHT_MAX));
    }

    /// A read of that kind was answered.
    pub(super) fn read(&self, kind: Kind, took: Duration) {
        if !kind.is_live() {
            return;
        }
        self.last_read_ms.store(self.now_ms().max(1), Ordering::Relaxed);
        let quiet_us = &self.quiet_us[kind as usize];
        let (took_us, quiet) = (took.as_micros() as f32, f32::from_bits(quiet_us.load(Ordering::Relaxed)));
        if self.batches.load(Ordering::Relaxed) == 0 {
            let quiet = match quiet {
                0.0 => took_us,
                // It stands still where nine of ten are below.
                quiet if took_us > quiet => quiet * (1.0 + 9.0 * LEARNED),
                quiet => quiet * (1.0 - LEARNED),
            };
            quiet_us.store(quiet.max(1.0).to_bits(), Ordering::Relaxed);
        } else if !self.is_urgent.load(Ordering::Relaxed) {
            let late_us = (READ_LATE * quiet).max(READ_LATE_MIN.as_micros() as f32);
            // Before it is known what is quiet, only what everybody would call late is.
            let late_us = if quiet == 0.0 { LATE.as_micros() as f32 } else { late_us };
            let change = if took_us > late_us { READ_WAITED } else { READ_GOOD };
            self.set((self.current() * change).clamp(SHARE_MIN, IN_FLIGHT_MAX));
        }
    }

    fn is_read(&self) -> bool {
        let last_ms = self.last_read_ms.load(Ordering::Relaxed);
        let since_ms = self.now_ms().saturating_sub(last_ms);
        last_ms > 0 && since_ms <= READING.as_millis() as u64 && !self.is_urgent.load(Ordering::Relaxed)
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn set(&self, limit: f32) {
        self.limit.store(limit.to_bits(), Ordering::Relaxed);
    }

    fn current(&self) -> f32 {
        f32::from_bits(self.limit.load(Ordering::Relaxed))
    }
}

/// A batch that is on its way.
pub(super) struct UnderWay<'a>(&'a Pace);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.batches.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind::ReadEvents;

    /// The limit after answers of a server that handles `served` at a time, each in a millisecond.
    fn settled(pace: &Pace, served: u64) -> usize {
        for _ in 0..20_000 {
            let took = Duration::from_millis((pace.limit() as u64).div_ceil(served));
            pace.note(Answer::Good(took));
        }
        pace.limit()
    }

    #[test]
    fn it_grows_while_answers_come_in_time_and_stays_within_bounds() {
        let pace = Pace::new();
        assert_eq!(settled(&pace, 1000), IN_FLIGHT_MAX as usize);
        assert!((24..=27).contains(&settled(&pace, 1)), "{}", pace.limit());
        (0..100).for_each(|_| pace.note(Answer::Failed));
        assert_eq!(pace.limit(), IN_FLIGHT_MIN as usize);
    }

    #[test]
    fn it_yields_to_reads_that_wait_and_not_when_the_log_fills() {
        let pace = Pace::new();
        (0..1000).for_each(|number| pace.read(KIND, Duration::from_micros(900 + number % 10 * 20)));
        // A batch is always under way, and a read takes a millisecond more for each there may be.
        let _batch = pace.begin();
        let reads = |pace: &Pace| {
            for _ in 0..5000 {
                pace.read(KIND, Duration::from_micros(1000 + (pace.current() * 500.0) as u64));
            }
        };
        reads(&pace);
        assert!((4.0..8.0).contains(&pace.current()), "{}", pace.current());
        (0..1000).for_each(|_| pace.read(KIND, Duration::from_millis(9)));
        assert_eq!((pace.current(), pace.limit()), (SHARE_MIN, 1));
        assert_eq!(pace.rest(Duration::from_millis(2)), Duration::from_millis(6));
        pace.hurry(true);
        (0..1000).for_each(|_| pace.read(KIND, Duration::from_millis(9)));
        assert_eq!(settled(&pace, 1000), IN_FLIGHT_MAX as usize);
        assert_eq!(pace.rest(Duration::from_millis(2)), Duration::ZERO);
    }
}
