//! Says that the log fills, long before it is full: at each step once, and again after it was below.

/// Steps, in thousandths of what the log may take.
const STEPS: [u64; 4] = [500, 750, 900, 970];

/// What has been said.
#[derive(Default)]
pub(super) struct Filling {
    told: usize,
}

impl Filling {
    /// So much of the log is used now.
    pub(super) fn note(&mut self, used_permille: u64) {
        let reached = STEPS.iter().filter(|&&step| used_permille >= step).count();
        if reached > self.told {
            let percent = used_permille / 10;
            tracing::warn!(
                percent,
                "the log fills, for it keeps what is not in the store; when it is full, sends are answered UNAVAILABLE"
            );
        }
        if reached < self.told && reached == 0 {
            tracing::info!("the log has room again");
        }
        self.told = reached;
    }
}
