//! What the archiver costs above the driver: from a log of messages into a real CQL server, against a bare loop that writes the
//! same rows with the same statements, each room's together, in turns in one run. Then what pages of history and durable sends take while
//! nothing is written and while the archiver catches up, what counters take, and what a message takes on the disk.
//!
//! `cargo run --release -p carillon-bench --bin cql_archive -- [messages] [rooms] [rounds]`
#![allow(clippy::disallowed_types, reason = "one measures while another looks")]
#![allow(clippy::print_stdout, reason = "it prints a measurement")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use carillon_devservers::{Cql, CqlConfig as ServerConfig};
use carillon_gateway::auth::Keys;
use carillon_gateway::config::Config;
use carillon_gateway::follow::archive::Archiver;
use carillon_gateway::follow::changes::{add_changes, last_only};
use carillon_gateway::follow::counters::{CountersConfig, UnreadCounters};
use carillon_gateway::follow::dead_letters::DeadLetters;
use carillon_gateway::log::{Batch, Log, MemoryLog, Record, record};
use carillon_gateway::serve::Running;
use carillon_protocol::binary::encode_event;
use carillon_protocol::frame::Role;
use carillon_protocol::{ClientId, Decoded, Event, EventBody, Frame, RoomId, UserId, decode, encode};
use carillon_storage::{BUCKET_EVENTS, Change, CqlConfig, CqlStore, Store, apply_schema};
use futures_util::{StreamExt, TryStreamExt, stream};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::batch::{Batch as CqlBatch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use tokio::sync::watch;
use uuid::Uuid;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const PARTITIONS: u16 = 64;
const SENDERS_PER_ROOM: u64 = 10;
/// A turn of a busy home: what one batch of the log holds.
const MESSAGES_PER_BATCH: u64 = 20;
const TEXT_BYTES: usize = 128;
/// As the archiver reads the log.
const CHUNK_BYTES: usize = 4 << 20;
/// The bare loop's requests in flight, and rows in a batch.
const IN_FLIGHT: usize = 64;
const BATCH_ROWS: usize = 100;
const PAGES: usize = 4_000;
const PAGE_EVENTS: usize = 50;
const READERS: usize = 2;
/// Live traffic is measured so long at a time, in so many rounds,
const LIVE_TIME: Duration = Duration::from_secs(6);
const LIVE_ROUNDS: u32 = 4;
/// some time after the backlog has begun: its first moments are not what an hour of it is like,
const LIVE_BEFORE: Duration = Duration::from_secs(2);
/// with such a pause after each answer.
const LIVE_EVERY: Duration = Duration::from_millis(4);
/// Messages of a turn in which counters are kept, as many times as in others: they are updated every few seconds.
const COUNTED_TIMES: u64 = 8;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let messages: u64 = args.next().map_or(Ok(300_000), |arg| arg.parse())?;
    let rooms: u64 = args.next().map_or(Ok(200), |arg| arg.parse())?;
    let rounds: u32 = args.next().map_or(Ok(4), |arg| arg.parse())?;
    let mut server = Cql::start_as(&ServerConfig { heap_mib: 1024, ..ServerConfig::default() })?;
    println!("{}; {messages} messages of {TEXT_BYTES} bytes in {rooms} rooms, a round", server.name());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let last = runtime.block_on(measure(&server.address(), messages, rooms, rounds))?;
    // A server that starts again writes what was in its commit log into tables.
    server.kill()?;
    server.restart()?;
    let tables = folder_bytes(&server.folder().join("data").join(&last), "messages")?;
    let sent = folder_bytes(&server.folder().join("data").join(&last), "sent_ids")?;
    println!("on disk, a message: {} bytes, its client id {} bytes", tables / messages, sent / messages);
    Ok(())
}

/// Prints; gives the keyspace that holds one round of messages.
async fn measure(address: &str, messages: u64, rooms: u64, rounds: u32) -> Result<String> {
    let mut ratios = Vec::new();
    let mut archived = None;
    for round in 0..=rounds {
        let log = log(messages, rooms, 0).await?;
        let chunks = chunks(&log)?;
        let store = Arc::new(CqlStore::open(keyspace(address, format!("archiver{round}")).await?).await?);
        let archiver = archive(Arc::clone(&log), Arc::clone(&store)).await?;
        let bare = bare(address, keyspace(address, format!("bare{round}")).await?, chunks).await?;
        let per_s = |time: Duration| messages as f64 / time.as_secs_f64();
        let ratio = bare.as_secs_f64() / archiver.as_secs_f64();
        // The JVM compiles what is used often: the first round only warms it up.
        let note = if round == 0 { "  (warming up)" } else { "" };
        println!("archiver {:8.0}/s   bare {:8.0}/s   ratio {ratio:.2}{note}", per_s(archiver), per_s(bare));
        if round > 0 {
            ratios.push(ratio);
        }
        archived = Some((store, format!("archiver{round}")));
    }
    ratios.sort_by(f64::total_cmp);
    println!("archiver / bare: median {:.2}", ratios[ratios.len() / 2]);
    let (store, last) = archived.ok_or("no round")?;
    pages(&store, address, messages, rooms).await?;
    // Elsewhere: what the messages of one round take on the disk is looked at afterwards.
    let other = Arc::new(CqlStore::open(keyspace(address, "live".to_owned()).await?).await?);
    archive(log(messages, rooms, 0).await?, Arc::clone(&other)).await?;
    live(&other, messages, rooms).await?;
    count(address, messages, rooms, rounds).await?;
    for kind in store.status().kinds.iter().filter(|kind| kind.count > 0) {
        println!(
            "{:<16} {:>8} requests {:>9} rows  p50 < {:>6} µs  p99 < {:>6} µs",
            kind.name, kind.count, kind.rows, kind.p50_us, kind.p99_us
        );
    }
    Ok(last)
}

async fn keyspace(address: &str, keyspace: String) -> Result<CqlConfig> {
    let timeout = Duration::from_secs(30);
    let config =
        CqlConfig { contact_points: vec![address.to_owned()], keyspace, timeout, ..CqlConfig::default() };
    apply_schema(&config, 1).await?;
    Ok(config)
}

fn room(number: u64) -> RoomId {
    RoomId::from_bytes(
        Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + u128::from(number)).into_bytes(),
    )
}

/// Text that compresses about as people's does: digits take half a byte.
fn text(seed: u64) -> String {
    let mut word = seed.wrapping_add(1);
    let mut text = String::new();
    while text.len() < TEXT_BYTES {
        word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        text.push_str(&format!("{word:016x}"));
    }
    text
}

async fn log(messages: u64, rooms: u64, first: u64) -> Result<Arc<MemoryLog>> {
    let log = MemoryLog::new(PARTITIONS, usize::MAX);
    log.append(batches(messages, rooms, first)?).await?;
    Ok(Arc::new(log))
}

/// Rooms from the `first` on take turns, a batch each.
fn batches(messages: u64, rooms: u64, first: u64) -> Result<Vec<Batch>> {
    let (mut batches, mut positions) = (Vec::new(), vec![0; usize::from(PARTITIONS)]);
    for turn in 0..messages / MESSAGES_PER_BATCH {
        let (number, first_seq) = (first + turn % rooms, turn / rooms * MESSAGES_PER_BATCH + 1);
        let partition = (number % u64::from(PARTITIONS)) as u16;
        let mut records = Vec::new();
        for seq in first_seq..first_seq + MESSAGES_PER_BATCH {
            let sender = UserId::new(1 + number * 1000 + seq % SENDERS_PER_ROOM).ok_or("a user")?;
            let client_id = ClientId::from_bytes(
                Uuid::from_u128(u128::from(seq) << 64 | u128::from(number)).into_bytes(),
            );
            let text = text(seq << 32 | number);
            let body = EventBody::Message { client_id, text: text.as_str().into() };
            let event = Event { room: room(number), seq, ordinal: seq, at_ms: now_ms(), sender, body };
            let mut bytes = Vec::new();
            encode_event(&event, &mut bytes);
            Record::Event { member_count: SENDERS_PER_ROOM, event: &bytes }.encode(&mut records);
        }
        let position = &mut positions[usize::from(partition)];
        *position += 1;
        batches.push(Batch { partition, position: *position, records });
    }
    Ok(batches)
}

fn now_ms() -> u64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since_1970.unwrap_or_default().as_millis() as u64
}

/// What the archiver will write, chunk by chunk.
fn chunks(log: &Arc<MemoryLog>) -> Result<Vec<Vec<Change>>> {
    let mut tail = log.tail(vec![0; usize::from(PARTITIONS)])?;
    let mut chunks = Vec::new();
    loop {
        let batches = tail.read(CHUNK_BYTES)?;
        if batches.is_empty() {
            return Ok(chunks);
        }
        let mut changes = Vec::new();
        for bytes in batches.iter().flat_map(|batch| record::split(&batch.records)) {
            add_changes(bytes?, &mut changes)?;
        }
        chunks.push(last_only(changes));
    }
}

/// The archiver on its own thread, as in a node, until everything is in the store.
async fn archive(log: Arc<MemoryLog>, store: Arc<CqlStore>) -> Result<Duration> {
    let work = move || -> Result<Duration> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let folder = tempfile::tempdir()?;
        let began = Instant::now();
        let never = Duration::from_secs(3600);
        runtime.block_on(Archiver::open(log, store, DeadLetters::new(folder.path()), never))?;
        Ok(began.elapsed())
    };
    tokio::task::spawn_blocking(work).await?
}

/// The statements of the store, and nothing else of it.
struct Bare {
    session: Session,
    message: PreparedStatement,
    sent: PreparedStatement,
    own_send: PreparedStatement,
    head: PreparedStatement,
    preview: PreparedStatement,
}

type MessageRow = (Uuid, i64, i64, Vec<u8>, i64);
type SentRow = (Uuid, i64, Uuid, i64, i64, i64, i64, i64);

enum Request {
    Messages(Vec<MessageRow>),
    Sent(Vec<SentRow>),
    OwnSends(Vec<(i64, i64, Uuid, i64)>),
    Head((i64, i64, i64, CqlTimestamp, i64, Uuid)),
    Preview((i64, i64, String, Uuid)),
}

async fn bare(address: &str, config: CqlConfig, chunks: Vec<Vec<Change>>) -> Result<Duration> {
    let k = config.keyspace;
    let session = SessionBuilder::new().known_node(address).build().await?;
    let bare = Bare {
        message: session.prepare(format!("INSERT INTO {k}.messages (room_id, bucket, seq, event) VALUES (?, ?, ?, ?) USING TIMESTAMP ?")).await?,
        sent: session.prepare(format!("INSERT INTO {k}.sent_ids (room_id, sender_id, client_id, seq, ordinal, sent_ms, text_hash) VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?")).await?,
        own_send: session.prepare(format!("UPDATE {k}.members_by_room USING TIMESTAMP ? SET own_ordinal = ? WHERE room_id = ? AND user_id = ?")).await?,
        head: session.prepare(format!("UPDATE {k}.rooms USING TIMESTAMP ? SET head_seq = ?, head_ordinal = ?, active_at = ?, member_count = ? WHERE room_id = ?")).await?,
        preview: session.prepare(format!("UPDATE {k}.rooms USING TIMESTAMP ? SET preview_sender = ?, preview = ? WHERE room_id = ?")).await?,
        session,
    };
    // Made before the clock runs: the loop only sends.
    let chunks: Vec<Vec<Request>> = chunks.into_iter().map(requests).collect();
    let began = Instant::now();
    for chunk in chunks {
        let writes = stream::iter(chunk).map(|request| bare.write(request)).buffer_unordered(IN_FLIGHT);
        writes.try_collect::<()>().await?;
    }
    Ok(began.elapsed())
}

impl Bare {
    async fn write(&self, request: Request) -> Result<()> {
        let batch = |statement: &PreparedStatement, rows: usize| {
            let mut batch = CqlBatch::new(BatchType::Unlogged);
            (0..rows).for_each(|_| batch.append_statement(statement.clone()));
            batch
        };
        let session = &self.session;
        match request {
            Request::Messages(rows) => session.batch(&batch(&self.message, rows.len()), rows).await?,
            Request::Sent(rows) => session.batch(&batch(&self.sent, rows.len()), rows).await?,
            Request::OwnSends(rows) => session.batch(&batch(&self.own_send, rows.len()), rows).await?,
            Request::Head(row) => session.execute_unpaged(&self.head, row).await?,
            Request::Preview(row) => session.execute_unpaged(&self.preview, row).await?,
        };
        Ok(())
    }
}

/// The rows of a chunk, those of a partition together.
fn requests(changes: Vec<Change>) -> Vec<Request> {
    let (mut messages, mut sent, mut own_sends) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut requests = Vec::new();
    for change in changes {
        match change {
            Change::Event { room, seq, bytes, .. } => {
                let (bucket, room) = ((seq / BUCKET_EVENTS) as i64, Uuid::from_bytes(*room.as_bytes()));
                let rows: &mut Vec<_> = messages.entry((room, bucket)).or_default();
                rows.push((room, bucket, seq as i64, bytes, seq as i64));
            }
            Change::Sent { room, sender, client_id, row } => {
                let (room, sender) = (Uuid::from_bytes(*room.as_bytes()), sender.get() as i64);
                let (id, at_ms) = (Uuid::from_bytes(*client_id.as_bytes()), row.at_ms as i64);
                let rows: &mut Vec<_> = sent.entry((room, sender)).or_default();
                let hash = row.text_hash as i64;
                rows.push((room, sender, id, row.seq as i64, row.ordinal as i64, at_ms, hash, at_ms * 1000));
            }
            Change::OwnSend { room, user, seq, ordinal } => {
                let room = Uuid::from_bytes(*room.as_bytes());
                let rows: &mut Vec<_> = own_sends.entry(room).or_default();
                rows.push((seq as i64, ordinal as i64, room, user.get() as i64));
            }
            Change::Head { room, seq, ordinal, active_ms, member_count } => {
                let (room, seq) = (Uuid::from_bytes(*room.as_bytes()), seq as i64);
                let row =
                    (seq, seq, ordinal as i64, CqlTimestamp(active_ms as i64), member_count as i64, room);
                requests.push(Request::Head(row));
            }
            Change::Preview { room, sender, text, seq } => {
                let room = Uuid::from_bytes(*room.as_bytes());
                requests.push(Request::Preview((seq as i64, sender.get() as i64, text, room)));
            }
            _ => {}
        }
    }
    requests.extend(messages.into_values().flat_map(pieces).map(Request::Messages));
    requests.extend(sent.into_values().flat_map(pieces).map(Request::Sent));
    requests.extend(own_sends.into_values().flat_map(pieces).map(Request::OwnSends));
    requests
}

fn pieces<T>(mut rows: Vec<T>) -> Vec<Vec<T>> {
    let mut pieces = Vec::new();
    while rows.len() > BATCH_ROWS {
        let rest = rows.split_off(BATCH_ROWS);
        pieces.push(std::mem::replace(&mut rows, rest));
    }
    pieces.push(rows);
    pieces
}

/// What keeping counters costs: the archiver with and without them, in turns, where every room has news all the time.
async fn count(address: &str, messages: u64, rooms: u64, rounds: u32) -> Result<()> {
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let mut took = Vec::new();
        for is_counting in [true, false] {
            let name = format!("counting{round}{}", if is_counting { "" } else { "_not" });
            let store = Arc::new(CqlStore::open(keyspace(address, name).await?).await?);
            store.apply(members(rooms), vec![]).await?;
            let batches = batches(COUNTED_TIMES * messages, rooms, 0)?;
            let work = move || follow(batches, store, is_counting);
            took.push(tokio::task::spawn_blocking(work).await??);
        }
        let [(with, updates), (without, _)] = took[..] else { continue };
        let per_s = |time: Duration| (COUNTED_TIMES * messages) as f64 / time.as_secs_f64();
        let ratio = without.as_secs_f64() / with.as_secs_f64();
        println!(
            "with counters {:8.0}/s ({updates} updates in {with:.1?})   without {:8.0}/s   ratio {ratio:.2}",
            per_s(with),
            per_s(without)
        );
        ratios.push(ratio);
    }
    ratios.sort_by(f64::total_cmp);
    println!("with counters / without: median {:.2}", ratios[ratios.len() / 2]);
    Ok(())
}

fn members(rooms: u64) -> Vec<Change> {
    let joined = |number: u64, at: u64| {
        let user = UserId::new(1 + number * 1000 + at)?;
        Some(Change::MemberJoined { room: room(number), user, role: Role::Member, seq: 1, ordinal: 1 })
    };
    (0..rooms).flat_map(|number| (0..SENDERS_PER_ROOM).filter_map(move |at| joined(number, at))).collect()
}

/// Until everything is in the store, with the settings of a node; and how many counters were updated meanwhile.
fn follow(batches: Vec<Batch>, store: Arc<CqlStore>, is_counting: bool) -> Result<(Duration, u64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let how = CountersConfig { members_max: SENDERS_PER_ROOM, ..CountersConfig::of(&Config::default()) };
    runtime.block_on(async {
        let log = Arc::new(MemoryLog::new(PARTITIONS, usize::MAX));
        let (dead_letters, never) = (DeadLetters::new(folder.path()), Duration::from_secs(3600));
        let archiver = Archiver::open(log.clone(), store.clone(), dead_letters, never).await?;
        let (mut applied, counted) = (archiver.applied(), watch::Sender::new(log.last()));
        let counters = UnreadCounters::new(log.clone(), store, how, archiver.applied(), counted);
        let (status, never) = (counters.status(), std::future::pending::<()>);
        log.append(batches).await?;
        let (began, last) = (Instant::now(), log.last());
        tokio::select! {
            ended = archiver.run(never()) => ended?,
            () = counters.run(never()), if is_counting => {}
            _ = applied.wait_for(|applied| *applied == last) => {}
        }
        Ok((began.elapsed(), status.borrow().updates))
    })
}

/// Pages of history from random places: first alone, then while the archiver brings a backlog to another keyspace.
async fn pages(store: &Arc<CqlStore>, address: &str, messages: u64, rooms: u64) -> Result<()> {
    read_pages(store, messages, rooms, PAGES).await?;
    let quiet = read_pages(store, messages, rooms, PAGES).await?;
    let other = Arc::new(CqlStore::open(keyspace(address, "backlog".to_owned()).await?).await?);
    let catching_up = tokio::spawn(archive(log(messages, rooms, 0).await?, other));
    let mut busy = Vec::new();
    while !catching_up.is_finished() {
        busy.extend(read_pages(store, messages, rooms, PAGES / 20).await?);
    }
    catching_up.await??;
    busy.sort();
    for (when, times) in [("quiet", quiet), ("while a backlog is archived", busy)] {
        let at = |of_100: usize| times[(times.len() - 1) * of_100 / 100];
        println!("{} pages of {PAGE_EVENTS}, {when}: p50 {:?}, p99 {:?}", times.len(), at(50), at(99));
    }
    Ok(())
}

/// What live traffic waits while a backlog of other rooms is brought to the same store, and while none is, in turns: pages of history that
/// are asked for every few milliseconds, and durable sends to a node with a log on this disk. The backlog yields to reads, as it does
/// while the log has room, or does not.
async fn live(store: &Arc<CqlStore>, messages: u64, rooms: u64) -> Result<()> {
    let sends = tokio::task::spawn_blocking(Sends::start).await??;
    let backlog = chunks(&log(messages, rooms, rooms).await?)?;
    let mut waits = [Waits::default(), Waits::default(), Waits::default()];
    for _ in 0..LIVE_ROUNDS {
        let [quiet, yielding, hurrying] = &mut waits;
        quiet.measure(store, &sends, messages, rooms).await?;
        for (waits, is_urgent) in [(yielding, false), (hurrying, true)] {
            store.hurry(is_urgent);
            let is_over = Arc::new(AtomicBool::new(false));
            let catching_up =
                tokio::spawn(catch_up(Arc::clone(store), backlog.clone(), Arc::clone(&is_over)));
            waits.measure(store, &sends, messages, rooms).await?;
            is_over.store(true, Ordering::Relaxed);
            waits.messages_per_s.push(catching_up.await??);
        }
        store.hurry(false);
    }
    tokio::task::spawn_blocking(|| sends.stop()).await?;
    let quiet = [&mut waits[0].pages, &mut waits[0].sends].map(|times| quantiles(times));
    println!("live traffic, quiet: a page {:?}, a send {:?} (p50, p90, p99)", quiet[0], quiet[1]);
    for (how, waits) in ["yields", "does not yield"].into_iter().zip(&mut waits[1..]) {
        let rate = waits.messages_per_s.iter().sum::<f64>() / waits.messages_per_s.len() as f64;
        let [page, send] = [&mut waits.pages, &mut waits.sends].map(|times| quantiles(times));
        let ratio =
            |busy: [Duration; 3], quiet: [Duration; 3]| busy[2].as_secs_f64() / quiet[2].as_secs_f64();
        println!(
            "with a backlog that {how}, {rate:.0} messages/s: a page {page:?}, p99 {:.1} times; a send {send:?}, p99 {:.1} times",
            ratio(page, quiet[0]),
            ratio(send, quiet[1])
        );
    }
    Ok(())
}

fn quantiles(times: &mut [Duration]) -> [Duration; 3] {
    times.sort();
    [50, 90, 99].map(|of_100| times[(times.len() - 1) * of_100 / 100])
}

/// As the archiver does it, until it is over; how many messages a second.
async fn catch_up(store: Arc<CqlStore>, backlog: Vec<Vec<Change>>, is_over: Arc<AtomicBool>) -> Result<f64> {
    let (began, mut written) = (Instant::now(), 0);
    for chunk in backlog.iter().cycle() {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        store.apply(chunk.clone(), Vec::new()).await?;
        written += chunk.iter().filter(|change| matches!(change, Change::Event { .. })).count();
    }
    Ok(written as f64 / began.elapsed().as_secs_f64())
}

#[derive(Default)]
struct Waits {
    pages: Vec<Duration>,
    sends: Vec<Duration>,
    messages_per_s: Vec<f64>,
}

impl Waits {
    /// What comes in the first moments does not count.
    async fn measure(&mut self, store: &CqlStore, sends: &Sends, messages: u64, rooms: u64) -> Result<()> {
        read_for(LIVE_BEFORE, store, messages, rooms).await?;
        sends.times.lock().map_err(|_| "a sender died")?.clear();
        self.pages.extend(read_for(LIVE_TIME, store, messages, rooms).await?);
        self.sends.append(&mut *sends.times.lock().map_err(|_| "a sender died")?);
        Ok(())
    }
}

async fn read_for(time: Duration, store: &CqlStore, messages: u64, rooms: u64) -> Result<Vec<Duration>> {
    let (until, last) = (Instant::now() + time, messages / rooms - PAGE_EVENTS as u64);
    let mut times = Vec::new();
    while Instant::now() < until {
        let random = now_ms().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let began = Instant::now();
        store.events(room(random % rooms), 1 + random / rooms % last, PAGE_EVENTS, usize::MAX).await?;
        times.push(began.elapsed());
        tokio::time::sleep(LIVE_EVERY).await;
    }
    Ok(times)
}

/// Somebody who sends every few milliseconds to a node of its own, and what each ack took.
struct Sends {
    times: Arc<Mutex<Vec<Duration>>>,
    node: Running,
    _folder: tempfile::TempDir,
}

impl Sends {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = Config {
            data: folder.path().join("data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            shards: 1,
            ..Config::default()
        };
        let node = Running::start(config.clone())?;
        let now_s = now_ms() / 1000;
        let token = Keys::open(&config)?.mint(UserId::new(1).ok_or("a user")?, 24 * 3600, now_s)?;
        let times = Arc::new(Mutex::new(Vec::new()));
        let (address, to) = (node.address, Arc::clone(&times));
        std::thread::spawn(move || send(address, token, &to));
        Ok(Self { times, node, _folder: folder })
    }

    fn stop(self) {
        self.node.stop();
    }
}

/// Until the node says goodbye.
fn send(address: SocketAddr, token: String, times: &Mutex<Vec<Duration>>) -> Option<()> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_nodelay(true).ok()?;
    let mut heard = Vec::new();
    let mut ask = |frame: &Frame<'_>, is_answer: fn(&Frame<'_>) -> bool| -> Option<()> {
        let mut bytes = Vec::new();
        encode(frame, &mut bytes);
        stream.write_all(&bytes).ok()?;
        loop {
            while let Ok(Decoded::Frame { frame, used }) = decode(&heard, usize::MAX) {
                let is_it = is_answer(&frame);
                if let Frame::Ping { stamp, .. } = frame {
                    let mut pong = Vec::new();
                    encode(&Frame::Pong { stamp }, &mut pong);
                    stream.write_all(&pong).ok()?;
                }
                heard.drain(..used);
                if is_it {
                    return Some(());
                }
            }
            let mut more = [0; 4096];
            let read = stream.read(&mut more).ok().filter(|&read| read > 0)?;
            heard.extend_from_slice(&more[..read]);
        }
    };
    let hello = Frame::Hello { token: token.into(), device: "bench".into(), agent: None };
    ask(&hello, |frame| matches!(frame, Frame::Welcome { .. }))?;
    let mut request = 1;
    let create =
        Frame::CreateRoom { request, room: room(0), name: "bench".into(), members: vec![UserId::new(2)?] };
    ask(&create, |frame| matches!(frame, Frame::Ack { .. }))?;
    loop {
        request += 1;
        let client_id = ClientId::from_bytes(Uuid::new_v4().into_bytes());
        let text = text(request);
        let send = Frame::Send { request, room: room(0), client_id, text: text.as_str().into() };
        let began = Instant::now();
        ask(&send, |frame| matches!(frame, Frame::Ack { .. }))?;
        times.lock().ok()?.push(began.elapsed());
        std::thread::sleep(LIVE_EVERY);
    }
}

async fn read_pages(store: &Arc<CqlStore>, messages: u64, rooms: u64, pages: usize) -> Result<Vec<Duration>> {
    let last = messages / rooms - PAGE_EVENTS as u64;
    let read = |number: usize| async move {
        let random = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let began = Instant::now();
        let events =
            store.events(room(random % rooms), 1 + random / rooms % last, PAGE_EVENTS, usize::MAX).await?;
        assert_eq!(events.len(), PAGE_EVENTS);
        Ok::<_, carillon_storage::StoreError>(began.elapsed())
    };
    let mut times: Vec<_> = stream::iter(0..pages).map(read).buffer_unordered(READERS).try_collect().await?;
    times.sort();
    Ok(times)
}

/// Bytes of the files in the folders below that begin with a name.
fn folder_bytes(folder: &Path, name: &str) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(name) {
            for file in std::fs::read_dir(entry.path())? {
                let file = file?.metadata()?;
                bytes += if file.is_file() { file.len() } else { 0 };
            }
        }
    }
    Ok(bytes)
}
