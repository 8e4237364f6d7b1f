//! The log: what the homes decided, made durable in order. It is the source of truth; everything else
//! (delivery, the store, counters) follows it and can be repeated from it.
//!
//! - What [`Log::append`] acknowledged survives `kill -9` and a power cut, whole groups at a time.
//! - Each partition's batches are numbered 1, 2, 3, … without a hole, and are read back in that order.
//! - [`Log::tail`] hands out what is durable and nothing else, so nobody can act on what may yet vanish.
//!
//! [`FileLog`] keeps one directory per node (`docs/log.md` draws its bytes); [`MemoryLog`] promises the same
//! until the process ends, for tests and simulation; [`JetStreamLog`] is the one that several nodes share. The log
//! knows nothing of rooms: its records are [`record`]'s business.

pub mod file;
pub mod jetstream;
mod memory;
pub mod record;

pub use carillon_storage::{Partition, Positions};
pub use file::{FileLog, FileLogConfig};
pub use jetstream::{JetStreamConfig, JetStreamLog};
pub use memory::MemoryLog;
pub use record::{Record, records};

use futures_util::future::BoxFuture;

/// What one home decided in one turn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Whose order this continues.
    pub partition: Partition,
    /// Its place there: one more than the batch before it, from 1.
    pub position: u64,
    /// One or more encoded [`Record`]s.
    pub records: Vec<u8>,
}

/// A durable order of batches per partition.
pub trait Log: Send + Sync + 'static {
    /// Appends a group (all batches of one turn of one shard), all or nothing; resolves once it is durable.
    ///
    /// Groups are written in the order in which `append` was called: the order is fixed by the call, not by
    /// the first poll, and dropping the future takes nothing back. A group of no batches resolves
    /// once everything before it is settled. When one fails, those of the same partitions behind it fail as
    /// [`AppendError::NotNext`]: start again from [`Log::last`].
    fn append(&self, group: Vec<Batch>) -> BoxFuture<'static, Result<(), AppendError>>;

    /// What becomes durable, or fails, together.
    fn settles_by(&self) -> SettlesBy {
        SettlesBy::Group
    }

    /// Reads everything durable after `after`, in an order that keeps each partition's; follows the log as it
    /// grows. Refused where the log no longer has that, or has not got that far.
    fn tail(&self, after: Positions) -> Result<Box<dyn Tail>, LogError>;

    /// Everything up to `archived` may be forgotten. Forgetting happens later, and in large pieces.
    fn trim(&self, archived: &Positions);

    /// The last durable position of each partition.
    fn last(&self) -> Positions;

    /// How it is doing, for metrics.
    fn status(&self) -> LogStatus;
}

/// A log that several nodes share: each partition has one home among them, and the log lets no other append to it.
pub trait HomeLog: Log {
    /// Makes this node the partition's home; resolves when that holds, however long that takes. The home before can append
    /// no more. Dropping the future gives up.
    fn take(&self, partition: Partition) -> BoxFuture<'static, Result<TakenOver, LogError>>;

    /// Appends nothing more to the partition; resolves once what was under way is settled. From then on appends are
    /// [`AppendError::Deposed`].
    fn release(&self, partition: Partition) -> BoxFuture<'static, ()>;

    /// Up to where deliveries were handed out: a next home is told so.
    fn delivered(&self, partition: Partition, position: u64);

    /// Asks where every partition ends, for [`Log::last`].
    fn refresh(&self) -> BoxFuture<'static, Result<(), LogError>>;

    /// As [`Log::tail`], of these partitions alone. May wait for the log's servers: not for a shard's thread.
    fn tail_of(&self, partitions: &[Partition], after: &Positions) -> Result<Box<dyn Tail>, LogError>;
}

/// What a home begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TakenOver {
    /// One more than that of the partition's home before.
    pub epoch: u64,
    /// The partition's last position: everything up to it has to be known before anything is decided.
    pub position: u64,
    /// Up to where the homes before said that they had handed out deliveries; they may have got further.
    pub delivered: u64,
}

/// What of a log's appends becomes durable, or fails, together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SettlesBy {
    /// A group, whatever partitions are in it.
    Group,
    /// Each partition by itself: callers append groups of one partition each.
    Partition,
}

/// A reader that follows a log.
pub trait Tail: Send {
    /// What is durable now, whole batches, at least one where there is one and at most about `bytes_max`
    /// bytes; empty when caught up. Waits for nobody, but may read from disk: not for a shard's thread.
    /// After an error this tail is of no more use; a new one from the same positions may be.
    fn read(&mut self, bytes_max: usize) -> Result<Vec<Batch>, LogError>;

    /// Resolves when there is more to read. Never, once the log is closed and all is read.
    fn more(&mut self) -> BoxFuture<'_, ()>;
}

/// Why a group was not appended.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AppendError {
    /// Too much waits to be written; nothing of this group was. Come back when some of it is done.
    #[error("the log has too much waiting to be written; try again a little later")]
    Busy,
    /// No room, on the disk or under the limit; nothing of this group was written. Come back once there is.
    #[error("the log has no room: free disk space, raise log_bytes_max, or see why archiving lags behind")]
    Full,
    /// A new segment could not be made for another reason (too many open files, say). Come back later.
    #[error("the log cannot grow just now: {0}")]
    Unavailable(String),
    /// The batch is not the partition's next one. Do not come back with it: the caller's count is wrong, or
    /// an append before it failed.
    #[error("partition {partition} expects position {expected} next, not {found}")]
    NotNext {
        /// Whose order it is.
        partition: Partition,
        /// The position that would be right.
        expected: u64,
        /// The batch's.
        found: u64,
    },
    /// Another node is the partition's home now, or this one never was. Do not come back; it decides. An append that was
    /// under way then may be there all the same.
    #[error("another node is the home of partition {0} now")]
    Deposed(Partition),
    /// There is no such partition. Do not come back.
    #[error("there is no partition {0}")]
    NoPartition(Partition),
    /// The group can never fit into a segment. Do not come back with it.
    #[error(
        "a group of {bytes} bytes is larger than the {bytes_max} that fit into one of the log's segments"
    )]
    TooLarge {
        /// What the group takes.
        bytes: usize,
        /// What there is room for.
        bytes_max: usize,
    },
    /// The disk failed, so nobody knows whether the group is there. The log takes no more: the node has to
    /// restart and read what the disk really holds.
    #[error("the log has failed and takes no more until the node restarts: {0}")]
    Failed(String),
}

impl AppendError {
    /// Whether the same group may be appended later.
    pub fn come_back(&self) -> bool {
        matches!(self, Self::Busy | Self::Full | Self::Unavailable(_))
    }
}

/// Why a log cannot be opened or read. Nothing here goes away by trying again.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk or its permissions are in the way.
    #[error("cannot use the log in {place}: {source}")]
    Io {
        /// The file or folder.
        place: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("the log in {0} is in use by another process")]
    Locked(String),
    /// It was made for another number of partitions, which is set once and for all.
    #[error("the log in {place} was made for {found} partitions, not {expected}")]
    Partitions {
        /// The file.
        place: String,
        /// What the file says.
        found: Partition,
        /// What was asked for.
        expected: Partition,
    },
    /// A newer version wrote it.
    #[error("{place} has log format {version}, newer than this version of Carillon can read")]
    Newer {
        /// The file.
        place: String,
        /// The format it says it has.
        version: u16,
    },
    /// What is there is not what was written. Nothing was changed; somebody has to look.
    #[error("the log is corrupt: {place}, byte {offset}: {what}")]
    Corrupt {
        /// The file.
        place: String,
        /// Where in it.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The settings do not make sense together.
    #[error("{0}")]
    Setting(String),
    /// The reader wants what was trimmed: its own position is older than the log's beginning.
    #[error(
        "partition {partition} was archived up to {after}, but the log begins after {base}: what lies between is gone"
    )]
    Forgotten {
        /// Which partition.
        partition: Partition,
        /// Where the reader stands.
        after: u64,
        /// What the log forgot.
        base: u64,
    },
    /// The reader is ahead: this is not the log it read before.
    #[error(
        "partition {partition} was archived up to {after}, but the log ends at {last}: this is not the log that was archived"
    )]
    Ahead {
        /// Which partition.
        partition: Partition,
        /// Where the reader stands.
        after: u64,
        /// Where the log ends.
        last: u64,
    },
}

/// How a log is doing. Counts are since it was opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogStatus {
    /// Segments, the one being written included.
    pub segments: u64,
    /// What they take on disk.
    pub bytes_on_disk: u64,
    /// How much of what it may take is taken, in thousandths; towards 1000 appends are refused.
    pub used_permille: u64,
    /// Groups made durable.
    pub groups: u64,
    /// Batches in them.
    pub batches: u64,
    /// Bytes written for them.
    pub bytes_written: u64,
    /// Times the disk was asked to make something durable: `groups / syncs` is what group commit saves.
    pub syncs: u64,
    /// How long that took in all, in microseconds.
    pub sync_time_us: u64,
    /// Groups that were refused or failed.
    pub refused: u64,
    /// What went wrong last; stays until something else does.
    pub last_error: Option<String>,
    /// Whether the log takes no more until the node restarts.
    pub failed: bool,
}

fn permille(bytes: u64, of_bytes: u64) -> u64 {
    bytes.saturating_mul(1000) / of_bytes.max(1)
}

/// Refuses a reader whose positions the log cannot continue from.
fn check_reachable(after: &Positions, base: &Positions, last: &Positions) -> Result<(), LogError> {
    if after.len() != last.len() {
        let (found, expected) = (last.len() as Partition, after.len() as Partition);
        return Err(LogError::Partitions { place: "use".to_owned(), found, expected });
    }
    for (partition, &after) in after.iter().enumerate() {
        let (base, last) = (base[partition], last[partition]);
        let partition = partition as Partition;
        if after < base {
            return Err(LogError::Forgotten { partition, after, base });
        }
        if after > last {
            return Err(LogError::Ahead { partition, after, last });
        }
    }
    Ok(())
}

/// Moves `last` past the group's batches; or leaves it alone and says which batch is not its partition's next.
fn advance(last: &mut Positions, group: &[Batch]) -> Result<(), AppendError> {
    for (done, batch) in group.iter().enumerate() {
        if let Err(error) = advance_one(last, batch) {
            group[..done].iter().for_each(|batch| last[usize::from(batch.partition)] -= 1);
            return Err(error);
        }
    }
    Ok(())
}

fn advance_one(last: &mut Positions, batch: &Batch) -> Result<(), AppendError> {
    let partition = batch.partition;
    let last = last.get_mut(usize::from(partition)).ok_or(AppendError::NoPartition(partition))?;
    let expected = *last + 1;
    if batch.position != expected {
        return Err(AppendError::NotNext { partition, expected, found: batch.position });
    }
    *last = expected;
    Ok(())
}
