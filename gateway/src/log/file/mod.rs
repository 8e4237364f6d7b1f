//! The log in files: one folder per node, one writer thread, one `fdatasync` for everything that waits.
//!
//! - Nothing is acknowledged, and no tail sees it, before the `fdatasync` that covers it returned.
//! - A group is there as a whole or not at all. What a crash left half written is cut when the log is opened;
//!   anything else that is wrong is an error that names file and byte, and nothing is changed.
//! - A full disk refuses groups until there is room again. A failed `fdatasync` ends the log until the node
//!   restarts: the kernel may have dropped the pages, so trying again could succeed and mean nothing.
//!
//! `append` puts a group into a bounded queue (full: [`AppendError::Busy`]) and never blocks. See [`segment`]
//! for the bytes, `writer` for the turn, `recover` for opening.

pub mod disk;
mod prepare;
mod recover;
pub mod segment;
mod tail;
mod writer;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::thread::{self, JoinHandle};

use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};
use tokio::sync::{oneshot, watch};

use self::disk::{Directory, DirectoryLock, Disk};
use self::recover::Recovered;
use self::tail::FileTail;
use self::writer::{Command, Waiting, Writer};
use super::{
    AppendError, Batch, Log, LogError, LogStatus, Partition, Positions, Tail, check_reachable, permille,
};

/// How many groups may wait for the writer. One more is [`AppendError::Busy`].
const QUEUE_GROUPS: usize = 4096;
/// How many bytes may wait for the writer. More is [`AppendError::Busy`].
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Segments of less are all header and positions.
const SEGMENT_BYTES_MIN: u64 = 4096;
/// Segments of more take too long to prepare and to check; a frame's length is 32 bits.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Where a file log is and how large it may be.
#[derive(Clone, Debug)]
pub struct FileLogConfig {
    /// Its folder, made where there is none.
    pub dir: PathBuf,
    /// How many partitions it has; the same each time it is opened.
    pub partitions: Partition,
    /// How large each segment is. Trimming frees whole segments, and no group is larger than one.
    pub segment_bytes: u64,
    /// How much it may take on disk, two segments at least; past it appends are [`AppendError::Full`] until
    /// archiving lets it be trimmed. It bounds how far the store may fall behind.
    pub log_bytes_max: u64,
}

impl FileLogConfig {
    /// Segments of 64 MiB, 4 GiB in all.
    pub fn new(dir: impl Into<PathBuf>, partitions: Partition) -> Self {
        Self { dir: dir.into(), partitions, segment_bytes: 64 << 20, log_bytes_max: 4 << 30 }
    }

    fn check(&self) -> Result<(), LogError> {
        let problem = if self.partitions == 0 {
            "the log needs at least one partition".to_owned()
        } else if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&self.segment_bytes) {
            format!(
                "segment_bytes must be from {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX}, not {}",
                self.segment_bytes
            )
        } else if self.group_bytes_max() < self.segment_bytes as usize / 2 {
            format!("segment_bytes {} is too small for {} partitions", self.segment_bytes, self.partitions)
        } else if self.log_bytes_max < 2 * self.segment_bytes {
            format!("log_bytes_max must hold two segments, so at least {}", 2 * self.segment_bytes)
        } else {
            return Ok(());
        };
        Err(LogError::Setting(problem))
    }

    /// What fits into an empty segment.
    fn group_bytes_max(&self) -> usize {
        writer::room(self.segment_bytes, segment::HEADER_LEN as u64, Some(self.partitions))
    }
}

/// A log in a folder of its own. Dropping it writes what waits, and then lets go of the folder.
pub struct FileLog {
    partitions: Partition,
    group_bytes_max: usize,
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    /// Nothing only while the log is being dropped.
    queue: Option<SyncSender<Command>>,
    writer: Option<JoinHandle<()>>,
    _lock: Option<DirectoryLock>,
}

/// What the writer tells everyone else, and what they tell it without waiting.
struct Shared {
    state: watch::Sender<State>,
    archived: watch::Sender<Positions>,
    queued_bytes: AtomicUsize,
    /// What whole segments may take together.
    bytes_max: u64,
}

/// What is durable. Written by the writer, read by everyone.
struct State {
    /// The segments that hold something, oldest first.
    segments: VecDeque<Segment>,
    last: Positions,
    end: Place,
    status: LogStatus,
}

/// A segment that holds something.
struct Segment {
    sequence: u64,
    /// The last position of each partition before it.
    base: Positions,
    bytes: u64,
}

/// A place in the log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    sequence: u64,
    offset: u64,
}

impl Place {
    fn start_of(sequence: u64) -> Self {
        Self { sequence, offset: segment::HEADER_LEN as u64 }
    }
}

impl FileLog {
    /// Opens the log, or makes it where there is none. Reads all of it, so that what is wrong is known before
    /// anything is served.
    pub fn open(config: FileLogConfig) -> Result<Self, LogError> {
        config.check()?;
        let (disk, lock) = Directory::open(&config.dir)?;
        Self::start(Arc::new(disk), config, Some(lock))
    }

    /// The same on a disk of the caller's, for tests: `config.dir` is not looked at.
    pub fn open_on(disk: Arc<dyn Disk>, config: FileLogConfig) -> Result<Self, LogError> {
        config.check()?;
        Self::start(disk, config, None)
    }

    fn start(
        disk: Arc<dyn Disk>,
        config: FileLogConfig,
        lock: Option<DirectoryLock>,
    ) -> Result<Self, LogError> {
        let Recovered { segments, last, active } = recover::recover(&*disk, &config)?;
        let nothing = vec![0; last.len()];
        let end = Place { sequence: active.sequence, offset: active.end };
        let state = watch::Sender::new(State { segments, last, end, status: LogStatus::default() });
        let shared = Arc::new(Shared {
            state,
            archived: watch::Sender::new(nothing),
            queued_bytes: AtomicUsize::new(0),
            bytes_max: config.log_bytes_max / config.segment_bytes * config.segment_bytes,
        });
        let (queue, commands) = mpsc::sync_channel(QUEUE_GROUPS);
        let no_thread = |source| LogError::Io { place: config.dir.display().to_string(), source };
        let writer =
            Writer::new(commands, active, disk.clone(), shared.clone(), &config).map_err(no_thread)?;
        let writer = thread::Builder::new().name("carillon-log".to_owned()).spawn(move || writer.run());
        Ok(Self {
            partitions: config.partitions,
            group_bytes_max: config.group_bytes_max(),
            disk,
            shared,
            queue: Some(queue),
            writer: Some(writer.map_err(no_thread)?),
            _lock: lock,
        })
    }

    /// Puts a group into the queue, or says at once why not.
    fn enqueue(&self, group: Vec<Batch>) -> Result<oneshot::Receiver<Result<(), AppendError>>, AppendError> {
        let bytes = self.check(&group)?;
        self.shared.reserve(bytes)?;
        let (done, outcome) = oneshot::channel();
        match self.send(Command::Append(Waiting { group, bytes, done })) {
            Ok(()) => Ok(outcome),
            Err(error) => {
                self.shared.release(bytes);
                Err(error)
            }
        }
    }

    /// What the group takes, where it can fit at all.
    fn check(&self, group: &[Batch]) -> Result<usize, AppendError> {
        if let Some(batch) = group.iter().find(|batch| batch.partition >= self.partitions) {
            return Err(AppendError::NoPartition(batch.partition));
        }
        let (bytes, bytes_max) = (group.iter().map(segment::batch_len).sum(), self.group_bytes_max);
        if bytes > bytes_max { Err(AppendError::TooLarge { bytes, bytes_max }) } else { Ok(bytes) }
    }

    fn send(&self, command: Command) -> Result<(), AppendError> {
        match self.queue.as_ref().map(|queue| queue.try_send(command)) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(_))) => Err(AppendError::Busy),
            Some(Err(TrySendError::Disconnected(_))) | None => Err(writer_gone()),
        }
    }
}

impl Log for FileLog {
    fn append(&self, group: Vec<Batch>) -> BoxFuture<'static, Result<(), AppendError>> {
        match self.enqueue(group) {
            Ok(outcome) => outcome.map(|outcome| outcome.unwrap_or_else(|_| Err(writer_gone()))).boxed(),
            Err(error) => {
                self.shared.count_refused(&error);
                future::ready(Err(error)).boxed()
            }
        }
    }

    fn tail(&self, after: Positions) -> Result<Box<dyn Tail>, LogError> {
        let state = self.shared.state.subscribe();
        let place = state.borrow().place_after(&after)?;
        Ok(Box::new(FileTail::new(self.disk.clone(), state, place, after)))
    }

    fn trim(&self, archived: &Positions) {
        self.shared.archived.send_modify(|known| {
            known.iter_mut().zip(archived).for_each(|(known, &archived)| *known = archived.max(*known));
        });
        // Only to wake the writer: where the queue is full it is awake.
        _ = self.send(Command::Trim);
    }

    fn last(&self) -> Positions {
        self.shared.state.borrow().last.clone()
    }

    fn status(&self) -> LogStatus {
        let state = self.shared.state.borrow();
        let segments = state.segments.len() as u64;
        let used_permille = permille(state.bytes_used(), self.shared.bytes_max);
        LogStatus { segments, bytes_on_disk: state.bytes_on_disk(), used_permille, ..state.status.clone() }
    }
}

impl Drop for FileLog {
    fn drop(&mut self) {
        self.queue = None;
        // A writer that panicked has answered nobody and acknowledged nothing; there is no more to do here.
        _ = self.writer.take().map(JoinHandle::join);
    }
}

impl Shared {
    /// Takes room in the queue. A group larger than the whole queue may wait in it alone.
    fn reserve(&self, bytes: usize) -> Result<(), AppendError> {
        let before = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before > 0 && before + bytes > QUEUE_BYTES_MAX {
            self.release(bytes);
            return Err(AppendError::Busy);
        }
        Ok(())
    }

    fn release(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn count_refused(&self, error: &AppendError) {
        self.state.send_modify(|state| {
            state.status.refused += 1;
            state.status.last_error = Some(error.to_string());
        });
    }
}

impl State {
    /// Where to start reading for what comes after these positions.
    fn place_after(&self, after: &Positions) -> Result<Place, LogError> {
        let Some(oldest) = self.segments.front() else {
            check_reachable(after, &self.last, &self.last)?;
            return Ok(self.end);
        };
        check_reachable(after, &oldest.base, &self.last)?;
        let newest = self.segments.iter().rfind(|segment| reaches(&segment.base, after));
        Ok(Place::start_of(newest.unwrap_or(oldest).sequence))
    }

    fn bytes_on_disk(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// The same without what is free in the segment being written.
    fn bytes_used(&self) -> u64 {
        let full = self.segments.iter().filter(|segment| segment.sequence != self.end.sequence);
        full.map(|segment| segment.bytes).sum::<u64>() + self.end.offset
    }
}

/// Whether each of the positions is at most the one in `limits`.
fn reaches(positions: &Positions, limits: &Positions) -> bool {
    positions.iter().zip(limits).all(|(position, limit)| position <= limit)
}

fn writer_gone() -> AppendError {
    AppendError::Failed("its writer is gone".to_owned())
}
