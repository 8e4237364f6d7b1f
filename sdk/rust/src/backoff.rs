//! How long to wait before the next attempt: twice as long each time, and never the same as everybody else.

/// The first wait, about.
const FIRST_MS: u64 = 200;
/// The longest wait.
const LONGEST_MS: u64 = 30_000;

/// Numbers that differ between clients (SplitMix64). Not for secrets.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number from 0 to `max`, both included.
    pub(crate) fn up_to(&mut self, max: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        max.checked_add(1).map_or(mixed, |choices| mixed % choices)
    }
}

/// The wait after the attempt of that number (from 1) failed: half of it certain, half of it chance.
pub(crate) fn wait_ms(attempt: u32, random: &mut Random) -> u64 {
    let doublings = attempt.saturating_sub(1).min(16);
    let longest = (FIRST_MS << doublings).min(LONGEST_MS);
    longest / 2 + random.up_to(longest / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_vary() {
        let mut random = Random(7);
        for (attempt, longest) in [(1, 200), (2, 400), (4, 1_600), (30, 30_000), (u32::MAX, 30_000)] {
            let waits: Vec<u64> = (0..100).map(|_| wait_ms(attempt, &mut random)).collect();
            assert!(waits.iter().all(|wait| (longest / 2..=longest).contains(wait)), "{waits:?}");
            assert!(waits.iter().any(|wait| *wait != waits[0]), "{waits:?}");
        }
    }
}
