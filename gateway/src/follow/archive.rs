//! The archiver: brings what the log holds into the store, and lets the log forget it.
//!
//! - It reads on from what the store says is archived, so a crash repeats work and skips none; the store takes
//!   repetitions without harm.
//! - The log is trimmed only up to what the store has made durable.
//! - A store that fails is tried again, later and later, until it takes the same batches; meanwhile the log grows, up to its
//!   limit. A record that nobody can read is set aside with its reason, and the rest goes on.
//! - So is one that the store refuses for what is in it; in its place stands an event that says nothing, for seqs have no hole. What tells that
//!   it is the content, and not a table that is gone or a right that is missing, is that the store takes the one in its place.
//!
//! There is one archiver for a log and a store; or one in each node of a cluster that shares both, each for its
//! [`Share`]. It reads files and waits for the store: give it a thread of its own.

use std::collections::BTreeMap;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use carillon_storage::{Change, Store, StoreError, Unfit};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::changes::{add_changes, last_only, stand_in};
use super::dead_letters::{DeadLetter, DeadLetters};
use super::filling::Filling;
#[cfg(doc)]
use super::lag::Lag;
use super::lag::{Pending, batches_behind};
#[cfg(doc)]
use super::share::Share;
use super::share::{Wanted, raise};
use crate::log::{Batch, HomeLog, Log, LogError, Partition, Positions, Tail, record};

/// How much is read from the log, and given to the store, at a time.
const CHUNK_BYTES: usize = 4 << 20;
/// Once there is something to archive, it waits so long for more: what many messages change in the rows of one room
/// and its members is then written once.
const GATHER: Duration = Duration::from_millis(250);
/// The store is made durable at the latest after so much.
const PERSIST_BYTES: usize = 32 << 20;
/// From here on archiving is no longer held back for reads, in thousandths of what the log may take.
const URGENT_PERMILLE: u64 = 250;
/// After a failure it waits so long, and twice as long after each further one,
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// but never longer than this.
const RETRY_LONGEST: Duration = Duration::from_secs(10);

/// Why archiving does not go on.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The log cannot be read.
    #[error("{0}")]
    Log(#[from] LogError),
    /// The store does not take it.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// A record that cannot be archived cannot be set aside either.
    #[error("cannot set an unreadable record aside: {0}")]
    DeadLetter(#[from] io::Error),
}

/// How archiving is going.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ArchiveStatus {
    /// Batches that were in the log and not in the store after the last step; [`Lag`] says how it is now.
    pub lag_batches: u64,
    /// What was read from the log and is not in the store.
    pub pending: Pending,
    /// The partitions that it brings there, in order; nothing for all.
    pub follows: Option<Box<[Partition]>>,
    /// Batches brought to the store since the start.
    pub batches: u64,
    /// Events and read markers in them.
    pub events: u64,
    /// Bytes of records in them.
    pub bytes: u64,
    /// Bytes of records that the store has and has not made durable.
    pub unpersisted_bytes: u64,
    /// Records set aside since the start: unreadable, or refused by the store for what is in them.
    pub dead_letters: u64,
    /// Failures since it last went well; 0 while it does.
    pub failures_in_a_row: u32,
    /// What went wrong last; stays until something else does.
    pub last_error: Option<String>,
}

/// Follows one log into one store.
pub struct Archiver {
    log: Arc<dyn Log>,
    store: Arc<dyn Store>,
    dead_letters: DeadLetters,
    persist_interval: Duration,
    /// Up to where others need no longer have the log.
    held: Option<watch::Receiver<Positions>>,
    /// Where nodes share the store; otherwise it follows all of the log.
    share: Option<Followed>,
    /// Nothing after it failed: it is opened again from what is applied.
    tail: Option<Box<dyn Tail>>,
    /// Read from the log, not yet taken by the store.
    chunk: Vec<Batch>,
    /// What the store refuses of the chunk for what is in it: each has its stand-in there.
    unfit: Vec<Unfit>,
    /// How far the store has everything.
    applied: Arc<watch::Sender<Positions>>,
    status: watch::Sender<ArchiveStatus>,
    persisted_at: Instant,
    filling: Filling,
}

/// A share of the log.
struct Followed {
    log: Arc<dyn HomeLog>,
    wanted: watch::Receiver<Wanted>,
    /// Those that the tail is of; nothing before it is known how far the store has them.
    partitions: Option<Vec<Partition>>,
}

/// What a step came to.
enum Step {
    Archived,
    CaughtUp,
}

impl Archiver {
    /// Goes on from where the store is, and brings it up to date: when this returns, everything that is in the log is in the
    /// store, durably. Fails where log and store do not belong together, or one of them does not work.
    pub async fn open(
        log: Arc<dyn Log>,
        store: Arc<dyn Store>,
        dead_letters: DeadLetters,
        persist_interval: Duration,
    ) -> Result<Self, ArchiveError> {
        Self::open_held(log, store, dead_letters, persist_interval, None).await
    }

    /// The same; the log keeps also what is not in `held` yet.
    pub async fn open_held(
        log: Arc<dyn Log>,
        store: Arc<dyn Store>,
        dead_letters: DeadLetters,
        persist_interval: Duration,
        held: Option<watch::Receiver<Positions>>,
    ) -> Result<Self, ArchiveError> {
        let applied = store.archived(log.last().len() as Partition).await?;
        let tail = Some(log.tail(applied.clone())?);
        let mut archiver = Self {
            tail,
            ..Self::new(log, store, dead_letters, persist_interval, Arc::new(watch::Sender::new(applied)))
        };
        archiver.held = held;
        archiver.catch_up().await?;
        Ok(archiver)
    }

    /// Of a log and a store that several nodes share: it follows this node's share, when it runs. How far the store has everything
    /// is in `applied`, which others raise too. The log keeps also what is not in `held` yet.
    pub fn of_share(
        (log, wanted): (Arc<dyn HomeLog>, watch::Receiver<Wanted>),
        store: Arc<dyn Store>,
        dead_letters: DeadLetters,
        persist_interval: Duration,
        applied: Arc<watch::Sender<Positions>>,
        held: Option<watch::Receiver<Positions>>,
    ) -> Self {
        let all: Arc<dyn Log> = Arc::clone(&log) as Arc<dyn Log>;
        let mut archiver = Self::new(all, store, dead_letters, persist_interval, applied);
        archiver.held = held;
        archiver.share = Some(Followed { log, wanted, partitions: None });
        archiver.status.send_modify(|status| status.follows = Some(Box::default()));
        archiver
    }

    fn new(
        log: Arc<dyn Log>,
        store: Arc<dyn Store>,
        dead_letters: DeadLetters,
        persist_interval: Duration,
        applied: Arc<watch::Sender<Positions>>,
    ) -> Self {
        Self {
            log,
            store,
            dead_letters,
            persist_interval,
            held: None,
            share: None,
            tail: None,
            chunk: Vec::new(),
            unfit: Vec::new(),
            applied,
            status: watch::Sender::default(),
            persisted_at: Instant::now(),
            filling: Filling::default(),
        }
    }

    /// How far the store has everything, as it changes.
    pub fn applied(&self) -> watch::Receiver<Positions> {
        self.applied.subscribe()
    }

    /// How it is going, as it changes.
    pub fn status(&self) -> watch::Receiver<ArchiveStatus> {
        self.status.subscribe()
    }

    /// Follows the log until `stop` resolves, then brings the store up to date once more. Where that fails, nothing is lost: the
    /// log has it, and the next start goes on from there.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), ArchiveError> {
        let mut stop = pin!(stop);
        loop {
            let step = self.step().await;
            self.note(&step);
            tokio::select! {
                biased;
                () = &mut stop => return self.catch_up().await,
                () = self.rest(&step) => {}
            }
        }
    }

    /// Archives all that is durable in the log, makes the store durable and trims the log. Tries nothing twice.
    pub async fn catch_up(&mut self) -> Result<(), ArchiveError> {
        while let Step::Archived = self.archive_chunk().await? {}
        self.persist().await
    }

    async fn step(&mut self) -> Result<Step, ArchiveError> {
        let step = self.archive_chunk().await?;
        if self.status.borrow().unpersisted_bytes > 0 && self.persist_at() <= Instant::now() {
            self.persist().await?;
        }
        Ok(step)
    }

    /// Waits until there is something to do after a step.
    async fn rest(&mut self, step: &Result<Step, ArchiveError>) {
        match step {
            Ok(Step::Archived) => {}
            Ok(Step::CaughtUp) => self.more().await,
            Err(_) => {
                let doublings = self.status.borrow().failures_in_a_row.saturating_sub(1).min(16);
                sleep(RETRY_LONGEST.min(RETRY_FIRST * (1 << doublings))).await;
            }
        }
    }

    async fn more(&mut self) {
        let is_persisted = self.status.borrow().unpersisted_bytes == 0;
        let persist_at = self.persist_at();
        let is_awaited = self.share.as_ref().is_some_and(|share| share.wanted.borrow().is_awaited());
        let Some(tail) = &mut self.tail else { return };
        tokio::select! {
            () = changed(&mut self.share) => {}
            () = tail.more() => if !is_awaited { sleep(GATHER).await },
            () = sleep_until(persist_at), if !is_persisted => {}
        }
    }

    /// When the store is to be made durable: at once, where much is not.
    fn persist_at(&self) -> Instant {
        match self.status.borrow().unpersisted_bytes as usize {
            PERSIST_BYTES.. => self.persisted_at,
            _ => self.persisted_at + self.persist_interval,
        }
    }

    /// Brings the next batches to the store. Where that fails they are kept, and the next call brings the same.
    async fn archive_chunk(&mut self) -> Result<Step, ArchiveError> {
        self.follow_share().await?;
        if self.chunk.is_empty() {
            self.chunk = self.read()?;
            let pending = Pending::of(&self.chunk);
            self.status.send_modify(|status| status.pending = pending);
        }
        if self.chunk.is_empty() {
            return Ok(Step::CaughtUp);
        }
        let Translated { mut changes, unreadable } = translate(&self.chunk);
        for letter in &unreadable {
            self.dead_letters.set_aside(letter)?;
        }
        changes.retain(|change| !self.unfit.iter().any(|unfit| unfit.change == *change));
        let archived = last_positions(&self.chunk);
        self.store.hurry(self.log.status().used_permille >= URGENT_PERMILLE);
        match self.store.apply(changes, archived.clone()).await {
            Ok(()) => {}
            Err(StoreError::Unfit(unfit)) => {
                self.put_stand_ins(unfit).await?;
                return Ok(Step::Archived);
            }
            Err(error) => return Err(error.into()),
        }
        let refused = refused(&self.chunk, &self.unfit);
        for letter in &refused {
            self.dead_letters.set_aside(letter)?;
        }
        self.publish(&archived, (unreadable.len() + refused.len()) as u64);
        Ok(Step::Archived)
    }

    /// Has something else stand in the place of what is refused. Where that is refused too, it is not the content's fault: somebody has
    /// to look, and nothing is given up.
    async fn put_stand_ins(&mut self, unfit: Vec<Unfit>) -> Result<(), StoreError> {
        for Unfit { change, reason } in &unfit {
            let not_its_fault = |reason: &str| {
                StoreError::Refused(format!(
                    "{reason}; a row without content is refused as well: see what is wrong there"
                ))
            };
            let stand_in = stand_in(change).ok_or_else(|| not_its_fault(reason))?;
            match self.store.apply(vec![stand_in], Vec::new()).await {
                Ok(()) => {}
                Err(StoreError::Unfit(_)) => return Err(not_its_fault(reason)),
                Err(error) => return Err(error),
            }
            tracing::error!(%reason, "the store refuses an event for what is in it; it is set aside");
        }
        self.unfit.extend(unfit);
        Ok(())
    }

    /// Where this node's share is another now, goes on with that, from where the store has it.
    async fn follow_share(&mut self) -> Result<(), ArchiveError> {
        let Some(share) = &mut self.share else { return Ok(()) };
        let wanted = share.wanted.borrow_and_update().partitions();
        if share.partitions.as_ref() == Some(&wanted) {
            return Ok(());
        }
        let partitions = self.applied.borrow().len() as Partition;
        let archived = self.store.archived(partitions).await?;
        raise(&self.applied, &archived);
        (self.tail, self.chunk, self.unfit) = (None, Vec::new(), Vec::new());
        self.status.send_modify(|status| {
            status.pending = Pending::default();
            status.follows = Some(wanted.clone().into());
        });
        share.partitions = Some(wanted);
        // Who archived it before may have had no time to.
        self.log.trim(&self.no_longer_needed());
        Ok(())
    }

    fn read(&mut self) -> Result<Vec<Batch>, LogError> {
        let read = self.read_tail();
        // Others may have archived, and the log forgotten, what this one wanted to go on from.
        if let (Err(_), Some(share)) = (&read, &mut self.share) {
            share.partitions = None;
        }
        read
    }

    fn read_tail(&mut self) -> Result<Vec<Batch>, LogError> {
        let mut tail = match self.tail.take() {
            Some(tail) => tail,
            None => self.open_tail()?,
        };
        let batches = tail.read(CHUNK_BYTES)?;
        self.tail = Some(tail);
        Ok(batches)
    }

    fn open_tail(&self) -> Result<Box<dyn Tail>, LogError> {
        let applied = self.applied.borrow().clone();
        match &self.share {
            Some(share) => share.log.tail_of(share.partitions.as_deref().unwrap_or_default(), &applied),
            None => self.log.tail(applied),
        }
    }

    /// The store has the chunk. The status comes first: who sees that nothing waits any more sees what became of it.
    fn publish(&mut self, archived: &[(Partition, u64)], dead_letters: u64) {
        let bytes = self.chunk.iter().map(|batch| batch.records.len() as u64).sum::<u64>();
        self.status.send_modify(|status| {
            status.batches += self.chunk.len() as u64;
            status.events += status.pending.events;
            status.pending = Pending::default();
            status.bytes += bytes;
            // An empty batch has to be made durable as well.
            status.unpersisted_bytes += bytes.max(1);
            status.dead_letters += dead_letters;
        });
        self.applied.send_modify(|applied| {
            for &(partition, position) in archived {
                let applied = &mut applied[usize::from(partition)];
                *applied = position.max(*applied);
            }
        });
        self.chunk.clear();
        self.unfit.clear();
    }

    async fn persist(&mut self) -> Result<(), ArchiveError> {
        self.store.persist().await?;
        self.log.trim(&self.no_longer_needed());
        self.status.send_modify(|status| status.unpersisted_bytes = 0);
        self.persisted_at = Instant::now();
        Ok(())
    }

    fn no_longer_needed(&self) -> Positions {
        let mut positions = self.applied.borrow().clone();
        if let Some(share) = &self.share {
            // The rest is trimmed by whoever archives that.
            let partitions = share.partitions.as_deref().unwrap_or_default();
            for (partition, position) in (0..).zip(&mut positions) {
                if partitions.binary_search(&partition).is_err() {
                    *position = 0;
                }
            }
        }
        if let Some(held) = &self.held {
            positions
                .iter_mut()
                .zip(held.borrow().iter())
                .for_each(|(position, held)| *position = (*position).min(*held));
        }
        positions
    }

    /// Keeps the status, and says once when it begins to fail and once when it goes on.
    fn note(&mut self, step: &Result<Step, ArchiveError>) {
        let lag_batches = batches_behind(&self.status.borrow(), &self.log.last(), &self.applied.borrow());
        self.filling.note(self.log.status().used_permille);
        let failed_before = self.status.borrow().failures_in_a_row > 0;
        self.status.send_modify(|status| {
            status.lag_batches = lag_batches;
            match step {
                Ok(_) => status.failures_in_a_row = 0,
                Err(error) => {
                    status.failures_in_a_row += 1;
                    status.last_error = Some(error.to_string());
                }
            }
        });
        match step {
            Err(error) if !failed_before => {
                tracing::error!(%error, lag_batches, "archiving fails; it is tried again")
            }
            Ok(_) if failed_before => tracing::info!(lag_batches, "archiving goes on"),
            _ => {}
        }
    }
}

/// Resolves when another share may be wanted.
async fn changed(share: &mut Option<Followed>) {
    // The other end is there as long as the node is.
    let is_changed = match share {
        Some(share) => share.wanted.changed().await.is_ok(),
        None => false,
    };
    if !is_changed {
        std::future::pending::<()>().await;
    }
}

/// What batches come to.
struct Translated {
    changes: Vec<Change>,
    unreadable: Vec<DeadLetter>,
}

fn translate(batches: &[Batch]) -> Translated {
    let mut translated = Translated { changes: Vec::new(), unreadable: Vec::new() };
    for batch in batches {
        for (index, bytes) in record::split(&batch.records).enumerate() {
            // Of a record that is cut short nobody knows the end.
            let record = bytes.unwrap_or(&batch.records);
            let added =
                bytes.map_err(Into::into).and_then(|bytes| add_changes(bytes, &mut translated.changes));
            if let Err(reason) = added {
                translated.unreadable.push(DeadLetter::new(batch, index, record, reason.to_string()));
            }
        }
    }
    translated.changes = last_only(translated.changes);
    translated
}

/// The records of these batches that changes were made from which the store refuses.
fn refused(batches: &[Batch], unfit: &[Unfit]) -> Vec<DeadLetter> {
    let mut letters = Vec::new();
    if unfit.is_empty() {
        return letters;
    }
    for batch in batches {
        for (index, bytes) in record::split(&batch.records).enumerate() {
            let (Ok(bytes), mut changes) = (bytes, Vec::new()) else { continue };
            // What cannot be read is set aside already.
            let _ = add_changes(bytes, &mut changes);
            if let Some(unfit) = unfit.iter().find(|unfit| changes.contains(&unfit.change)) {
                letters.push(DeadLetter::new(batch, index, bytes, unfit.reason.clone()));
            }
        }
    }
    letters
}

fn last_positions(batches: &[Batch]) -> Vec<(Partition, u64)> {
    let last: BTreeMap<_, _> = batches.iter().map(|batch| (batch.partition, batch.position)).collect();
    last.into_iter().collect()
}
