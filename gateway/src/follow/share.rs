//! Which partitions a node archives, where all nodes of a cluster have one store: those that it is the home of. So every event is written
//! there once, and each partition's log is trimmed by whoever archived it.
//!
//! That is only how work is shared. A partition may be archived by two nodes at once, by an old home that knows of nothing, or
//! from further back than it need be: rows end as the log has them, and the position in the store never moves back. What must not
//! happen is that nobody archives a partition; so who waits for one that nobody gets on with archives it itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use carillon_storage::{Partition, Positions, Store};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How often the store is asked how far others have come. What users' homes remember until then is small.
const LOOK: Duration = Duration::from_secs(5);
/// The same while a partition's home waits for it to begin.
const LOOK_SOON: Duration = Duration::from_millis(50);
/// After so long somebody who waits helps.
const HELP_AFTER: Duration = Duration::from_secs(3);

/// What a node archives now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// Those that it is the home of, or becomes.
    homes: BTreeSet<Partition>,
    /// Those that it helps with, and how many wait for each.
    helped: BTreeMap<Partition, u32>,
    /// How many wait to hear how far others have come.
    waiting: u32,
}

/// One node's share of the archiving.
pub struct Share {
    wanted: watch::Sender<Wanted>,
    store: Arc<dyn Store>,
    /// How far the store has everything.
    applied: Arc<watch::Sender<Positions>>,
}

impl Wanted {
    /// In order.
    pub fn partitions(&self) -> Vec<Partition> {
        self.homes.iter().chain(self.helped.keys()).copied().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Those among them that this node is the home of.
    pub fn homes(&self) -> BTreeSet<Partition> {
        self.homes.clone()
    }

    /// Whether somebody waits for what is to be archived.
    pub fn is_awaited(&self) -> bool {
        self.waiting > 0
    }
}

impl Share {
    /// Nothing yet. What the store says of others' progress goes to `applied`.
    pub fn new(store: Arc<dyn Store>, applied: Arc<watch::Sender<Positions>>) -> Self {
        Self { wanted: watch::Sender::default(), store, applied }
    }

    /// What is to be archived, as it changes.
    pub fn wanted(&self) -> watch::Receiver<Wanted> {
        self.wanted.subscribe()
    }

    /// This node is the partition's home from now on.
    pub fn take(&self, partition: Partition) {
        self.wanted.send_modify(|wanted| _ = wanted.homes.insert(partition));
    }

    /// It no longer is. What is not archived then its next home archives.
    pub fn give_up(&self, partition: Partition) {
        self.wanted.send_modify(|wanted| _ = wanted.homes.remove(&partition));
    }

    /// Waits until the store has everything up to `last`, whoever brings it there.
    pub async fn wait_until_archived(&self, last: &Positions) {
        let _waiting = Waiting::new(self);
        let mut applied = self.applied.subscribe();
        let is_there = |applied: &Positions| has_all(applied, last);
        // It closes only with the node.
        if timeout(HELP_AFTER, applied.wait_for(is_there)).await.is_err() {
            let _help = Help::new(self, behind(&applied.borrow(), last));
            let _ = applied.wait_for(is_there).await;
        }
    }

    /// Asks the store how far others have come, as long as it is polled.
    pub async fn look(&self) {
        let mut wanted = self.wanted();
        loop {
            let partitions = self.applied.borrow().len() as Partition;
            // What fails is asked again.
            if let Ok(archived) = self.store.archived(partitions).await {
                raise(&self.applied, &archived);
            }
            let pause = if wanted.borrow().is_awaited() { LOOK_SOON } else { LOOK };
            tokio::select! {
                () = sleep(pause) => {}
                _ = wanted.wait_for(Wanted::is_awaited), if pause == LOOK => {}
            }
        }
    }
}

/// The store has at least this.
pub(super) fn raise(applied: &watch::Sender<Positions>, archived: &Positions) {
    applied.send_if_modified(|applied| {
        let mut is_news = false;
        for (applied, &archived) in applied.iter_mut().zip(archived) {
            is_news |= archived > *applied;
            *applied = archived.max(*applied);
        }
        is_news
    });
}

/// Whether a store that has everything up to `applied` has all up to `last`.
pub fn has_all(applied: &Positions, last: &Positions) -> bool {
    applied.iter().zip(last).all(|(applied, last)| applied >= last)
}

fn behind(applied: &Positions, last: &Positions) -> Vec<Partition> {
    let is_behind = |(_, (applied, last)): &(Partition, (&u64, &u64))| applied < last;
    (0..).zip(applied.iter().zip(last)).filter(is_behind).map(|(partition, _)| partition).collect()
}

/// Somebody waits, as long as this is there.
struct Waiting<'a>(&'a Share);

impl<'a> Waiting<'a> {
    fn new(share: &'a Share) -> Self {
        share.wanted.send_modify(|wanted| wanted.waiting += 1);
        Self(share)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.wanted.send_modify(|wanted| wanted.waiting -= 1);
    }
}

/// Partitions are archived here, as long as this is there.
struct Help<'a>(&'a Share, Vec<Partition>);

impl<'a> Help<'a> {
    fn new(share: &'a Share, partitions: Vec<Partition>) -> Self {
        tracing::info!(?partitions, "nobody gets on with archiving some partitions; this node does it");
        share.wanted.send_modify(|wanted| {
            partitions.iter().for_each(|&partition| *wanted.helped.entry(partition).or_default() += 1);
        });
        Self(share, partitions)
    }
}

impl Drop for Help<'_> {
    fn drop(&mut self) {
        self.0.wanted.send_modify(|wanted| {
            for partition in &self.1 {
                wanted.helped.entry(*partition).and_modify(|waiting| *waiting -= 1);
            }
            wanted.helped.retain(|_, waiting| *waiting > 0);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use carillon_storage::MemoryStore;

    fn share(last: Positions) -> (Arc<MemoryStore>, Share) {
        let store = Arc::new(MemoryStore::new());
        (store.clone(), Share::new(store, Arc::new(watch::Sender::new(last))))
    }

    #[test]
    fn a_partition_is_archived_as_long_as_there_is_a_reason() {
        let (_, share) = share(vec![0; 8]);
        let wanted = || share.wanted().borrow().partitions();
        share.take(3);
        {
            let _help = Help::new(&share, vec![3, 5]);
            assert_eq!(wanted(), [3, 5]);
        }
        assert_eq!(wanted(), [3]);
        share.give_up(3);
        share.give_up(4);
        assert_eq!(wanted(), vec![0; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_long_helps_and_hears_of_what_others_do() {
        let (store, share) = share(vec![0; 2]);
        let last = vec![4, 0];
        let wait = async {
            share.wait_until_archived(&last).await;
            assert_eq!(*share.applied.borrow(), [4, 0]);
            assert_eq!(*share.wanted().borrow(), Wanted::default());
        };
        let others = async {
            share.wanted().wait_for(|wanted| wanted.partitions() == [0]).await.unwrap();
            store.apply(Vec::new(), vec![(0, 4)]).await.unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = wait => {}
            () = others => {}
            () = share.look() => {}
        }
    }
}
