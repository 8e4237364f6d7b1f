//! Serving: from settings to the last goodbye.
//!
//! Start: take the data folder, read the log, archive what it holds, listen, and only then say so. Stop: the shards
//! drain, the archiver finishes, the store is made durable; whatever goes wrong on the way, what was acknowledged is
//! in the log.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use carillon_storage::{CqlConfig, CqlStore, EmbeddedStore, Positions, Store};
use futures_util::FutureExt;
use rustls::ServerConfig;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::auth::Keys;
use crate::background::stand_back;
use crate::cluster::join::{self, Joined, Joining};
use crate::cluster::presence::Presence;
use crate::cluster::view::NodeId;
use crate::config::{Config, StoreKind};
use crate::directory::{Directory, SHARDS_MAX};
use crate::follow::archive::{ArchiveStatus, Archiver};
use crate::follow::counters::{CountersConfig, UnreadCounters};
use crate::follow::dead_letters::DeadLetters;
use crate::follow::share::Share;
use crate::limits::Admission;
use crate::listen::{self, Door};
use crate::log::{FileLog, FileLogConfig, HomeLog, JetStreamLog, Log};
use crate::logging;
use crate::mailbox::{Bell, Mailbox, Waker};
use crate::route::Route;
use crate::shard::message::Message;
use crate::shard::{BELL, Node, Shard};
use crate::startup::{DataFolder, Greeting, StartError, raise_open_files};
use crate::stats::NodeStats;
use crate::tls;
use crate::tls::certificate::{Certificate, WARNED_DAYS};

/// Where in the data folder is what could not be archived.
pub const DEAD_LETTERS: &str = "dead-letters";

/// Threads of a shard that wait for the embedded store's disk.
const STORE_THREADS: usize = 2;
/// How long a node that starts waits for its share of a cluster.
const SETTLED_WITHIN: Duration = Duration::from_secs(15);
/// How often shards hear of the archiver's progress, at most.
const PROGRESS_EVERY: Duration = Duration::from_millis(10);

/// Runs the gateway until the process is told to stop (SIGTERM or SIGINT).
pub fn run(config: Config) -> Result<(), StartError> {
    logging::start(&config);
    raise_open_files();
    let running = Running::start(config)?;
    let program = std::env::args().next().unwrap_or_else(|| "carillon".to_owned());
    let greeting = Greeting {
        config: &running.node.config,
        address: running.address,
        tls_address: running.tls.as_ref().map(|tls| tls.address),
        data: running.data.path(),
        program: &program,
        development: running.node.keys.is_development(),
    };
    wait_for_signal(&running, &greeting).map_err(system("wait for signals"))?;
    running.stop();
    tracing::info!("stopped");
    Ok(())
}

/// A node that serves, until [`Running::stop`].
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// The same over TLS, where that is on.
    pub tls: Option<OverTls>,
    node: Arc<Node>,
    data: DataFolder,
    mailboxes: Mailboxes,
    shards: Vec<JoinHandle<()>>,
    archiver: Follower,
    counters: Option<Follower>,
    cluster: Option<Joined>,
}

/// How a node is reached over TLS.
pub struct OverTls {
    /// Where it listens.
    pub address: SocketAddr,
    config: Arc<ServerConfig>,
}

/// A thread that follows the log, and the word for it to finish.
struct Follower {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// What a node may have beside its log and its store.
#[derive(Default)]
struct Beside {
    /// Its number and its log, where other nodes share that.
    shared: Option<(NodeId, Arc<dyn HomeLog>)>,
    /// Its store, where that is in ScyllaDB or Cassandra.
    cql: Option<Arc<CqlStore>>,
}

impl Running {
    /// Starts a node. It serves when this returns.
    pub fn start(config: Config) -> Result<Self, StartError> {
        let data = DataFolder::open(&config.data)?;
        if !config.nats.is_empty() {
            return Self::start_in_cluster(config, data);
        }
        let log: Arc<dyn Log> = Arc::new(FileLog::open(log_config(&config, data.path()))?);
        match config.store {
            StoreKind::Embedded => {
                let store = Arc::new(open_embedded_store(&config, data.path())?);
                Self::start_on(config, data, log, store)
            }
            StoreKind::Cql => {
                let store = Arc::new(open_cql_store(&config)?);
                let cql = Some(Arc::clone(&store));
                Self::begin(config, data, log, store, Beside { cql, shared: None })
            }
        }
    }

    /// A node of a cluster, whose log is in NATS. Without a store that all share, each keeps a whole one of its own: then the log
    /// is never trimmed, so that a new node can make its own from it.
    fn start_in_cluster(config: Config, data: DataFolder) -> Result<Self, StartError> {
        let no_randomness = || io::Error::other("no randomness");
        let me = NodeId::random().ok_or_else(no_randomness).map_err(system("choose a number"))?;
        let log: Arc<dyn HomeLog> = Arc::new(JetStreamLog::open(join::log_config(&config, me))?);
        // What the log of this node alone came to is in another.
        let folder = data.path().join("cluster");
        std::fs::create_dir_all(&folder)
            .map_err(|source| StartError::Data { path: folder.clone(), source })?;
        let shared = Some((me, Arc::clone(&log)));
        match config.store {
            StoreKind::Embedded => {
                let store = Arc::new(open_embedded_store(&config, &folder)?);
                Self::begin(config, data, log, store, Beside { shared, cql: None })
            }
            StoreKind::Cql => {
                let store = Arc::new(open_cql_store(&config)?);
                let cql = Some(Arc::clone(&store));
                Self::begin(config, data, log, store, Beside { shared, cql })
            }
        }
    }

    /// The same on a log and a store of the caller's.
    pub fn start_on(
        config: Config,
        data: DataFolder,
        log: Arc<dyn Log>,
        store: Arc<dyn Store>,
    ) -> Result<Self, StartError> {
        Self::begin(config, data, log, store, Beside::default())
    }

    fn begin(
        config: Config,
        data: DataFolder,
        log: Arc<dyn Log>,
        store: Arc<dyn Store>,
        beside: Beside,
    ) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let Beside { shared, cql } = beside;
        let counting = cql.clone().filter(|_| config.counters_members_max > 0);
        let keys = Keys::open(&config)?;
        let shards = shard_count(&config);
        let route = match &shared {
            None => Route::alone(config.partitions, shards),
            Some((me, _)) => Route::in_cluster(config.partitions, shards, *me),
        };
        let (address, mut doors) = open_doors(&config, route.shards)?;
        let tls = open_tls_doors(&config, &mut doors)?;
        let counted = counting.as_ref().map(|store| wait_for(store.counted(config.partitions)));
        let counted = counted.transpose()?.transpose()?.map(watch::Sender::new);
        // Every node makes its store from the log, where they share none: it has to stay whole.
        let whole = watch::Sender::new(vec![0; usize::from(config.partitions)]);
        let held = match (&shared, config.store) {
            (Some(_), StoreKind::Embedded) => Some(whole.subscribe()),
            _ => counted.as_ref().map(watch::Sender::subscribe),
        };
        let of_share = shared.as_ref().filter(|_| cql.is_some()).map(|(_, log)| Arc::clone(log));
        let (archiver, followed) = match of_share.clone() {
            Some(log) => start_archiver_of_share(&config, data.path(), log, &store, held)?,
            None => start_archiver(&config, data.path(), &log, &store, held)?,
        };
        let counters = match counting.zip(counted) {
            Some((store, counted)) => {
                let how = CountersConfig::of(&config);
                let applied = followed.archived.clone();
                let counters = UnreadCounters::new(Arc::clone(&log), store, how, applied, counted);
                let counters = match of_share.zip(followed.share.as_ref()) {
                    Some((log, share)) => counters.of_homes(log, share.wanted()),
                    None => counters,
                };
                Some((counters.status(), run_counters(counters)?))
            }
            None => None,
        };
        let (counting, counters) = counters.unzip();
        let (mailboxes, polls) = mailboxes(&config, shards).map_err(system("start a shard"))?;
        let joining = match &shared {
            Some((me, _)) => Some(Joining::start(&config, *me, shards, Arc::clone(&mailboxes))?),
            None => None,
        };
        let node = Arc::new(Node {
            stats: NodeStats::new(shards),
            route,
            directory: Directory::default(),
            presence: Presence::new(config.partitions),
            peers: joining.as_ref().map(|joining| Arc::clone(&joining.peers)),
            lease: joining.as_ref().map(|joining| Arc::clone(&joining.lease)),
            cluster: joining.as_ref().map(|joining| Arc::clone(&joining.status)),
            admission: Admission::new(config.connections_max, config.connections_per_ip_max),
            keys,
            log,
            store,
            cql,
            archived: followed.archived,
            archiving: followed.archiving,
            counting,
            share: followed.share,
            config,
        });
        let shards = start_shards(&node, &mailboxes, polls, doors).map_err(system("start a shard"))?;
        let cluster = match (joining, shared) {
            (Some(joining), Some((_, log))) => {
                let begun = joining.begin(Arc::clone(&node), log, Arc::clone(&mailboxes));
                let joined = begun.map_err(system("start a thread"))?;
                if !joined.settle(SETTLED_WITHIN) {
                    tracing::warn!(
                        "NATS or the other nodes are slow: this node serves before it has its share"
                    );
                }
                Some(joined)
            }
            _ => None,
        };
        let running = Self { address, tls, node, data, mailboxes, shards, archiver, counters, cluster };
        running.tell_of_progress()?;
        Ok(running)
    }

    /// What it counts, as `/v1/stats` shows it.
    pub fn stats(&self) -> serde_json::Map<String, serde_json::Value> {
        let mut stats = self.node.stats.total();
        if let Some(cluster) = &self.node.cluster {
            cluster.count(&mut stats);
        }
        stats
    }

    /// Reads certificate and key anew: who connects from now on is shown them, and who is connected stays. Where they
    /// cannot be used, those of before are shown further on.
    pub fn renew_certificate(&self) -> Result<(), StartError> {
        let Some(tls) = &self.tls else { return Ok(()) };
        let Some((_, certificate)) = tls_settings(&self.node.config)? else { return Ok(()) };
        let config = tls::with_certificate(&tls.config, certificate);
        for mailbox in self.mailboxes.iter() {
            send(mailbox, Message::Certificate(Arc::clone(&config)));
        }
        Ok(())
    }

    /// Drains and stops: returns when everything acknowledged is in the store.
    pub fn stop(self) {
        if let Some(cluster) = &self.cluster {
            cluster.leave(Duration::from_millis(self.node.config.drain_timeout_ms));
        }
        for mailbox in self.mailboxes.iter() {
            send(mailbox, Message::Drain);
        }
        for shard in self.shards {
            if shard.join().is_err() {
                tracing::error!("a shard died; what it had acknowledged is in the log");
            }
        }
        if let Some(cluster) = self.cluster {
            cluster.part();
        }
        // The archiver may have gone already only if it died, which its own thread has said.
        self.archiver.finish();
        // What was archived last is counted as well.
        if let Some(counters) = self.counters {
            counters.finish();
        }
    }
}

impl Follower {
    fn finish(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// As many shards as the settings say, and no more than have a partition each and fit into the directory.
fn shard_count(config: &Config) -> u16 {
    config.shard_count().min(SHARDS_MAX).min(usize::from(config.partitions)) as u16
}

/// A door for each shard where the node listens; says where that is.
fn open_doors(config: &Config, shards: u16) -> Result<(SocketAddr, Vec<Vec<Door>>), StartError> {
    let listen_error = |source| StartError::Listen { flag: "--listen", address: config.listen, source };
    let (address, listeners) = listen::bind(config.listen, shards).map_err(listen_error)?;
    Ok((address, listeners.into_iter().map(|listener| vec![Door::new(listener, None)]).collect()))
}

/// A second door for each, over TLS, where that is set.
fn open_tls_doors(config: &Config, doors: &mut [Vec<Door>]) -> Result<Option<OverTls>, StartError> {
    let Some((address, certificate)) = tls_settings(config)? else { return Ok(None) };
    let config = tls::config(certificate)?;
    let listen_error = |source| StartError::Listen { flag: "--tls-listen", address, source };
    let (address, listeners) = listen::bind(address, doors.len() as u16).map_err(listen_error)?;
    for (doors, listener) in doors.iter_mut().zip(listeners) {
        doors.push(Door::new(listener, Some(Arc::clone(&config))));
    }
    Ok(Some(OverTls { address, config }))
}

/// Where to listen over TLS and what to show there, if anywhere. A certificate that will soon be refused is warned of.
fn tls_settings(config: &Config) -> Result<Option<(SocketAddr, Certificate)>, StartError> {
    let (address, certificate, key) = match (config.tls_listen, &config.tls_certificate, &config.tls_key) {
        (None, None, None) => return Ok(None),
        (Some(address), Some(certificate), Some(key)) => (address, certificate, key),
        (None, ..) => return Err(StartError::TlsIncomplete("tls_listen")),
        (_, None, _) => return Err(StartError::TlsIncomplete("tls_certificate")),
        (.., None) => return Err(StartError::TlsIncomplete("tls_key")),
    };
    let certificate = Certificate::read(certificate, key)?;
    let days_left = certificate.days_left;
    if days_left < WARNED_DAYS {
        tracing::warn!(days_left, "the TLS certificate expires soon; replace it and send SIGHUP");
    }
    Ok(Some((address, certificate)))
}

fn log_config(config: &Config, data: &Path) -> FileLogConfig {
    FileLogConfig {
        dir: data.join("log"),
        partitions: config.partitions,
        segment_bytes: config.log_segment_bytes,
        log_bytes_max: config.log_bytes_max,
    }
}

fn open_cql_store(config: &Config) -> Result<CqlStore, StartError> {
    Ok(wait_for(CqlStore::open(cql_config(config)?))??)
}

/// How the servers of the store are reached.
pub fn cql_config(config: &Config) -> Result<CqlConfig, StartError> {
    let password = match &config.cql_password_file {
        Some(path) => {
            let read = std::fs::read_to_string(path);
            read.map_err(|source| StartError::Password { path: path.clone(), source })?.trim().to_owned()
        }
        None => String::new(),
    };
    Ok(CqlConfig {
        contact_points: config.cql.iter().map(|server| server.as_str().to_owned()).collect(),
        keyspace: config.cql_keyspace.as_str().to_owned(),
        login: config.cql_user.clone().map(|user| (user, password)),
        datacenter: config.cql_datacenter.clone(),
        consistency: config.cql_consistency,
        timeout: Duration::from_millis(config.cql_timeout_ms),
        speculative: Duration::from_millis(config.cql_speculative_ms),
        tls_ca: config.cql_tls_ca.clone(),
    })
}

/// Opens the store from a thread that stands back: what it starts to write and to compact does as well.
fn open_embedded_store(config: &Config, data: &Path) -> Result<EmbeddedStore, StartError> {
    let (dir, cache_bytes) = (data.join("store"), config.store_cache_bytes);
    let open = move || {
        stand_back();
        EmbeddedStore::open_with_cache(&dir, cache_bytes)
    };
    let opening =
        thread::Builder::new().name("store".into()).spawn(open).map_err(system("start a thread"))?;
    match opening.join() {
        Ok(opened) => Ok(opened?),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Archives all that the log holds, so that rooms can be read from the store, and goes on doing so on its own thread.
fn start_archiver(
    config: &Config,
    data: &Path,
    log: &Arc<dyn Log>,
    store: &Arc<dyn Store>,
    held: Option<watch::Receiver<Positions>>,
) -> Result<(Follower, Followed), StartError> {
    let runtime = runtime().map_err(system("start the archiver"))?;
    let (log, store) = (Arc::clone(log), Arc::clone(store));
    let dead_letters = DeadLetters::new(data.join(DEAD_LETTERS));
    let persist_interval = Duration::from_millis(config.archive_persist_ms);
    let archiver = runtime.block_on(Archiver::open_held(log, store, dead_letters, persist_interval, held))?;
    let followed = Followed { archived: archiver.applied(), archiving: archiver.status(), share: None };
    Ok((run_archiver(archiver, runtime)?, followed))
}

/// Where nodes share log and store: archives this node's share, from when it has one.
fn start_archiver_of_share(
    config: &Config,
    data: &Path,
    log: Arc<dyn HomeLog>,
    store: &Arc<dyn Store>,
    held: Option<watch::Receiver<Positions>>,
) -> Result<(Follower, Followed), StartError> {
    let runtime = runtime().map_err(system("start the archiver"))?;
    let archived = runtime.block_on(store.archived(config.partitions))?;
    let applied = Arc::new(watch::Sender::new(archived));
    let share = Arc::new(Share::new(Arc::clone(store), Arc::clone(&applied)));
    let dead_letters = DeadLetters::new(data.join(DEAD_LETTERS));
    let persist_interval = Duration::from_millis(config.archive_persist_ms);
    let of_share = (log, share.wanted());
    let archiver =
        Archiver::of_share(of_share, Arc::clone(store), dead_letters, persist_interval, applied, held);
    let (archived, archiving) = (archiver.applied(), archiver.status());
    Ok((run_archiver(archiver, runtime)?, Followed { archived, archiving, share: Some(share) }))
}

fn run_archiver(archiver: Archiver, runtime: Runtime) -> Result<Follower, StartError> {
    let (stop, stopped) = oneshot::channel::<()>();
    let body = move || {
        stand_back();
        if let Err(error) = runtime.block_on(archiver.run(stopped.map(drop))) {
            tracing::error!(%error, "not everything is archived; the log has the rest for the next start");
        }
    };
    let thread =
        thread::Builder::new().name("archiver".into()).spawn(body).map_err(system("start a thread"))?;
    Ok(Follower { stop, thread })
}

fn run_counters(counters: UnreadCounters) -> Result<Follower, StartError> {
    let runtime = runtime().map_err(system("start the counters"))?;
    let (stop, stopped) = oneshot::channel::<()>();
    let body = move || {
        stand_back();
        runtime.block_on(counters.run(stopped.map(drop)));
    };
    let thread =
        thread::Builder::new().name("counters".into()).spawn(body).map_err(system("start a thread"))?;
    Ok(Follower { stop, thread })
}

/// For what has to be known before the node serves.
fn wait_for<T>(future: impl Future<Output = T>) -> Result<T, StartError> {
    Ok(runtime().map_err(system("start a thread"))?.block_on(future))
}

/// What others may know of the archiver.
struct Followed {
    archived: watch::Receiver<Positions>,
    archiving: watch::Receiver<ArchiveStatus>,
    share: Option<Arc<Share>>,
}

type Mailboxes = Arc<[Mailbox<Message>]>;

/// A mailbox for each shard, and what it polls.
fn mailboxes(config: &Config, shards: u16) -> io::Result<(Mailboxes, Vec<mio::Poll>)> {
    let mut polls = Vec::new();
    let mut mailboxes = Vec::new();
    for _ in 0..shards {
        let poll = mio::Poll::new()?;
        let bell = Arc::new(Bell::new(Waker::new(mio::Waker::new(poll.registry(), BELL)?)));
        mailboxes.push(Mailbox::new(config.mailbox_batches, bell));
        polls.push(poll);
    }
    Ok((mailboxes.into(), polls))
}

/// A thread for each shard's doors.
fn start_shards(
    node: &Arc<Node>,
    mailboxes: &Mailboxes,
    polls: Vec<mio::Poll>,
    doors: Vec<Vec<Door>>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let mut threads = Vec::new();
    for (me, (poll, doors)) in polls.into_iter().zip(doors).enumerate() {
        let (node, mailboxes) = (Arc::clone(node), Arc::clone(mailboxes));
        let body = move || run_shard(me as u16, node, poll, doors, mailboxes);
        threads.push(thread::Builder::new().name(format!("shard {me}")).spawn(body)?);
    }
    Ok(threads)
}

/// A shard's thread, from beginning to end. A shard that cannot go on takes the node with it: half a node would keep
/// its rooms from everyone, and a restart loses nothing that was acknowledged.
fn run_shard(me: u16, node: Arc<Node>, poll: mio::Poll, doors: Vec<Door>, mailboxes: Mailboxes) {
    let run = || -> io::Result<()> {
        runtime()?.block_on(async { Shard::new(me, node, poll, doors, mailboxes)?.run().await })
    };
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(shard = me, %error, "a shard cannot go on; the node stops");
            std::process::exit(1);
        }
        Err(_) => {
            tracing::error!(shard = me, "a shard panicked; the node stops");
            std::process::exit(1);
        }
    }
}

impl Running {
    /// The shards hear how far the archiver has come, so that they can forget what the store has.
    fn tell_of_progress(&self) -> Result<(), StartError> {
        let (mailboxes, mut archived) = (Arc::clone(&self.mailboxes), self.node.archived.clone());
        let tell = async move {
            while archived.changed().await.is_ok() {
                let positions = Arc::new(archived.borrow_and_update().clone());
                for mailbox in mailboxes.iter() {
                    // A full mailbox hears of the next step.
                    let _ = mailbox.send(vec![Message::Archived(Arc::clone(&positions))]);
                }
                tokio::time::sleep(PROGRESS_EVERY).await;
            }
        };
        let runtime = runtime().map_err(system("start a thread"))?;
        let body = move || runtime.block_on(tell);
        thread::Builder::new().name("progress".into()).spawn(body).map_err(system("start a thread"))?;
        Ok(())
    }
}

/// A message that must arrive: tried until there is space.
fn send(mailbox: &Mailbox<Message>, message: Message) {
    let mut batch = vec![message];
    while let Err(full) = mailbox.send(batch) {
        batch = full;
        thread::sleep(PROGRESS_EVERY);
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().max_blocking_threads(STORE_THREADS).build()
}

fn system(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

fn wait_for_signal(running: &Running, greeting: &Greeting<'_>) -> io::Result<()> {
    runtime()?.block_on(async {
        // Before anybody is told that we run: whoever reads it may stop us at once.
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // Without a certificate there is nothing to read anew, and a terminal that closes ends its programs with this.
        let mut hangup = running.tls.is_some().then(|| signal(SignalKind::hangup())).transpose()?;
        greeting.announce();
        loop {
            tokio::select! {
                _ = terminate.recv() => break tracing::info!("stopping: SIGTERM"),
                _ = interrupt.recv() => break tracing::info!("stopping: SIGINT"),
                Some(()) = next(&mut hangup) => match running.renew_certificate() {
                    Ok(()) => tracing::info!("SIGHUP: the TLS certificate was read anew"),
                    Err(error) => tracing::error!(%error, "SIGHUP: the TLS certificate stays as it is"),
                },
            }
        }
        Ok(())
    })
}

/// The next of a signal that is listened for; never, where it is not.
async fn next(signal: &mut Option<Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}
