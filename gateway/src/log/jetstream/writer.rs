//! The writer of one partition: one message under way at a time, fenced by the sequence of the one before it.
//!
//! An append has an answer when it is *known* what became of it. Where NATS stays silent, the very same bytes are sent
//! again: a copy that is still on its way and this one expect the same last sequence, so at most one of them is stored.
//! Where NATS refuses them (`wrong last sequence`), a copy is there already, or another node wrote, or it is a mistake (about
//! once in 10,000). The partition's last message tells:
//!
//! ```text
//! it is the message itself      it is there: durable
//! it is the one before it       a mistake: again
//! it is somebody else's         another node is the partition's home: this one is deposed
//! ```
//!
//! Nothing else of the partition is decided before that, however long NATS is away. What waits behind it was never sent:
//! it is refused as [`AppendError::Unavailable`] after [`JetStreamConfig::append_timeout`](super::JetStreamConfig::append_timeout).

use std::sync::Arc;
use std::time::Duration;

use async_nats::client::{Request, RequestErrorKind};
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::connection::Connection;
use super::message::{Author, BATCH_OVERHEAD, HEADER_LEN, Header};
use super::shared::Shared;
use super::streams::{NoAnswer, Streams};
use crate::log::{AppendError, Batch, LogError, Partition, TakenOver};

/// Small groups that wait are put into one message up to this size; a larger one stays small enough to be stored by
/// itself in a few milliseconds.
const MESSAGE_BYTES: usize = 256 << 10;
/// How long NATS may take to answer an append, the first time and later. Then it is sent again, perhaps to another leader.
const ATTEMPT: Duration = Duration::from_millis(500);
const ATTEMPT_MAX: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(2);
const AGAIN_MAX: Duration = Duration::from_millis(500);

/// A gateway that is broken on purpose: two nodes may append to one partition, each as if it were alone. A run that looks
/// for such faults (`carillon-loadtest faults`) is tried on it.
const UNFENCED: bool = cfg!(feature = "unfenced");

/// What a writer is asked.
pub(super) enum Command {
    Append(Waiting),
    /// Becomes the partition's home.
    Take(oneshot::Sender<Result<TakenOver, LogError>>),
    /// Is its home no more.
    Release(oneshot::Sender<()>),
    /// Says when everything before it is settled.
    Settle(oneshot::Sender<Result<(), AppendError>>),
}

/// The batches of a group, all of this partition, and who waits for them.
pub(super) struct Waiting {
    pub(super) batches: Vec<Batch>,
    /// What they take in a message.
    pub(super) bytes: usize,
    pub(super) done: oneshot::Sender<Result<(), AppendError>>,
}

/// What batches take in a message.
pub(super) fn message_bytes(batches: &[Batch]) -> usize {
    batches.iter().map(|batch| BATCH_OVERHEAD + batch.records.len()).sum()
}

pub(super) struct Writer {
    pub(super) partition: Partition,
    pub(super) node: u64,
    pub(super) stream: u16,
    pub(super) subject: String,
    pub(super) connection: Connection,
    pub(super) streams: Streams,
    pub(super) shared: Arc<Shared>,
    pub(super) append_timeout: Duration,
    pub(super) queue: UnboundedReceiver<Command>,
    /// TakenOver from the queue, but for later.
    pub(super) held: Option<Command>,
    pub(super) home: Option<Home>,
}

/// That this node is the partition's home, and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home {
    epoch: u64,
    /// The number of the next message.
    number: u64,
    /// The partition's last message, which is ours.
    sequence: u64,
    /// The partition's last position.
    position: u64,
}

/// What NATS says of a message.
enum Answer {
    Stored(u64),
    /// The last sequence is not the expected one, it says.
    NotNext,
    Full(String),
    TooLarge(String),
    /// Nothing was stored, because nobody was there to do it.
    NobodyThere,
    /// Nobody knows.
    Unknown(String),
}

/// What became of a message.
enum Fate {
    Stored(u64),
    NotStored(AppendError),
}

impl Writer {
    pub(super) async fn run(mut self) {
        while let Some(command) = self.next().await {
            match command {
                Command::Append(first) => self.turn(first).await,
                Command::Take(done) => self.take(done).await,
                Command::Release(done) => {
                    self.home = None;
                    _ = done.send(());
                }
                Command::Settle(done) => _ = done.send(Ok(())),
            }
        }
    }

    async fn next(&mut self) -> Option<Command> {
        match self.held.take() {
            Some(held) => Some(held),
            None => self.queue.recv().await,
        }
    }

    /// Puts what waits into one message and sees it through.
    async fn turn(&mut self, first: Waiting) {
        let Some(home) = self.home else {
            return self.refuse(first, AppendError::Deposed(self.partition));
        };
        if self.shared.is_full(self.stream) {
            return self.refuse(first, AppendError::Full);
        }
        let groups = self.collect(first, home.position);
        if groups.is_empty() {
            return;
        }
        let author = Author { node: self.node, epoch: home.epoch, number: home.number };
        let batches: Vec<&[u8]> =
            groups.iter().flat_map(|group| &group.batches).map(|batch| batch.records.as_slice()).collect();
        let message = self.header(author, home.position + 1).encode(batches.iter().copied());
        match self.store(author, home.sequence, message.clone()).await {
            Fate::Stored(sequence) => {
                let position = home.position + batches.len() as u64;
                self.home = Some(Home { number: home.number + 1, sequence, position, ..home });
                self.stored(&groups, position, message.len());
                groups.into_iter().for_each(|group| self.answer(group, Ok(())));
            }
            Fate::NotStored(error) => {
                // The number is not used again: a later message of the same positions is another one.
                self.home = Some(Home { number: home.number + 1, ..home });
                if matches!(error, AppendError::Deposed(_)) {
                    self.home = None;
                }
                groups.into_iter().for_each(|group| self.refuse(group, error.clone()));
            }
        }
    }

    /// What waits and fits, each next to the one before it; what is not next is refused by itself.
    fn collect(&mut self, first: Waiting, mut position: u64) -> Vec<Waiting> {
        let (mut groups, mut bytes) = (Vec::new(), HEADER_LEN);
        let mut candidate = Some(first);
        while let Some(waiting) = candidate {
            if !groups.is_empty() && bytes + waiting.bytes > MESSAGE_BYTES {
                self.held = Some(Command::Append(waiting));
                break;
            }
            match follows(&waiting.batches, position) {
                Ok(last) => {
                    position = last;
                    bytes += waiting.bytes;
                    groups.push(waiting);
                }
                Err(error) => self.refuse(waiting, error),
            }
            candidate = self.queued();
        }
        groups
    }

    /// A group that waits already, with nothing but groups before it.
    fn queued(&mut self) -> Option<Waiting> {
        match self.held.take().or_else(|| self.queue.try_recv().ok())? {
            Command::Append(waiting) => Some(waiting),
            other => {
                self.held = Some(other);
                None
            }
        }
    }

    /// Sends the message until it is known what became of it.
    async fn store(&mut self, author: Author, expected: u64, message: Bytes) -> Fate {
        let mut changes = self.connection.changes();
        let (began, mut again, mut patience) = (Instant::now(), AGAIN, ATTEMPT);
        // Whether a copy may still be on its way, or be there.
        let mut is_ambiguous = false;
        loop {
            let asked = Instant::now();
            let answer = tokio::select! {
                answer = self.publish(expected, message.clone(), patience) => answer,
                // The answer would have come over the connection that is gone.
                Ok(()) = changes.changed() => Answer::Unknown("the connection was lost".to_owned()),
            };
            match answer {
                Answer::Stored(sequence) => {
                    self.shared.change_status(|status| {
                        status.syncs += 1;
                        status.sync_time_us += asked.elapsed().as_micros() as u64;
                    });
                    return Fate::Stored(sequence);
                }
                Answer::NotNext => match self.find(author, expected).await {
                    Ok(Found::Itself(sequence)) => return Fate::Stored(sequence),
                    Ok(Found::Other) => return Fate::NotStored(AppendError::Deposed(self.partition)),
                    Ok(Found::TheOneBefore) => {}
                    Err(NoAnswer::Later(why)) => {
                        self.shared.trouble(format!("cannot read the log's end: {why}"));
                    }
                    Err(NoAnswer::Never(error)) => self.shared.trouble(error.to_string()),
                },
                Answer::Full(why) => {
                    self.shared.trouble(why);
                    if !is_ambiguous {
                        return Fate::NotStored(AppendError::Full);
                    }
                }
                Answer::TooLarge(why) => {
                    self.shared.trouble(why);
                    if !is_ambiguous {
                        let (bytes, bytes_max) = (message.len(), self.connection.client.max_payload());
                        return Fate::NotStored(AppendError::TooLarge { bytes, bytes_max });
                    }
                }
                Answer::NobodyThere => self.shared.trouble("a stream of the log has no leader just now"),
                Answer::Unknown(why) => {
                    (is_ambiguous, patience) = (true, (2 * patience).min(ATTEMPT_MAX));
                    self.shared.trouble(format!("an append has no answer yet ({why}); sending it again"));
                }
            }
            if began.elapsed() > self.append_timeout {
                self.refuse_what_waits();
            }
            tokio::select! {
                () = sleep(again) => again = (2 * again).min(AGAIN_MAX),
                Ok(()) = changes.changed() => again = AGAIN,
            }
        }
    }

    async fn publish(&self, expected: u64, message: Bytes, patience: Duration) -> Answer {
        let mut headers = HeaderMap::new();
        if !UNFENCED {
            headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, HeaderValue::from(expected));
        }
        let request = Request::new().headers(headers).payload(message).timeout(None);
        // The limit is around all of it: without a connection, handing the message over may wait as well.
        let answer = timeout(patience, self.connection.client.send_request(self.subject.clone(), request));
        match answer.await {
            Err(_) => Answer::Unknown(format!("silent for {patience:?}")),
            Ok(Ok(answer)) => read_answer(&answer.payload),
            Ok(Err(error)) => match error.kind() {
                RequestErrorKind::NoResponders => Answer::NobodyThere,
                RequestErrorKind::MaxPayloadExceeded => Answer::TooLarge(error.to_string()),
                _ => Answer::Unknown(error.to_string()),
            },
        }
    }

    /// What is at the partition's end: the message itself, the one that was there before it, or another.
    async fn find(&self, author: Author, expected: u64) -> Result<Found, NoAnswer> {
        let Some(last) = self.streams.last(self.partition).await? else {
            return match expected {
                0 => Ok(Found::TheOneBefore),
                _ => Err(NoAnswer::Later("it is empty, and should not be".to_owned())),
            };
        };
        if last.sequence < expected {
            return Err(NoAnswer::Later("it answers with what was there before".to_owned()));
        }
        let found = self.streams.read(self.partition, &last)?.header.author;
        Ok(match last.sequence == expected {
            true => Found::TheOneBefore,
            false if found == author => Found::Itself(last.sequence),
            false => Found::Other,
        })
    }

    /// Becomes the partition's home: says so in the log, until that holds or nobody waits for it any more.
    async fn take(&mut self, mut done: oneshot::Sender<Result<TakenOver, LogError>>) {
        self.home = None;
        let mut changes = self.connection.changes();
        let mut again = AGAIN;
        loop {
            match self.try_take().await {
                Ok(Some(taken)) => {
                    if done.send(Ok(taken)).is_err() {
                        self.home = None;
                    }
                    return;
                }
                // Another node appended meanwhile: read what, and try after that.
                Ok(None) => {}
                Err(NoAnswer::Later(why)) => {
                    self.shared.trouble(format!("cannot take partition {} yet: {why}", self.partition));
                }
                Err(NoAnswer::Never(error)) => {
                    _ = done.send(Err(error));
                    return;
                }
            }
            tokio::select! {
                () = done.closed() => return,
                () = sleep(again) => again = (2 * again).min(AGAIN_MAX),
                Ok(()) = changes.changed() => again = AGAIN,
            }
        }
    }

    /// Appends a message without batches after the last one there is. Nothing comes of it if that is not the last.
    async fn try_take(&mut self) -> Result<Option<TakenOver>, NoAnswer> {
        let last = self.streams.last(self.partition).await?;
        let (before, position, sequence) = match &last {
            None => (Header::default(), 0, 0),
            Some(stored) => {
                let message = self.streams.read(self.partition, stored)?;
                (message.header, message.last(), stored.sequence)
            }
        };
        // It may be this node's own try, whose answer was lost. That is no matter: an epoch more costs nothing.
        self.shared.set_delivered(self.partition, before.delivered);
        let epoch = before.author.epoch + 1;
        let author = Author { node: self.node, epoch, number: 0 };
        let message = self.header(author, position + 1).encode([].into_iter());
        let sequence = match self.publish(sequence, message, ATTEMPT_MAX).await {
            Answer::Stored(sequence) => sequence,
            Answer::NotNext | Answer::NobodyThere => return Ok(None),
            Answer::Full(why) | Answer::TooLarge(why) | Answer::Unknown(why) => {
                return Err(NoAnswer::Later(why));
            }
        };
        self.shared.saw(self.partition, position);
        self.home = Some(Home { epoch, number: 1, sequence, position });
        tracing::debug!(partition = self.partition, epoch, position, "taken");
        Ok(Some(TakenOver { epoch, position, delivered: before.delivered }))
    }

    fn header(&self, author: Author, first: u64) -> Header {
        let delivered = self.shared.delivered(self.partition);
        Header { partition: self.partition, author, delivered, first }
    }

    /// NATS has been away for long: what was never sent need not wait for it.
    fn refuse_what_waits(&mut self) {
        while let Some(waiting) = self.queued() {
            self.refuse(waiting, AppendError::Unavailable("NATS does not answer".to_owned()));
        }
    }

    fn stored(&self, groups: &[Waiting], position: u64, bytes: usize) {
        self.shared.saw(self.partition, position);
        self.shared.grew(self.stream, bytes);
        self.shared.change_status(|status| {
            status.groups += groups.len() as u64;
            status.batches += groups.iter().map(|group| group.batches.len() as u64).sum::<u64>();
            status.bytes_written += bytes as u64;
        });
    }

    fn refuse(&self, waiting: Waiting, error: AppendError) {
        self.shared.count_refused(&error);
        self.answer(waiting, Err(error));
    }

    fn answer(&self, waiting: Waiting, outcome: Result<(), AppendError>) {
        self.shared.release(waiting.bytes);
        // Whoever waited may have gone; what was stored stays.
        _ = waiting.done.send(outcome);
    }
}

/// What is at a partition's end.
enum Found {
    Itself(u64),
    TheOneBefore,
    Other,
}

/// The last position of batches that follow this one; or which is not next.
fn follows(batches: &[Batch], mut position: u64) -> Result<u64, AppendError> {
    for &Batch { partition, position: found, .. } in batches {
        let expected = position + 1;
        if found != expected {
            return Err(AppendError::NotNext { partition, expected, found });
        }
        position = expected;
    }
    Ok(position)
}

fn read_answer(payload: &[u8]) -> Answer {
    match serde_json::from_slice::<Response<PublishAck>>(payload) {
        Ok(Response::Ok(ack)) => Answer::Stored(ack.sequence),
        Ok(Response::Err { error }) => match error.error_code() {
            ErrorCode::STREAM_WRONG_LAST_SEQUENCE | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => {
                Answer::NotNext
            }
            ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => Answer::TooLarge(error.to_string()),
            ErrorCode::INSUFFICIENT_RESOURCES | STORAGE_RESOURCES => Answer::Full(error.to_string()),
            ErrorCode::STREAM_STORE_FAILED if error.to_string().contains("maximum bytes exceeded") => {
                Answer::Full(error.to_string())
            }
            _ => Answer::Unknown(error.to_string()),
        },
        Err(error) => Answer::Unknown(format!("an answer that is none: {error}")),
    }
}

/// "insufficient storage resources available".
const STORAGE_RESOURCES: ErrorCode = ErrorCode(10047);
