//! An open loop: work begins when it is due, however the work before it fares. Latency counts from when it was due, so that a
//! node that stalls is not spared the requests that it kept from being sent (coordinated omission).

/// Work that is due at a fixed rate, from a first moment on; the rate may rise to its height in a straight line.
pub struct Pace {
    start_us: u64,
    per_second: f64,
    ramp_s: f64,
    begun: u64,
}

impl Pace {
    /// So many a second from `start_us` on, after `ramp_s` seconds in which it becomes so many. Work that is due no times a
    /// second is never due.
    pub fn new(per_second: f64, ramp_s: u64, start_us: u64) -> Self {
        Self { start_us, per_second, ramp_s: ramp_s as f64, begun: 0 }
    }

    /// When the next is due, if it is by now.
    pub fn due(&mut self, now_us: u64) -> Option<u64> {
        let due_us = self.next_us();
        (due_us <= now_us).then(|| {
            self.begun += 1;
            due_us
        })
    }

    /// When the next will be due.
    pub fn next_us(&self) -> u64 {
        // The cast ends at the largest number, which is never.
        self.start_us.saturating_add((self.next_s() * 1e6) as u64)
    }

    fn next_s(&self) -> f64 {
        let number = self.begun as f64;
        // What the ramp sends: the area under its line.
        let in_ramp = self.per_second * self.ramp_s / 2.0;
        match number < in_ramp {
            true => (2.0 * number * self.ramp_s / self.per_second).sqrt(),
            false if self.per_second > 0.0 => self.ramp_s + (number - in_ramp) / self.per_second,
            false => f64::INFINITY,
        }
    }

    /// How many have begun.
    pub fn begun(&self) -> u64 {
        self.begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_by(pace: &mut Pace, now_us: u64) -> Vec<u64> {
        std::iter::from_fn(|| pace.due(now_us)).collect()
    }

    #[test]
    fn what_was_due_while_nobody_looked_is_due_still_and_with_its_own_time() {
        let mut pace = Pace::new(1000.0, 0, 500);
        assert_eq!(due_by(&mut pace, 3_000), [500, 1_500, 2_500]);
        assert_eq!(pace.next_us(), 3_500);
        assert_eq!(pace.begun(), 3);
    }

    #[test]
    fn a_ramp_rises_in_a_straight_line_to_the_rate() {
        let mut pace = Pace::new(1000.0, 10, 0);
        let by_second: Vec<_> = (1..=12).map(|s| due_by(&mut pace, s * 1_000_000 - 1).len()).collect();
        assert_eq!(by_second[..3], [50, 150, 250]);
        assert_eq!(by_second[9..], [950, 1000, 1000]);
    }

    #[test]
    fn nothing_is_due_at_no_rate() {
        assert!(due_by(&mut Pace::new(0.0, 0, 0), u64::MAX - 1).is_empty());
        assert!(due_by(&mut Pace::new(0.0, 10, 0), u64::MAX - 1).is_empty());
    }
}
