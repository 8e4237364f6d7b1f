//! Making and deleting segment files, on a thread of its own, so that a turn of the writer never waits for it
//! unless the disk is slower than the log fills.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use super::disk::{Disk, DiskFile};
use super::segment::{HEADER_LEN, Header};
use super::{Partition, Shared};

/// The segment being written.
pub(super) struct Active {
    pub(super) file: Box<dyn DiskFile>,
    pub(super) sequence: u64,
    pub(super) salt: u32,
    /// How large it may become.
    pub(super) bytes: u64,
    /// Where its last durable frame ends.
    pub(super) end: u64,
}

impl Active {
    /// Whether it has no frame yet.
    pub(super) fn is_empty(&self) -> bool {
        self.end == HEADER_LEN as u64
    }
}

/// A segment's name.
pub(super) fn name(sequence: u64) -> String {
    format!("{sequence:020}.log")
}

/// What a segment is called while it is being made. Such a file is deleted when the log is opened.
pub(super) const UNFINISHED: &str = "next.new";

/// Makes an empty segment, durable under its name only once it is complete.
pub(super) fn make(
    disk: &dyn Disk,
    sequence: u64,
    partitions: Partition,
    bytes: u64,
    has_time: &dyn Fn() -> bool,
) -> io::Result<Active> {
    let salt = RandomState::new().hash_one(sequence) as u32;
    let file = disk.create(UNFINISHED, bytes, has_time)?;
    let named = file
        .write_all_at(&Header { partitions, salt, sequence }.encode(), 0)
        .and_then(|()| file.sync())
        .and_then(|()| disk.rename(UNFINISHED, &name(sequence)));
    match named {
        Ok(()) => Ok(Active { file, sequence, salt, bytes, end: HEADER_LEN as u64 }),
        Err(error) => {
            // Best effort: the next attempt, or the next start, replaces it.
            _ = disk.remove(UNFINISHED);
            Err(error)
        }
    }
}

enum Job {
    Make { sequence: u64 },
    DeleteBefore { sequence: u64 },
}

/// The writer's end of the thread. It ends when this is dropped and all is done.
pub(super) struct Files {
    jobs: Sender<Job>,
    made: Receiver<io::Result<Active>>,
    making: bool,
    /// Whether the writer has nothing to write to until the segment is made.
    waiting: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Files {
    /// Starts the thread; `oldest` is the oldest segment there is.
    pub(super) fn start(
        disk: Arc<dyn Disk>,
        shared: Arc<Shared>,
        partitions: Partition,
        segment_bytes: u64,
        oldest: u64,
    ) -> io::Result<Self> {
        let (jobs, todo) = mpsc::channel();
        let (done, made) = mpsc::channel();
        let waiting = Arc::new(AtomicBool::new(false));
        let is_waited_for = waiting.clone();
        let work = move || {
            let has_time = || !is_waited_for.load(Ordering::Relaxed);
            let mut oldest = oldest;
            for job in todo {
                match job {
                    Job::Make { sequence } => {
                        _ = done.send(make(&*disk, sequence, partitions, segment_bytes, &has_time))
                    }
                    Job::DeleteBefore { sequence } => delete(&*disk, &shared, &mut oldest, sequence),
                }
            }
        };
        let thread = thread::Builder::new().name("carillon-log-files".to_owned()).spawn(work)?;
        Ok(Self { jobs, made, making: false, waiting, thread: Some(thread) })
    }

    /// Begins to make a segment, unless one is being made.
    pub(super) fn begin(&mut self, sequence: u64) {
        if !self.making {
            self.making = self.jobs.send(Job::Make { sequence }).is_ok();
        }
    }

    /// The segment that was begun, or a new one; waits for it. What was begun may have failed for want of
    /// room that there is by now, so it is tried once more.
    pub(super) fn take(&mut self, sequence: u64) -> io::Result<Active> {
        if self.making
            && let Ok(active) = self.wait()
        {
            return Ok(active);
        }
        self.begin(sequence);
        self.wait()
    }

    fn wait(&mut self) -> io::Result<Active> {
        self.making = false;
        self.waiting.store(true, Ordering::Relaxed);
        let made = self.made.recv();
        self.waiting.store(false, Ordering::Relaxed);
        made.unwrap_or_else(|_| Err(io::Error::other("the thread that makes segments is gone")))
    }

    /// Deletes all segments before that one, some time soon.
    pub(super) fn delete_before(&self, sequence: u64) {
        _ = self.jobs.send(Job::DeleteBefore { sequence });
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.jobs = mpsc::channel().0;
        self.waiting.store(true, Ordering::Relaxed);
        _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// Deletes from the oldest on, and stops where it fails until it is asked again: a hole would be corruption.
fn delete(disk: &dyn Disk, shared: &Shared, oldest: &mut u64, before: u64) {
    while *oldest < before {
        if let Err(error) = disk.remove(&name(*oldest)) {
            let what = format!("cannot delete {}: {error}", disk.describe(&name(*oldest)));
            return shared.state.send_modify(|state| state.status.last_error = Some(what));
        }
        *oldest += 1;
    }
}
