//! Reading the log as it grows: a follower for each stream pulls into a bounded buffer, from which the reader takes.
//!
//! A consumer is soft: it forgets where it was when its server ends, what was on its way over a broken connection is gone,
//! and a follower that does not keep up loses the newest. So a follower believes nothing but positions: each must be the
//! partition's next. Where it is not, where the connection broke, or where the server says it delivered more than came,
//! the follower makes another consumer, from the message after the last good one.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{Consumer, pull};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, TryStreamExt, future, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::connection::Connection;
use super::shared::Shared;
use super::streams::{Located, NoAnswer, Stored, Streams, later};
use crate::log::{Batch, LogError, Partition, Positions, Tail};

/// What may have been fetched and not read yet, in KiB: past it, nothing more is pulled.
const BUFFER_KIB: usize = 32 << 10;
/// And how many messages.
const BUFFER_MESSAGES: usize = 4096;
/// What one pull asks for.
const PULL_MESSAGES: usize = 512;
const PULL_BYTES: usize = 8 << 20;
/// Two are asked for at a time; what a broken connection keeps waits for the heartbeat to be missed.
const HEARTBEAT: Duration = Duration::from_secs(2);
const PULL_EXPIRES: Duration = Duration::from_secs(20);
/// A follower that hears nothing looks this often whether there is something to hear.
const LOOK: Duration = Duration::from_secs(3);
const AGAIN: Duration = Duration::from_millis(10);
const AGAIN_MAX: Duration = Duration::from_secs(1);
/// Partitions whose start is looked for at a time.
const LOCATING: usize = 16;
/// After so many consumers that all began with the same hole, the place is looked for anew.
const HOLES: u32 = 3;

/// What a follower fetched.
struct Fetched {
    batches: VecDeque<Batch>,
    /// Room in the buffer, given back when this is read.
    _room: OwnedSemaphorePermit,
}

/// Reads what followers fetched.
pub(super) struct JetStreamTail {
    fetched: mpsc::Receiver<Result<Fetched, LogError>>,
    reading: Option<Fetched>,
    failed: Option<LogError>,
}

/// Follows the partitions of one stream.
pub(super) struct Follower {
    connection: Connection,
    streams: Streams,
    shared: Arc<Shared>,
    stream: u16,
    partitions: Vec<Partition>,
    /// The last position that was handed on, of each partition.
    after: HashMap<Partition, u64>,
    /// Everything before this message was handed on or is not ours; unknown before it was looked for.
    next_sequence: Option<u64>,
    /// Consumers in a row that began with a hole.
    holes: u32,
    room: Arc<Semaphore>,
    fetched: mpsc::Sender<Result<Fetched, LogError>>,
    /// Told once, when it is known where to start, or that it cannot.
    located: Option<oneshot::Sender<Result<(), LogError>>>,
}

pub(super) type WhenLocated = oneshot::Receiver<Result<(), LogError>>;

/// A tail and its followers, which are to be run; `located` of each resolves when it knows where to start.
pub(super) fn tail(
    connection: &Connection,
    streams: &Streams,
    shared: &Arc<Shared>,
    partitions: &[Partition],
    after: &Positions,
) -> (JetStreamTail, Vec<Follower>, Vec<WhenLocated>) {
    let (sender, fetched) = mpsc::channel(BUFFER_MESSAGES);
    let room = Arc::new(Semaphore::new(BUFFER_KIB));
    let (mut followers, mut located) = (Vec::new(), Vec::new());
    for stream in 0..streams.count() {
        let of_this = |&partition: &Partition| streams.stream_of(partition) == stream;
        let partitions: Vec<_> = partitions.iter().copied().filter(of_this).collect();
        if partitions.is_empty() {
            continue;
        }
        let (tell, told) = oneshot::channel();
        located.push(told);
        followers.push(Follower {
            connection: connection.clone(),
            streams: streams.clone(),
            shared: shared.clone(),
            stream,
            after: partitions.iter().map(|&partition| (partition, after[usize::from(partition)])).collect(),
            partitions,
            next_sequence: None,
            holes: 0,
            room: room.clone(),
            fetched: sender.clone(),
            located: Some(tell),
        });
    }
    (JetStreamTail { fetched, reading: None, failed: None }, followers, located)
}

impl Follower {
    /// Follows until nobody reads any more, or it cannot go on.
    pub(super) async fn run(mut self) {
        let mut again = AGAIN;
        loop {
            let before = self.next_sequence;
            match self.follow().await {
                Ok(()) => return,
                Err(NoAnswer::Never(error)) => {
                    // Whoever waits for the start is told; otherwise the next read is.
                    if let Some(error) = self.tell_located(Err(error)) {
                        _ = self.fetched.send(Err(error)).await;
                    }
                    return;
                }
                Err(NoAnswer::Later(why)) => self.shared.trouble(format!("following anew: {why}")),
            }
            if self.next_sequence != before {
                again = AGAIN;
            }
            tokio::select! {
                () = sleep(again) => again = (2 * again).min(AGAIN_MAX),
                () = self.fetched.closed() => return,
            }
        }
    }

    /// Follows with one consumer; ends well when nobody reads any more.
    async fn follow(&mut self) -> Result<(), NoAnswer> {
        let mut changes = self.connection.changes();
        let start = self.start().await?;
        self.tell_located(Ok(()));
        let consumer = self.streams.consumer(self.stream, &self.partitions, start).await?;
        let outcome = self.read_on(&consumer, &mut changes).await;
        // It would go by itself after a while.
        let (streams, stream, name) =
            (self.streams.clone(), self.stream, consumer.cached_info().name.clone());
        tokio::spawn(async move { streams.delete_consumer(stream, &name).await });
        outcome
    }

    async fn read_on(
        &mut self,
        consumer: &Consumer<pull::Config>,
        changes: &mut tokio::sync::watch::Receiver<u64>,
    ) -> Result<(), NoAnswer> {
        let pull = consumer
            .stream()
            .max_messages_per_batch(PULL_MESSAGES)
            .max_bytes_per_batch(PULL_BYTES.max(2 * self.connection.client.max_payload()))
            .heartbeat(HEARTBEAT)
            .expires(PULL_EXPIRES);
        let mut messages = pull.messages().await.map_err(later)?;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = (u64::MAX, 0);
        let readers = self.fetched.clone();
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => self.take(&message.map_err(later)?).await?,
                    None => return Err(later("the consumer ended")),
                },
                Ok(()) = changes.changed() => return Err(later("the connection was another one")),
                () = readers.closed() => return Ok(()),
                _ = looks.tick() => {
                    let now = self.next_sequence.unwrap_or_default();
                    if seen.0 == now && self.missed(consumer, now, &mut seen.1).await? {
                        return Err(later("messages got lost on their way"));
                    }
                    if seen.0 != now {
                        seen = (now, 0);
                    }
                }
            }
            if readers.is_closed() {
                return Ok(());
            }
        }
    }

    /// Whether the server says, twice, that it delivered what did not come.
    async fn missed(
        &self,
        consumer: &Consumer<pull::Config>,
        next_sequence: u64,
        times: &mut u32,
    ) -> Result<bool, NoAnswer> {
        let delivered = self.streams.delivered(self.stream, &consumer.cached_info().name).await?;
        *times = if delivered >= next_sequence { *times + 1 } else { 0 };
        Ok(*times > 1)
    }

    /// Looks at what came, and hands it on.
    async fn take(&mut self, message: &jetstream::Message) -> Result<(), NoAnswer> {
        let sequence = message.info().map_err(later)?.stream_sequence;
        let Some(partition) = message.subject.rsplit('.').next().and_then(|last| last.parse().ok()) else {
            return Ok(());
        };
        let Some(&after) = self.after.get(&partition) else { return Ok(()) };
        let stored = Stored { sequence, bytes: message.payload.clone() };
        let read = self.streams.read(partition, &stored)?;
        if read.last() > after && read.header.first > after + 1 {
            return Err(self.hole(partition, after).await);
        }
        let last = read.last();
        if last > after {
            let batches: VecDeque<_> =
                read.batches().skip((after + 1 - read.header.first) as usize).collect();
            let kib = stored.bytes.len().div_ceil(1024).clamp(1, BUFFER_KIB) as u32;
            let room = self.room.clone().acquire_many_owned(kib).await.map_err(later)?;
            if self.fetched.send(Ok(Fetched { batches, _room: room })).await.is_err() {
                return Ok(());
            }
            self.after.insert(partition, last);
            self.shared.saw(partition, last);
        }
        self.next_sequence = Some(self.next_sequence.unwrap_or_default().max(sequence + 1));
        self.holes = 0;
        Ok(())
    }

    /// Positions are missing: lost on their way, or forgotten by the log.
    async fn hole(&mut self, partition: Partition, after: u64) -> NoAnswer {
        match self.streams.locate(partition, after).await {
            Err(error) => error,
            Ok(Located { base, .. }) if base > after => {
                NoAnswer::Never(LogError::Forgotten { partition, after, base })
            }
            Ok(_) => {
                self.holes += 1;
                if self.holes >= HOLES {
                    (self.next_sequence, self.holes) = (None, 0);
                }
                later(format!("partition {partition} has a hole after {after}"))
            }
        }
    }

    /// The message to start from.
    async fn start(&mut self) -> Result<u64, NoAnswer> {
        if let Some(next) = self.next_sequence {
            return Ok(next);
        }
        // Taken before the partitions are asked: who has nothing to read now has nothing before what comes next.
        let end = self.streams.info(self.stream).await?.last_sequence + 1;
        let wanted: Vec<_> = self.after.iter().map(|(&partition, &after)| (partition, after)).collect();
        let starts = stream::iter(wanted).map(|(partition, after)| {
            let streams = &self.streams;
            async move { Ok::<_, NoAnswer>((partition, after, streams.locate(partition, after).await?)) }
        });
        let located: Vec<_> = starts.buffer_unordered(LOCATING).try_collect().await?;
        let mut start = end;
        for (partition, after, Located { sequence, is_there, base, last, .. }) in located {
            self.shared.saw(partition, last);
            if after < base {
                return Err(NoAnswer::Never(LogError::Forgotten { partition, after, base }));
            }
            if after > last {
                // Somebody who knows more may have said so: then it is only this answer that is old.
                return Err(match self.shared.last_of(partition) < after {
                    true => NoAnswer::Never(LogError::Ahead { partition, after, last }),
                    false => later("the end of the log is not known everywhere yet"),
                });
            }
            if is_there {
                start = start.min(sequence);
            }
        }
        self.next_sequence = Some(start);
        Ok(start)
    }

    /// Tells whoever waits for the start; gives back an error that nobody waits for.
    fn tell_located(&mut self, outcome: Result<(), LogError>) -> Option<LogError> {
        match self.located.take() {
            Some(waiting) => waiting.send(outcome).err().and_then(Result::err),
            None => outcome.err(),
        }
    }
}

impl JetStreamTail {
    fn next_batch(&mut self) -> Option<Result<Batch, LogError>> {
        loop {
            if let Some(batch) = self.reading.as_mut().and_then(|reading| reading.batches.pop_front()) {
                return Some(Ok(batch));
            }
            self.reading = None;
            match self.fetched.try_recv().ok()? {
                Ok(fetched) => self.reading = Some(fetched),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn has_some(&self) -> bool {
        self.failed.is_some() || self.reading.as_ref().is_some_and(|reading| !reading.batches.is_empty())
    }
}

impl Tail for JetStreamTail {
    fn read(&mut self, bytes_max: usize) -> Result<Vec<Batch>, LogError> {
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        let (mut read, mut bytes) = (Vec::new(), 0);
        while read.is_empty() || bytes < bytes_max {
            match self.next_batch() {
                None => break,
                Some(Ok(batch)) => {
                    bytes += batch.records.len();
                    read.push(batch);
                }
                Some(Err(error)) if read.is_empty() => return Err(error),
                // What was read comes first.
                Some(Err(error)) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        Ok(read)
    }

    fn more(&mut self) -> BoxFuture<'_, ()> {
        async {
            if self.has_some() {
                return;
            }
            match self.fetched.recv().await {
                Some(Ok(fetched)) => self.reading = Some(fetched),
                Some(Err(error)) => self.failed = Some(error),
                None => future::pending().await,
            }
        }
        .boxed()
    }
}
