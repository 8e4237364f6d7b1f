//! Giving memory back to the system. Allocators keep what was freed for who asks next: right while sessions come and go, and
//! wrong once most have gone for good.
//!
//! There are two: mimalloc, which is the program's, and the C library's, from which AWS-LC has what a TLS session needs.

/// Connections that a shard must have had before it is worth it.
const WORTH_CONNECTIONS: usize = 1_024;
/// Ticks that most must have been gone for: who was cut comes back sooner.
const GONE_TICKS: u32 = 10;

/// When a shard has been so much busier that it should give back what that took.
#[derive(Default)]
pub struct Ebb {
    /// The most connections since memory was given back.
    most: usize,
    /// Ticks in a row with less than half of them.
    low_ticks: u32,
}

impl Ebb {
    /// So many connections are there at this tick. Whether memory should be given back now.
    pub fn tick(&mut self, connections: usize) -> bool {
        self.most = self.most.max(connections);
        let is_low = self.most >= WORTH_CONNECTIONS && connections <= self.most / 2;
        self.low_ticks = if is_low { self.low_ticks + 1 } else { 0 };
        if self.low_ticks < GONE_TICKS {
            return false;
        }
        *self = Self { most: connections, low_ticks: 0 };
        true
    }
}

/// Gives back what this thread and those that have ended freed, and all that the C library holds. Takes some milliseconds.
pub fn give_back() {
    // SAFETY: it frees nothing that is in use, and may be called on any thread.
    unsafe { libmimalloc_sys::mi_collect(true) };
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the same; it takes the C library's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(ebb: &mut Ebb, connections: usize, count: u32) -> u32 {
        (0..count).filter(|_| ebb.tick(connections)).count() as u32
    }

    #[test]
    fn memory_is_given_back_once_when_most_have_gone_and_stay_away() {
        let mut ebb = Ebb::default();
        assert_eq!(ticks(&mut ebb, 10_000, 5), 0);
        assert_eq!(ticks(&mut ebb, 4_000, GONE_TICKS - 1), 0, "they may come back");
        assert_eq!(ticks(&mut ebb, 9_000, 1), 0, "and do");
        assert_eq!(ticks(&mut ebb, 4_000, 100), 1);
        assert_eq!(ticks(&mut ebb, 1_000, 100), 1, "and again, when most of those have gone");
    }

    #[test]
    fn a_few_are_not_worth_it() {
        let mut ebb = Ebb::default();
        assert_eq!(ticks(&mut ebb, WORTH_CONNECTIONS - 1, 5), 0);
        assert_eq!(ticks(&mut ebb, 0, 100), 0);
    }
}
