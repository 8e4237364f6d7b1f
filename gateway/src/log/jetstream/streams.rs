//! The streams that the partitions' subjects are in: made where they are missing, checked where they are there, and asked
//! what they hold.

use std::collections::HashMap;
use std::future::{Future, IntoFuture};
use std::time::Duration;

use async_nats::jetstream::consumer::{self, Consumer};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{
    self, DirectGetErrorKind, DiscardPolicy, LastRawMessageErrorKind, RawMessageErrorKind, RetentionPolicy,
    StorageType, Stream,
};
use async_nats::jetstream::{self, Context, ErrorCode};
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use super::JetStreamConfig;
use super::message::{Malformed, Message};
use crate::log::{LogError, Partition};

/// How long JetStream may take to answer a question.
const ANSWER: Duration = Duration::from_secs(2);
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// No message of the log has an id (`Nats-Msg-Id`): fencing finds duplicates for as long as there is a log, and costs
/// the servers no memory. So the window in which ids are remembered is of no use, and short.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(1);
/// A consumer that nobody pulls from any more goes after this.
const CONSUMER_IDLE: Duration = Duration::from_secs(60);

const PARTITIONS: &str = "carillon-partitions";
const STREAMS: &str = "carillon-streams";
const FORMAT: &str = "carillon-log-format";
const FORMAT_NOW: &str = "1";

/// Names of streams and subjects, and the way to JetStream.
#[derive(Clone)]
pub(super) struct Streams {
    jetstream: Context,
    prefix: String,
    streams: u16,
    pub(super) partitions: Partition,
    replicas: usize,
    stream_bytes_max: u64,
}

/// A message in its stream.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) sequence: u64,
    pub(super) bytes: Bytes,
}

/// Why a question has no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// It may have one later.
    Later(String),
    /// It never will.
    Never(LogError),
}

/// Where a partition's messages are, seen from a position.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Located {
    /// Where to start reading: no message of the partition before it has anything after the position.
    pub(super) sequence: u64,
    /// Whether there is such a message.
    pub(super) is_there: bool,
    /// The subject's last message; 0 where it has none.
    pub(super) last_sequence: u64,
    /// What is forgotten of the partition.
    pub(super) base: u64,
    /// Its last position.
    pub(super) last: u64,
}

impl Streams {
    pub(super) fn new(client: async_nats::Client, config: &JetStreamConfig) -> Self {
        let mut jetstream = jetstream::new(client);
        jetstream.set_timeout(ANSWER);
        Self {
            jetstream,
            prefix: config.prefix.clone(),
            streams: config.streams,
            partitions: config.partitions,
            replicas: config.replicas,
            stream_bytes_max: config.stream_bytes_max(),
        }
    }

    /// How many streams there are.
    pub(super) fn count(&self) -> u16 {
        self.streams
    }

    /// In which stream a partition is.
    pub(super) fn stream_of(&self, partition: Partition) -> u16 {
        partition % self.streams
    }

    /// The partition's subject.
    pub(super) fn subject(&self, partition: Partition) -> String {
        format!("{}.{}.{partition}", self.prefix, self.stream_of(partition))
    }

    /// A stream's name.
    pub(super) fn name(&self, stream: u16) -> String {
        format!("{}-{stream}", self.prefix)
    }

    /// Makes the streams that are missing and checks those that are there.
    pub(super) async fn open(&self, deadline: Instant) -> Result<(), LogError> {
        for stream in 0..self.streams {
            loop {
                match self.open_one(stream).await {
                    Ok(()) => break,
                    Err(NoAnswer::Never(error)) => return Err(error),
                    Err(NoAnswer::Later(why)) if Instant::now() > deadline => {
                        let place = format!("JetStream, stream {}", self.name(stream));
                        return Err(LogError::Io { place, source: std::io::Error::other(why) });
                    }
                    // A cluster that has just started has no leader yet.
                    Err(NoAnswer::Later(_)) => sleep(ASK_AGAIN).await,
                }
            }
        }
        Ok(())
    }

    async fn open_one(&self, stream: u16) -> Result<(), NoAnswer> {
        let wanted = self.config(stream);
        let mut found = match self.jetstream.get_stream(&wanted.name).await {
            Ok(found) => found.cached_info().config.clone(),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    let made = self.jetstream.create_stream(wanted).await.map_err(later)?;
                    made.cached_info().config.clone()
                }
                _ => return Err(later(error)),
            },
        };
        self.check(stream, &found).map_err(NoAnswer::Never)?;
        if found.max_bytes != self.stream_bytes_max as i64 {
            // A limit may be raised, and lowered, as the operator learns what is needed.
            found.max_bytes = self.stream_bytes_max as i64;
            self.jetstream.update_stream(found).await.map_err(later)?;
        }
        Ok(())
    }

    fn config(&self, stream: u16) -> stream::Config {
        let metadata = [
            (PARTITIONS, self.partitions.to_string()),
            (STREAMS, self.streams.to_string()),
            (FORMAT, FORMAT_NOW.to_owned()),
        ];
        stream::Config {
            name: self.name(stream),
            description: Some("Carillon's log".to_owned()),
            subjects: vec![format!("{}.{stream}.>", self.prefix)],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            num_replicas: self.replicas,
            max_bytes: self.stream_bytes_max as i64,
            // A full log refuses what is new. It never throws away what somebody was promised.
            discard: DiscardPolicy::New,
            allow_direct: true,
            duplicate_window: DUPLICATE_WINDOW,
            metadata: HashMap::from(metadata.map(|(key, value)| (key.to_owned(), value))),
            ..stream::Config::default()
        }
    }

    fn check(&self, stream: u16, found: &stream::Config) -> Result<(), LogError> {
        let place = format!("stream {}", self.name(stream));
        let says = |key: &str| found.metadata.get(key).map(String::as_str).unwrap_or_default();
        if let Ok(version) = says(FORMAT).parse::<u16>()
            && says(FORMAT) != FORMAT_NOW
        {
            return Err(LogError::Newer { place, version });
        }
        let partitions = says(PARTITIONS).parse().unwrap_or_default();
        if partitions != self.partitions {
            return Err(LogError::Partitions { place, found: partitions, expected: self.partitions });
        }
        let problem = if says(STREAMS) != self.streams.to_string() {
            format!("it is one of {} streams, not of {}", says(STREAMS), self.streams)
        } else if found.num_replicas != self.replicas {
            format!("it has {} replicas, not {}", found.num_replicas, self.replicas)
        } else if found.discard != DiscardPolicy::New || found.storage != StorageType::File {
            "it does not keep messages in files, or throws old ones away".to_owned()
        } else if found.max_age != Duration::ZERO
            || found.max_messages > 0
            || found.max_messages_per_subject > 0
        {
            "it forgets messages by age or number".to_owned()
        } else {
            return Ok(());
        };
        Err(LogError::Setting(format!("{place} is not as it is configured: {problem}")))
    }

    async fn stream(&self, partition: Partition) -> Result<Stream<()>, NoAnswer> {
        self.jetstream.get_stream_no_info(self.name(self.stream_of(partition))).await.map_err(later)
    }

    /// The partition's last message, as the stream's leader has it.
    ///
    /// Neither this nor a direct get (which any replica answers, however far behind) is linearizable: a leader that was
    /// cut off answers, with what it had, until it notices. What *is* always true of an answer: the message was agreed on
    /// by most replicas and is there for good. So who finds the message he looks for, or another's, may rely on that; who
    /// finds an older one has learned nothing, and the way to find out is to append with that one as the expected last.
    pub(super) async fn last(&self, partition: Partition) -> Result<Option<Stored>, NoAnswer> {
        let subject = self.subject(partition);
        let stream = self.stream(partition).await?;
        match within(stream.get_last_raw_message_by_subject(&subject)).await? {
            Ok(message) => Ok(Some(message.into())),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(later(error)),
        }
    }

    /// The partition's first message, as the stream's leader has it. A replica that is behind has none of what it has not got
    /// yet: to believe it would be to take all of that for forgotten.
    async fn first(&self, partition: Partition) -> Result<Option<Stored>, NoAnswer> {
        let subject = self.subject(partition);
        let stream = self.stream(partition).await?;
        match within(stream.get_first_raw_message_by_subject(&subject, 1)).await? {
            Ok(message) => Ok(Some(message.into())),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(later(error)),
        }
    }

    /// The partition's first message at this sequence or after it, as one of the replicas has it.
    async fn next(&self, partition: Partition, sequence: u64) -> Result<Option<Stored>, NoAnswer> {
        let stream = self.stream(partition).await?;
        let ask = stream.direct_get_builder().sequence(sequence).next_by_subject(self.subject(partition));
        match within(ask.send()).await? {
            Ok(message) => Ok(Some(message.into())),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(later(error)),
        }
    }

    /// Finds where the partition goes on after a position, in a number of steps that is the logarithm of the stream's
    /// length.
    pub(super) async fn locate(&self, partition: Partition, after: u64) -> Result<Located, NoAnswer> {
        let Some(newest) = self.last(partition).await? else {
            return Ok(Located { sequence: 1, is_there: false, last_sequence: 0, base: 0, last: 0 });
        };
        let last = self.read(partition, &newest)?.last();
        // It is purged since, perhaps: then the leader's last one is there.
        let oldest = self.first(partition).await?.unwrap_or_else(|| newest.clone());
        let base = self.read(partition, &oldest)?.header.first - 1;
        let last_sequence = newest.sequence;
        if last <= after {
            return Ok(Located { sequence: last_sequence + 1, is_there: false, last_sequence, base, last });
        }
        // Whoever starts reading at `high` misses nothing; what is at `low` and before it ends before the position.
        let (mut low, mut high) = (oldest.sequence - 1, last_sequence);
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            match self.next(partition, middle).await? {
                Some(found) if self.read(partition, &found)?.last() <= after => low = found.sequence,
                // Nothing at all says that the replica is behind: to start too early is no harm.
                _ => high = middle,
            }
        }
        Ok(Located { sequence: high, is_there: true, last_sequence, base, last })
    }

    /// What a message says, which must be of this partition.
    pub(super) fn read<'a>(&self, partition: Partition, stored: &'a Stored) -> Result<Message<'a>, NoAnswer> {
        let place =
            || format!("stream {}, message {}", self.name(self.stream_of(partition)), stored.sequence);
        let corrupt = |what: String| NoAnswer::Never(LogError::Corrupt { place: place(), offset: 0, what });
        match Message::decode(&stored.bytes) {
            Ok(message) if message.header.partition == partition => Ok(message),
            Ok(message) => Err(corrupt(format!("it is of partition {}", message.header.partition))),
            Err(Malformed::Newer(version)) => {
                Err(NoAnswer::Never(LogError::Newer { place: place(), version: version.into() }))
            }
            Err(error) => Err(corrupt(error.to_string())),
        }
    }

    /// Forgets what the partition has before this message of its stream.
    pub(super) async fn purge(&self, partition: Partition, before: u64) -> Result<(), NoAnswer> {
        let stream = self.stream(partition).await?;
        let purge = stream.purge().filter(self.subject(partition)).sequence(before);
        within(purge.into_future()).await?.map_err(later)?;
        Ok(())
    }

    /// The last sequence of a stream and the bytes it takes, as its leader says.
    pub(super) async fn info(&self, stream: u16) -> Result<stream::State, NoAnswer> {
        let stream = self.jetstream.get_stream_no_info(self.name(stream)).await.map_err(later)?;
        Ok(within(stream.get_info()).await?.map_err(later)?.state)
    }

    /// A consumer of these partitions of one stream, from a sequence on. It is kept in memory by one server and
    /// acknowledges nothing: where it is lost another is made.
    pub(super) async fn consumer(
        &self,
        stream: u16,
        partitions: &[Partition],
        start_sequence: u64,
    ) -> Result<Consumer<consumer::pull::Config>, NoAnswer> {
        let is_all = partitions.len() == usize::from(self.partitions_in(stream));
        let filter_subjects = match is_all {
            true => Vec::new(),
            false => partitions.iter().map(|&partition| self.subject(partition)).collect(),
        };
        let config = consumer::pull::Config {
            deliver_policy: consumer::DeliverPolicy::ByStartSequence { start_sequence },
            ack_policy: consumer::AckPolicy::None,
            filter_subjects,
            inactive_threshold: CONSUMER_IDLE,
            num_replicas: 1,
            memory_storage: true,
            ..Default::default()
        };
        within(self.jetstream.create_consumer_on_stream(config, self.name(stream))).await?.map_err(later)
    }

    /// The last message that the server says it sent to a consumer.
    pub(super) async fn delivered(&self, stream: u16, consumer: &str) -> Result<u64, NoAnswer> {
        let stream = self.jetstream.get_stream_no_info(self.name(stream)).await.map_err(later)?;
        let info = within(stream.consumer_info(consumer)).await?.map_err(later)?;
        Ok(info.delivered.stream_sequence)
    }

    pub(super) async fn delete_consumer(&self, stream: u16, consumer: &str) -> Result<(), NoAnswer> {
        let stream = self.jetstream.get_stream_no_info(self.name(stream)).await.map_err(later)?;
        within(stream.delete_consumer(consumer)).await?.map_err(later)?;
        Ok(())
    }

    fn partitions_in(&self, stream: u16) -> u16 {
        (self.partitions + self.streams - 1 - stream) / self.streams
    }
}

impl From<StreamMessage> for Stored {
    fn from(message: StreamMessage) -> Self {
        Self { sequence: message.sequence, bytes: message.payload }
    }
}

/// async-nats limits how long it waits for an answer, not how long for a connection to ask over.
async fn within<T>(question: impl Future<Output = T>) -> Result<T, NoAnswer> {
    timeout(ANSWER, question).await.map_err(later)
}

pub(super) fn later(error: impl std::fmt::Display) -> NoAnswer {
    NoAnswer::Later(error.to_string())
}
