//! An open loop: work begins when it is due, however the work before it fares. Latency counts from when it was due, so that a
//! node that stalls is not spared the requests that it kept from being sent (coordinated omission).

use std::time::{Duration, Instant};

/// Work that is due at a fixed rate.
pub struct Pace {
    start: Instant,
    per_second: f64,
    begun: u64,
}

impl Pace {
    /// So many a second, from now on.
    pub fn new(per_second: f64, start: Instant) -> Self {
        Self { start, per_second, begun: 0 }
    }

    /// When the next is due, if it is by now.
    pub fn due(&mut self, now: Instant) -> Option<Instant> {
        let due = self.next();
        (due <= now).then(|| {
            self.begun += 1;
            due
        })
    }

    /// When the next will be due.
    pub fn next(&self) -> Instant {
        self.start + Duration::from_secs_f64(self.begun as f64 / self.per_second)
    }

    /// How many have begun.
    pub fn begun(&self) -> u64 {
        self.begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_due_while_nobody_looked_is_due_still_and_with_its_own_time() {
        let start = Instant::now();
        let mut pace = Pace::new(1000.0, start);
        let now = start + Duration::from_micros(2_500);
        let due: Vec<_> = std::iter::from_fn(|| pace.due(now)).map(|due| due - start).collect();
        assert_eq!(due, [0, 1, 2].map(Duration::from_millis));
        assert_eq!(pace.next() - start, Duration::from_millis(3));
        assert_eq!(pace.begun(), 3);
    }
}
