//! How many batches are on their way at once: as many as the server answers in good time.
//!
//! The number grows by one for each round of good answers and shrinks by a fifth when answers come late, by half when one fails
//! (additive increase, multiplicative decrease). What is late is absolute: live reads share the server with the archiver,
//! and past [`LATE`] more in flight only means that everybody waits longer.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// An answer that took longer than this came late.
const LATE: Duration = Duration::from_millis(25);
/// Batches that are on their way at least,
const IN_FLIGHT_MIN: f32 = 2.0;
/// at first,
const IN_FLIGHT_FIRST: f32 = 16.0;
/// and at most.
const IN_FLIGHT_MAX: f32 = 128.0;

/// One writes it, after each answer; others read it for the status.
pub(super) struct Pace {
    /// Bits of an `f32`.
    limit: AtomicU32,
}

/// How an answer came.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    Good(Duration),
    Failed,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { limit: AtomicU32::new(IN_FLIGHT_FIRST.to_bits()) }
    }

    /// Batches that may be on their way now.
    pub(super) fn limit(&self) -> usize {
        self.current() as usize
    }

    pub(super) fn note(&self, answer: Answer) {
        let limit = self.current();
        let limit = match answer {
            Answer::Good(took) if took <= LATE => limit + 1.0 / limit,
            // Of a round every answer is late: together they take a fifth.
            Answer::Good(_) => limit - 0.2,
            Answer::Failed => limit / 2.0,
        };
        self.limit.store(limit.clamp(IN_FLIGHT_MIN, IN_FLIGHT_MAX).to_bits(), Ordering::Relaxed);
    }

    fn current(&self) -> f32 {
        f32::from_bits(self.limit.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
