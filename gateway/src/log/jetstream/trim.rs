//! Forgetting what is archived: now and then, and then all of it at once.
//!
//! Of each partition the last message stays, archived or not: it says where the partition's positions, epochs and
//! deliveries stand.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::shared::Shared;
use super::streams::{NoAnswer, Streams};
use crate::log::{Partition, Positions};

/// How often what the streams take is counted.
const COUNT: Duration = Duration::from_secs(1);

pub(super) struct Trimmer {
    pub(super) streams: Streams,
    pub(super) shared: Arc<Shared>,
    pub(super) archived: watch::Receiver<Positions>,
    /// How long to let it gather: every purge is a round of questions, and work for each replica.
    pub(super) rest: Duration,
}

impl Trimmer {
    /// Trims, and counts, until the log is dropped.
    pub(super) async fn run(mut self) {
        let mut trimmed: Positions = self.archived.borrow().clone();
        loop {
            self.count_bytes().await;
            tokio::select! {
                changed = self.archived.changed() => match changed {
                    Ok(()) => {}
                    Err(_) => return,
                },
                () = sleep(COUNT) => continue,
            }
            sleep(self.rest).await;
            let archived = self.archived.borrow_and_update().clone();
            for (partition, &archived) in archived.iter().enumerate() {
                if archived <= trimmed[partition] {
                    continue;
                }
                match self.trim(partition as Partition, archived).await {
                    Ok(()) => trimmed[partition] = archived,
                    // The next time is soon enough.
                    Err(NoAnswer::Later(why)) => {
                        self.shared.trouble(format!("trimming partition {partition}: {why}"));
                    }
                    Err(NoAnswer::Never(error)) => self.shared.trouble(error.to_string()),
                }
            }
        }
    }

    async fn trim(&self, partition: Partition, archived: u64) -> Result<(), NoAnswer> {
        let located = self.streams.locate(partition, archived).await?;
        if located.last_sequence > 0 && located.base < archived {
            self.streams.purge(partition, located.sequence.min(located.last_sequence)).await?;
        }
        Ok(())
    }

    /// What the streams take now. Others write to them too.
    async fn count_bytes(&self) {
        for stream in 0..self.streams.count() {
            if let Ok(state) = self.streams.info(stream).await {
                self.shared.counted(stream, state.bytes);
            }
        }
    }
}
