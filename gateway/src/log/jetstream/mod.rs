//! The log in NATS JetStream: partitions are subjects of a few streams, and whoever is a partition's home writes it.
//!
//! - An append is durable when most of the stream's replicas have it (on their disks, where NATS runs with
//!   `sync_interval: always`; it does not by default).
//! - [`HomeLog::take`] makes this node a partition's home: it appends a message that says so, after the last one
//!   there is, with an epoch one higher. Every message names the sequence of the one before it
//!   (`Nats-Expected-Last-Subject-Sequence`), so from then on whatever the home before sends is refused. No clock, no
//!   lease, no view of who lives is believed.
//! - Silence and refusals of NATS are looked into before anything is decided (`writer`). While NATS is away, what was
//!   sent stays undecided and what was not is refused as [`AppendError::Unavailable`].
//! - Partitions settle by themselves: a group of several partitions is not all or nothing here
//!   ([`SettlesBy::Partition`]), and callers append groups of one.
//!
//! See [`message`] for the bytes, `connection` for what async-nats does under pressure, `tail` for reading.

mod connection;
pub mod message;
mod shared;
mod streams;
mod tail;
mod trim;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::future::{self, BoxFuture};
use futures_util::{FutureExt, StreamExt, stream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use self::connection::Connection;
use self::shared::Shared;
use self::streams::{NoAnswer, Streams};
use self::trim::Trimmer;
use self::writer::{Command, Waiting, Writer};
use super::{
    AppendError, Batch, HomeLog, Log, LogError, LogStatus, Partition, Positions, SettlesBy, Tail, TakenOver,
};

/// How long the log waits for NATS when it is opened.
const OPENING: Duration = Duration::from_secs(15);
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How long a tail waits to know where it starts. After that it is handed out, and finds out by itself.
const LOCATING: Duration = Duration::from_secs(10);
/// How long a log that is dropped waits for what is under way.
const CLOSING: Duration = Duration::from_secs(2);
/// What NATS's limit of a message has to hold besides the message: the protocol's line and headers.
const PROTOCOL_BYTES: usize = 512;
/// Partitions that are asked about at a time.
const ASKING: usize = 32;

/// Where a log in JetStream is, and how large it may be.
#[derive(Clone, Debug)]
pub struct JetStreamConfig {
    /// NATS servers, `nats://host:4222` each; one suffices to find the others of its cluster.
    pub servers: Vec<String>,
    /// File of NATS credentials, where the servers ask for some.
    pub credentials: Option<PathBuf>,
    /// What this node is called in NATS's lists of connections.
    pub name: String,
    /// This process, among all that ever write to the log: another number after each start.
    pub node: u64,
    /// With what the names of streams and subjects begin: `<prefix>-0`, `<prefix>.0.17`. No dots, no spaces.
    pub prefix: String,
    /// How many partitions the log has; the same for every node, for ever.
    pub partitions: Partition,
    /// How many streams they are in; the same for every node, for ever. Each is a Raft group where there are replicas:
    /// few, one or two for each NATS server.
    pub streams: u16,
    /// On how many NATS servers each message is; 3 in production.
    pub replicas: usize,
    /// How much all streams together may take on each of these servers; past it appends are [`AppendError::Full`] until
    /// archiving lets the log be trimmed.
    pub log_bytes_max: u64,
    /// How long NATS may be silent before what waits to be sent is refused as [`AppendError::Unavailable`].
    pub append_timeout: Duration,
    /// How long archived messages may gather before they are forgotten together.
    pub trim_rest: Duration,
    /// Takes every partition when it opens: for tests and benches of one node.
    pub take_all: bool,
}

impl JetStreamConfig {
    /// Two streams of one replica, 4 GiB in all.
    pub fn new(servers: Vec<String>, node: u64, partitions: Partition) -> Self {
        Self {
            servers,
            credentials: None,
            name: "carillon".to_owned(),
            node,
            prefix: "carillon-log".to_owned(),
            partitions,
            streams: 2,
            replicas: 1,
            log_bytes_max: 4 << 30,
            append_timeout: Duration::from_secs(10),
            trim_rest: Duration::from_secs(10),
            take_all: false,
        }
    }

    fn stream_bytes_max(&self) -> u64 {
        self.log_bytes_max / u64::from(self.streams)
    }

    fn check(&self) -> Result<(), LogError> {
        let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_');
        let problem = if self.servers.is_empty() {
            "the log in JetStream needs the address of a NATS server"
        } else if self.partitions == 0 {
            "the log needs at least one partition"
        } else if self.streams == 0 || self.streams > self.partitions {
            "the log needs at least one stream, and no more than it has partitions"
        } else if !matches!(self.replicas, 1 | 3 | 5) {
            "a stream has 1, 3 or 5 replicas"
        } else if self.prefix.is_empty() || !self.prefix.chars().all(is_plain) {
            "the names of streams begin with letters, digits, - or _"
        } else {
            return Ok(());
        };
        Err(LogError::Setting(problem.to_owned()))
    }
}

/// A log in JetStream, as one node sees it. Dropping it waits a moment for what is under way.
pub struct JetStreamLog {
    partitions: Partition,
    shared: Arc<Shared>,
    /// Nothing only while the log is being dropped.
    writers: Vec<mpsc::UnboundedSender<Command>>,
    archived: watch::Sender<Positions>,
    /// For appends; and for tails, so that reading a lot does not hold up answers.
    connection: Connection,
    reading: Connection,
    tails: Streams,
    runtime: Handle,
    closing: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the log's thread made, and gives to who opens the log.
struct Opened {
    connection: Connection,
    reading: Connection,
    tails: Streams,
    writers: Vec<mpsc::UnboundedSender<Command>>,
}

impl JetStreamLog {
    /// Opens the log: makes its streams where they are missing, and checks them where they are there. Waits for NATS,
    /// some seconds at most.
    pub fn open(config: JetStreamConfig) -> Result<Self, LogError> {
        config.check()?;
        let shared = Arc::new(Shared::new(config.partitions, config.streams, config.stream_bytes_max()));
        let (archived, to_trim) = watch::channel(vec![0; usize::from(config.partitions)]);
        let (closing, close) = oneshot::channel();
        let (tell, told) = std_mpsc::channel();
        let no_thread = |source| LogError::Io { place: "a thread of its own".to_owned(), source };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
        let (handle, partitions, take_all) = (runtime.handle().clone(), config.partitions, config.take_all);
        let thread = std::thread::Builder::new().name("carillon-log".to_owned()).spawn({
            let shared = shared.clone();
            move || runtime.block_on(run(config, shared, to_trim, tell, close))
        });
        let thread = thread.map_err(no_thread)?;
        let gone = |_| LogError::Setting("the log's thread ended while it was opened".to_owned());
        let Opened { connection, reading, tails, writers } = told.recv().map_err(gone)??;
        let log = Self {
            partitions,
            shared,
            writers,
            archived,
            connection,
            reading,
            tails,
            runtime: handle,
            closing: Some(closing),
            thread: Some(thread),
        };
        if take_all {
            let all = (0..partitions).map(|partition| log.take(partition)).collect::<Vec<_>>();
            log.wait_for(future::try_join_all(all), OPENING).unwrap_or_else(|| Err(no_answer()))?;
        }
        Ok(log)
    }

    /// Has the log's thread do something, and waits for it here, so long.
    fn wait_for<T: Send + 'static>(
        &self,
        what: impl Future<Output = T> + Send + 'static,
        limit: Duration,
    ) -> Option<T> {
        let (done, outcome) = std_mpsc::channel();
        self.runtime.spawn(async move { done.send(what.await) });
        outcome.recv_timeout(limit).ok()
    }

    fn send(&self, partition: Partition, command: Command) -> Result<(), AppendError> {
        let writer = self.writers.get(usize::from(partition)).ok_or(AppendError::NoPartition(partition))?;
        writer.send(command).map_err(|_| closed())
    }

    /// Hands the group to its partitions' writers, or says at once why not.
    fn enqueue(&self, group: Vec<Batch>) -> Result<Vec<Outcome>, AppendError> {
        if let Some(batch) = group.iter().find(|batch| batch.partition >= self.partitions) {
            return Err(AppendError::NoPartition(batch.partition));
        }
        let parts = split(group);
        let bytes_max =
            self.connection.client.max_payload().saturating_sub(message::HEADER_LEN + PROTOCOL_BYTES);
        let largest = parts.iter().map(|part| writer::message_bytes(part)).max();
        if let Some(bytes) = largest.filter(|&bytes| bytes > bytes_max) {
            return Err(AppendError::TooLarge { bytes, bytes_max });
        }
        self.shared.reserve(parts.iter().map(|part| writer::message_bytes(part)))?;
        let mut outcomes = Vec::new();
        for batches in parts {
            let (partition, bytes) = (batches[0].partition, writer::message_bytes(&batches));
            let (done, outcome) = oneshot::channel();
            self.send(partition, Command::Append(Waiting { batches, bytes, done }))?;
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// Resolves when everything that was appended before is settled.
    fn settle(&self) -> Vec<Outcome> {
        let settles = self.writers.iter().filter_map(|writer| {
            let (done, outcome) = oneshot::channel();
            writer.send(Command::Settle(done)).ok().map(|()| outcome)
        });
        settles.collect()
    }
}

type Outcome = oneshot::Receiver<Result<(), AppendError>>;

impl Log for JetStreamLog {
    /// A group of several partitions resolves when all are durable, and fails with the first error; those that did not
    /// fail are there.
    fn append(&self, group: Vec<Batch>) -> BoxFuture<'static, Result<(), AppendError>> {
        let outcomes = match group.is_empty() {
            true => Ok(self.settle()),
            false => self.enqueue(group),
        };
        match outcomes {
            Ok(outcomes) => {
                let settled = |outcome: Outcome| async { outcome.await.unwrap_or_else(|_| Err(closed())) };
                future::try_join_all(outcomes.into_iter().map(settled)).map(|all| all.map(drop)).boxed()
            }
            Err(error) => {
                self.shared.count_refused(&error);
                future::ready(Err(error)).boxed()
            }
        }
    }

    fn settles_by(&self) -> SettlesBy {
        SettlesBy::Partition
    }

    /// See [`HomeLog::tail_of`].
    fn tail(&self, after: Positions) -> Result<Box<dyn Tail>, LogError> {
        let all: Vec<_> = (0..self.partitions).collect();
        self.tail_of(&all, &after)
    }

    fn trim(&self, archived: &Positions) {
        self.archived.send_modify(|known| {
            known.iter_mut().zip(archived).for_each(|(known, &archived)| *known = archived.max(*known));
        });
    }

    /// What is known: own appends at once, others' as a tail sees them or [`HomeLog::refresh`] asks for them.
    fn last(&self) -> Positions {
        self.shared.last()
    }

    fn status(&self) -> LogStatus {
        self.shared.status()
    }
}

impl HomeLog for JetStreamLog {
    fn take(&self, partition: Partition) -> BoxFuture<'static, Result<TakenOver, LogError>> {
        let (done, outcome) = oneshot::channel();
        if let Err(error) = self.send(partition, Command::Take(done)) {
            return future::ready(Err(LogError::Setting(error.to_string()))).boxed();
        }
        outcome.map(|outcome| outcome.unwrap_or_else(|_| Err(no_answer()))).boxed()
    }

    fn release(&self, partition: Partition) -> BoxFuture<'static, ()> {
        let (done, outcome) = oneshot::channel();
        if self.send(partition, Command::Release(done)).is_err() {
            return future::ready(()).boxed();
        }
        outcome.map(|_| ()).boxed()
    }

    fn delivered(&self, partition: Partition, position: u64) {
        self.shared.set_delivered(partition, position);
    }

    fn refresh(&self) -> BoxFuture<'static, Result<(), LogError>> {
        let (streams, shared, partitions) = (self.tails.clone(), self.shared.clone(), self.partitions);
        let asking = self.runtime.spawn(async move { refresh(&streams, &shared, partitions).await });
        asking.map(|asked| asked.unwrap_or_else(|_| Err(no_answer()))).boxed()
    }

    /// Waits some seconds for NATS, on the thread that calls. Where NATS does not answer in that time, what is wrong comes
    /// out of the first read.
    fn tail_of(&self, partitions: &[Partition], after: &Positions) -> Result<Box<dyn Tail>, LogError> {
        if after.len() != usize::from(self.partitions) {
            let (found, expected) = (self.partitions, after.len() as Partition);
            return Err(LogError::Partitions { place: "use".to_owned(), found, expected });
        }
        if let Some(partition) = partitions.iter().find(|&&partition| partition >= self.partitions) {
            return Err(LogError::Setting(AppendError::NoPartition(*partition).to_string()));
        }
        let (tail, followers, located) =
            tail::tail(&self.reading, &self.tails, &self.shared, partitions, after);
        for follower in followers {
            self.runtime.spawn(follower.run());
        }
        let located = future::join_all(located);
        for outcome in self.wait_for(located, LOCATING).into_iter().flatten().flatten() {
            outcome?;
        }
        Ok(Box::new(tail))
    }
}

impl Drop for JetStreamLog {
    fn drop(&mut self) {
        self.writers.clear();
        _ = self.closing.take().map(|closing| closing.send(()));
        // A thread that panicked has answered nobody and acknowledged nothing; there is no more to do here.
        _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The log's thread: opens it, and is where its tasks run until it is dropped.
async fn run(
    config: JetStreamConfig,
    shared: Arc<Shared>,
    archived: watch::Receiver<Positions>,
    tell: std_mpsc::Sender<Result<Opened, LogError>>,
    close: oneshot::Receiver<()>,
) {
    let mut tasks = JoinSet::new();
    let opened = open(&config, &shared, &mut tasks).await;
    let trimmer = opened.as_ref().ok().map(|opened| Trimmer {
        streams: opened.tails.clone(),
        shared: shared.clone(),
        archived,
        rest: config.trim_rest,
    });
    if tell.send(opened).is_err() {
        return;
    }
    if let Some(trimmer) = trimmer {
        tokio::spawn(trimmer.run());
        _ = close.await;
        // Writers end when their queues are empty.
        _ = timeout(CLOSING, async { while tasks.join_next().await.is_some() {} }).await;
    }
}

async fn open(
    config: &JetStreamConfig,
    shared: &Arc<Shared>,
    tasks: &mut JoinSet<()>,
) -> Result<Opened, LogError> {
    let deadline = Instant::now() + OPENING;
    let connect = |name: String| {
        let (servers, credentials) = (&config.servers, config.credentials.as_deref());
        async move { Connection::open(servers, credentials, &name, deadline).await }
    };
    let connection = connect(format!("{} log", config.name)).await?;
    let reading = connect(format!("{} log, reading", config.name)).await?;
    let streams = Streams::new(connection.client.clone(), config);
    let tails = Streams::new(reading.client.clone(), config);
    streams.open(deadline).await?;
    // New streams may have no leader yet.
    while let Err(error) = refresh(&streams, shared, config.partitions).await {
        if Instant::now() > deadline || !matches!(error, LogError::Io { .. }) {
            return Err(error);
        }
        sleep(ASK_AGAIN).await;
    }
    let mut writers = Vec::new();
    for partition in 0..config.partitions {
        let (sender, queue) = mpsc::unbounded_channel();
        writers.push(sender);
        let writer = Writer {
            partition,
            node: config.node,
            stream: streams.stream_of(partition),
            subject: streams.subject(partition),
            connection: connection.clone(),
            streams: streams.clone(),
            shared: shared.clone(),
            append_timeout: config.append_timeout,
            queue,
            held: None,
            home: None,
        };
        tasks.spawn(writer.run());
    }
    Ok(Opened { connection, reading, tails, writers })
}

async fn refresh(streams: &Streams, shared: &Shared, partitions: Partition) -> Result<(), LogError> {
    let questions = (0..partitions).map(|partition| async move {
        let Some(stored) = streams.last(partition).await? else { return Ok(()) };
        shared.saw(partition, streams.read(partition, &stored)?.last());
        Ok(())
    });
    let mut answers = stream::iter(questions).buffer_unordered(ASKING);
    while let Some(answer) = answers.next().await {
        answer.map_err(|error| match error {
            NoAnswer::Never(error) => error,
            NoAnswer::Later(why) => {
                LogError::Io { place: "JetStream".to_owned(), source: std::io::Error::other(why) }
            }
        })?;
    }
    Ok(())
}

/// The group's batches by partition, in their order.
fn split(group: Vec<Batch>) -> Vec<Vec<Batch>> {
    let mut parts: Vec<Vec<Batch>> = Vec::new();
    for batch in group {
        match parts.iter_mut().find(|part| part[0].partition == batch.partition) {
            Some(part) => part.push(batch),
            None => parts.push(vec![batch]),
        }
    }
    parts
}

fn closed() -> AppendError {
    AppendError::Failed("it was closed before NATS said what became of the append".to_owned())
}

fn no_answer() -> LogError {
    LogError::Io { place: "JetStream".to_owned(), source: std::io::ErrorKind::TimedOut.into() }
}
