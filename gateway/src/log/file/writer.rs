//! The writer: takes everything that waits, writes it as one frame, makes it durable, answers everyone.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::disk::{Disk, is_full};
use super::prepare::{Active, Files};
use super::segment::{self, FRAME_HEADER_LEN};
use super::{FileLogConfig, Place, Segment, Shared, State, reaches};
use crate::log::{AppendError, Batch, Partition, Positions, advance};

/// A turn takes no more groups once it has so many bytes, so that nobody waits for too large a write.
const TURN_BYTES_MAX: usize = 4 << 20;

/// A turn of this many bytes is a busy one: the next begins no sooner than [`BUSY_TURN`] after it began.
const BUSY_BYTES: usize = 2048;
/// Long enough that what many send is written, and then delivered, together; short beside what a person notices.
const BUSY_TURN: Duration = Duration::from_millis(2);

/// What the writer is asked.
pub(super) enum Command {
    Append(Waiting),
    /// Look at `Shared::archived`.
    Trim,
}

/// A group and who waits for it.
pub(super) struct Waiting {
    pub(super) group: Vec<Batch>,
    /// What it takes in a frame.
    pub(super) bytes: usize,
    pub(super) done: oneshot::Sender<Result<(), AppendError>>,
}

/// How many bytes of batches one frame may have at `end` of a segment; `partitions` where it is the first.
pub(super) fn room(segment_bytes: u64, end: u64, partitions: Option<Partition>) -> usize {
    let base = partitions.map_or(0, |partitions| 8 * usize::from(partitions));
    let left = segment_bytes.saturating_sub(end) as usize & !7;
    left.saturating_sub(FRAME_HEADER_LEN + base)
}

pub(super) struct Writer {
    queue: Receiver<Command>,
    /// Taken from the queue, but for the next turn.
    held: Option<Waiting>,
    archived: watch::Receiver<Positions>,
    shared: Arc<Shared>,
    files: Files,
    partitions: Partition,
    segment_bytes: u64,
    log_bytes_max: u64,
    active: Active,
    /// The last durable positions.
    last: Positions,
    /// The last positions once this turn is durable.
    next: Positions,
    /// The bytes of this turn.
    frame: Vec<u8>,
    /// Why nothing more can be written.
    failed: Option<AppendError>,
}

impl Writer {
    pub(super) fn new(
        queue: Receiver<Command>,
        active: Active,
        disk: Arc<dyn Disk>,
        shared: Arc<Shared>,
        config: &FileLogConfig,
    ) -> io::Result<Self> {
        let FileLogConfig { partitions, segment_bytes, log_bytes_max, .. } = *config;
        let oldest = shared.state.borrow().segments.front().map_or(active.sequence, |oldest| oldest.sequence);
        let last = shared.state.borrow().last.clone();
        Ok(Self {
            queue,
            held: None,
            archived: shared.archived.subscribe(),
            files: Files::start(disk, shared.clone(), partitions, segment_bytes, oldest)?,
            shared,
            partitions,
            segment_bytes,
            log_bytes_max,
            active,
            next: last.clone(),
            last,
            frame: Vec::new(),
            failed: None,
        })
    }

    /// Writes until the log is dropped and the queue is empty.
    pub(super) fn run(mut self) {
        let mut not_before = Instant::now();
        while let Some(first) = self.wait() {
            thread::sleep(not_before.saturating_duration_since(Instant::now()));
            let began = Instant::now();
            if self.turn(first) >= BUSY_BYTES {
                not_before = began + BUSY_TURN;
            }
        }
    }

    /// The next group, with time to trim while there is none.
    fn wait(&mut self) -> Option<Waiting> {
        loop {
            self.trim();
            if let Some(held) = self.held.take() {
                return Some(held);
            }
            if let Command::Append(waiting) = self.queue.recv().ok()? {
                return Some(waiting);
            }
        }
    }

    /// Writes what waits, and says how many bytes it was.
    fn turn(&mut self, first: Waiting) -> usize {
        if let Err(error) = self.make_room(first.bytes) {
            self.refuse(first, error);
            return 0;
        }
        let groups = self.collect(first);
        let bytes = groups.iter().map(|waiting| waiting.bytes).sum();
        match self.write(&groups) {
            Ok(()) => groups.into_iter().for_each(|waiting| self.answer(waiting, Ok(()))),
            Err(error) => groups.into_iter().for_each(|waiting| self.refuse(waiting, error.clone())),
        }
        self.prepare();
        bytes
    }

    /// Goes on to the next segment where this one has no room for so many bytes.
    fn make_room(&mut self, bytes: usize) -> Result<(), AppendError> {
        if let Some(failed) = &self.failed {
            return Err(failed.clone());
        }
        if bytes <= self.room() {
            return Ok(());
        }
        if !self.may_grow() {
            return Err(AppendError::Full);
        }
        self.active = self.files.take(self.active.sequence + 1).map_err(|error| match is_full(&error) {
            true => AppendError::Full,
            false => AppendError::Unavailable(error.to_string()),
        })?;
        Ok(())
    }

    fn room(&self) -> usize {
        room(self.active.bytes, self.active.end, self.active.is_empty().then_some(self.partitions))
    }

    fn may_grow(&self) -> bool {
        self.shared.state.borrow().bytes_on_disk() + self.segment_bytes <= self.log_bytes_max
    }

    /// Puts into the frame what waits, as far as it fits; groups that are not next are refused by themselves.
    fn collect(&mut self, first: Waiting) -> Vec<Waiting> {
        let room = self.room().min(TURN_BYTES_MAX.max(first.bytes));
        segment::begin_frame(&mut self.frame, self.active.is_empty().then_some(&self.last));
        self.next.clone_from(&self.last);
        let (mut groups, mut bytes) = (Vec::new(), 0);
        let mut candidate = Some(first);
        while let Some(waiting) = candidate {
            if bytes + waiting.bytes > room {
                self.held = Some(waiting);
                break;
            }
            match advance(&mut self.next, &waiting.group) {
                Ok(()) => {
                    bytes += waiting.bytes;
                    waiting.group.iter().for_each(|batch| segment::put_batch(&mut self.frame, batch));
                    groups.push(waiting);
                }
                Err(error) => self.refuse(waiting, error),
            }
            candidate = self.queued();
        }
        groups
    }

    /// A group that waits already.
    fn queued(&self) -> Option<Waiting> {
        loop {
            if let Command::Append(waiting) = self.queue.try_recv().ok()? {
                return Some(waiting);
            }
        }
    }

    /// Writes the frame and makes it durable.
    fn write(&mut self, groups: &[Waiting]) -> Result<(), AppendError> {
        if groups.iter().all(|waiting| waiting.group.is_empty()) {
            return Ok(());
        }
        segment::seal_frame(&mut self.frame, self.active.salt, self.active.end);
        if let Err(error) = self.active.file.write_all_at(&self.frame, self.active.end) {
            return Err(self.write_failed(&error));
        }
        let asked = Instant::now();
        self.sync()?;
        self.publish(groups, asked.elapsed().as_micros() as u64);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), AppendError> {
        self.active.file.sync().map_err(|error| self.fail(format!("fdatasync: {error}")))
    }

    /// A full disk is put behind us: what was written of the frame goes, so that the next one finds zeroes.
    fn write_failed(&mut self, error: &io::Error) -> AppendError {
        if !is_full(error) {
            return self.fail(format!("write: {error}"));
        }
        if let Err(error) = self.active.file.clear_from(self.active.end) {
            return self.fail(format!("after a full disk: {error}"));
        }
        self.sync().err().unwrap_or(AppendError::Full)
    }

    /// From now on everything is refused.
    fn fail(&mut self, why: String) -> AppendError {
        let error = AppendError::Failed(why);
        self.failed = Some(error.clone());
        self.shared.state.send_modify(|state| state.status.failed = true);
        error
    }

    /// The frame is durable: tell everyone.
    fn publish(&mut self, groups: &[Waiting], sync_time_us: u64) {
        let Active { sequence, bytes, .. } = self.active;
        let begun = self.active.is_empty().then(|| Segment { sequence, base: self.last.clone(), bytes });
        self.active.end += self.frame.len() as u64;
        self.last.clone_from(&self.next);
        self.shared.state.send_modify(|state: &mut State| {
            state.segments.extend(begun);
            state.last.clone_from(&self.last);
            state.end = Place { sequence, offset: self.active.end };
            state.status.groups += groups.len() as u64;
            state.status.batches += groups.iter().map(|waiting| waiting.group.len() as u64).sum::<u64>();
            state.status.bytes_written += self.frame.len() as u64;
            state.status.syncs += 1;
            state.status.sync_time_us += sync_time_us;
        });
        self.frame.clear();
        self.frame.shrink_to(TURN_BYTES_MAX);
    }

    fn answer(&self, waiting: Waiting, outcome: Result<(), AppendError>) {
        self.shared.release(waiting.bytes);
        // Whoever waited may have gone; what was written stays.
        _ = waiting.done.send(outcome);
    }

    fn refuse(&self, waiting: Waiting, error: AppendError) {
        self.shared.count_refused(&error);
        self.answer(waiting, Err(error));
    }

    /// Has the next segment made once this one is half full: the other half is time to make it slowly.
    fn prepare(&mut self) {
        if self.active.end > self.active.bytes / 2 && self.may_grow() {
            self.files.begin(self.active.sequence + 1);
        }
    }

    /// Lets go of segments whose every batch is archived. The last stays: it says where its partitions stand.
    fn trim(&mut self) {
        if !self.archived.has_changed().unwrap_or(false) {
            return;
        }
        let archived = self.archived.borrow_and_update();
        self.shared.state.send_if_modified(|state| {
            let before = state.segments.len();
            while let Some(next) = state.segments.get(1)
                && reaches(&next.base, &archived)
            {
                state.segments.pop_front();
            }
            state.segments.len() < before
        });
        if let Some(oldest) = self.shared.state.borrow().segments.front() {
            self.files.delete_before(oldest.sequence);
        }
    }
}
