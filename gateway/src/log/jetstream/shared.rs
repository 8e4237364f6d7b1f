//! What the log's tasks and its callers share, without waiting for each other.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::watch;

use crate::log::{AppendError, LogStatus, Partition, Positions, permille};

/// How many groups may wait for NATS. One more is [`AppendError::Busy`].
const QUEUE_GROUPS: usize = 16_384;
/// How many bytes may wait for NATS. More is [`AppendError::Busy`].
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// One part in so many of a stream is kept free of appends, for homes to begin in: who cannot take a partition over cannot
/// archive it either, and a full log would stay full.
const KEPT_FREE: u64 = 8;
/// What JetStream adds to a message, about: its subject, the header that fences it, its own.
const OVERHEAD: usize = 128;

#[derive(Debug)]
pub(super) struct Shared {
    /// The last durable position known of each partition.
    last: Vec<AtomicU64>,
    /// Up to where deliveries were handed out.
    delivered: Vec<AtomicU64>,
    /// What each stream takes, about: counted now and then, and own appends added.
    stream_bytes: Vec<AtomicU64>,
    /// What each may take before appends are refused.
    stream_bytes_max: u64,
    waiting_groups: AtomicUsize,
    waiting_bytes: AtomicUsize,
    status: watch::Sender<LogStatus>,
}

impl Shared {
    pub(super) fn new(partitions: Partition, streams: u16, stream_bytes_max: u64) -> Self {
        let zeroes = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        let status = LogStatus { segments: streams.into(), ..LogStatus::default() };
        Self {
            last: zeroes(partitions),
            delivered: zeroes(partitions),
            stream_bytes: zeroes(streams),
            stream_bytes_max: stream_bytes_max - stream_bytes_max / KEPT_FREE,
            waiting_groups: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            status: watch::Sender::new(status),
        }
    }

    /// Takes room for parts of so many bytes each. Where nothing waits, any that fit into a message may.
    pub(super) fn reserve(&self, parts: impl Iterator<Item = usize> + Clone) -> Result<(), AppendError> {
        let (count, bytes) = (parts.clone().count(), parts.clone().sum::<usize>());
        let groups = self.waiting_groups.fetch_add(count, Ordering::Relaxed);
        let before = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if groups > 0 && (groups + count > QUEUE_GROUPS || before + bytes > QUEUE_BYTES_MAX) {
            parts.for_each(|bytes| self.release(bytes));
            return Err(AppendError::Busy);
        }
        Ok(())
    }

    /// Gives back the room of one part.
    pub(super) fn release(&self, bytes: usize) {
        self.waiting_groups.fetch_sub(1, Ordering::Relaxed);
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Somebody saw this position.
    pub(super) fn saw(&self, partition: Partition, position: u64) {
        self.last[usize::from(partition)].fetch_max(position, Ordering::AcqRel);
    }

    pub(super) fn last(&self) -> Positions {
        self.last.iter().map(|last| last.load(Ordering::Acquire)).collect()
    }

    pub(super) fn last_of(&self, partition: Partition) -> u64 {
        self.last[usize::from(partition)].load(Ordering::Acquire)
    }

    /// Whether the stream has no room but what is kept free.
    pub(super) fn is_full(&self, stream: u16) -> bool {
        self.stream_bytes[usize::from(stream)].load(Ordering::Relaxed) > self.stream_bytes_max
    }

    /// A message of so many bytes was added to the stream.
    pub(super) fn grew(&self, stream: u16, bytes: usize) {
        self.stream_bytes[usize::from(stream)].fetch_add((bytes + OVERHEAD) as u64, Ordering::Relaxed);
    }

    /// What the stream takes was counted.
    pub(super) fn counted(&self, stream: u16, bytes: u64) {
        self.stream_bytes[usize::from(stream)].store(bytes, Ordering::Relaxed);
    }

    pub(super) fn set_delivered(&self, partition: Partition, position: u64) {
        if let Some(delivered) = self.delivered.get(usize::from(partition)) {
            delivered.fetch_max(position, Ordering::Relaxed);
        }
    }

    pub(super) fn delivered(&self, partition: Partition) -> u64 {
        self.delivered[usize::from(partition)].load(Ordering::Relaxed)
    }

    pub(super) fn status(&self) -> LogStatus {
        let bytes_on_disk = self.stream_bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum();
        LogStatus { bytes_on_disk, used_permille: self.used_permille(), ..self.status.borrow().clone() }
    }

    /// Of the fullest stream: the first that refuses appends.
    fn used_permille(&self) -> u64 {
        let bytes = self.stream_bytes.iter().map(|bytes| bytes.load(Ordering::Relaxed));
        permille(bytes.max().unwrap_or(0), self.stream_bytes_max)
    }

    pub(super) fn change_status(&self, change: impl FnOnce(&mut LogStatus)) {
        self.status.send_modify(change);
    }

    pub(super) fn count_refused(&self, error: &AppendError) {
        self.change_status(|status| {
            status.refused += 1;
            status.last_error = Some(error.to_string());
        });
    }

    /// Something went wrong that will be tried again.
    pub(super) fn trouble(&self, what: impl Into<String>) {
        let what = what.into();
        self.status.send_if_modified(|status| {
            if status.last_error.as_ref() == Some(&what) {
                return false;
            }
            tracing::warn!("the log: {what}");
            status.last_error = Some(what);
            true
        });
    }
}
