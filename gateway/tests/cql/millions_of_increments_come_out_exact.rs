//! Rooms are talked in and read while the database is stopped, killed and slowed at random: the counters of unread messages, which
//! would have gone up over a million times one message at a time, come out exact by themselves.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use carillon_devservers::{Cql, CqlConfig as ServerConfig};
use carillon_gateway::follow::archive::Archiver;
use carillon_gateway::follow::counters::{CountersConfig, UnreadCounters};
use carillon_gateway::follow::dead_letters::DeadLetters;
use carillon_gateway::log::{Batch, Log, MemoryLog, Positions, Record};
use carillon_protocol::binary::encode_event;
use carillon_protocol::{ClientId, Event, EventBody, RoomId, UserId};
use carillon_storage::{CqlConfig, CqlStore, apply_schema};
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use crate::harness::new_keyspace;
use crate::random::Random;

const PARTITIONS: u16 = 4;
/// More than are counted in one piece.
const ROOMS: u64 = 20;
const MEMBERS: u64 = 40;
const MESSAGES_PER_BATCH: u64 = 20;
const BATCH_EVERY: Duration = Duration::from_millis(10);
/// The database has so long to be right after the last trouble: two times the minute after which doubtful rooms are counted again.
const RIGHT_WITHIN: Duration = Duration::from_secs(150);

fn room(number: u64) -> RoomId {
    let mut bytes = [7; 16];
    bytes[0] = number as u8;
    RoomId::from_bytes(bytes)
}

fn member(number: u64) -> UserId {
    UserId::new(1 + number).unwrap()
}

/// What the rooms' home knows: it writes the log.
struct Rooms {
    log: Arc<MemoryLog>,
    positions: Positions,
    /// The last seq of each, from which its ordinal is one off: its first event is no message.
    heads: Vec<u64>,
    /// Ordinals up to which members have read, by room and member.
    read: HashMap<(u64, u64), u64>,
    increments: u64,
}

impl Rooms {
    async fn create(log: Arc<MemoryLog>) -> Self {
        let positions = vec![0; usize::from(PARTITIONS)];
        let heads = vec![1; ROOMS as usize];
        let mut rooms = Self { log, positions, heads, read: HashMap::new(), increments: 0 };
        for number in 0..ROOMS {
            let members = (1..MEMBERS).map(member).collect();
            let body = EventBody::RoomCreated { name: "room".into(), members };
            let mut records = Vec::new();
            add_event((number, 1, 0), body, &mut records);
            rooms.append(number, records).await;
        }
        rooms
    }

    /// Some messages in some room, and somebody reads.
    async fn go_on(&mut self, dice: &mut Random) {
        let number = dice.below(ROOMS);
        let mut records = Vec::new();
        for _ in 0..MESSAGES_PER_BATCH {
            let seq = self.heads[number as usize] + 1;
            self.heads[number as usize] = seq;
            let sender = dice.below(MEMBERS);
            let client_id = ClientId::from_bytes((u128::from(seq) << 64 | u128::from(number)).to_be_bytes());
            add_event(
                (number, seq, sender),
                EventBody::Message { client_id, text: "news".into() },
                &mut records,
            );
            self.read.insert((number, sender), seq - 1);
            self.increments += MEMBERS - 1;
        }
        let (reader, seq) =
            (dice.below(MEMBERS), self.heads[number as usize] - dice.below(MESSAGES_PER_BATCH));
        let read =
            Record::Read { room: room(number), user: member(reader), seq, ordinal: seq - 1, at_ms: seq };
        read.encode(&mut records);
        let before = self.read.entry((number, reader)).or_default();
        *before = (seq - 1).max(*before);
        self.append(number, records).await;
    }

    async fn append(&mut self, number: u64, records: Vec<u8>) {
        let partition = (number % u64::from(PARTITIONS)) as u16;
        let position = &mut self.positions[usize::from(partition)];
        *position += 1;
        self.log.append(vec![Batch { partition, position: *position, records }]).await.unwrap();
    }

    /// What each member has not read, by member and room; nobody counts 0.
    fn unread(&self) -> BTreeMap<(u64, RoomId), i64> {
        let of_room = |number: u64| {
            let last = self.heads[number as usize] - 1;
            (0..MEMBERS).map(move |by| {
                let read = self.read.get(&(number, by)).copied().unwrap_or_default();
                ((member(by).get(), room(number)), (last - read) as i64)
            })
        };
        (0..ROOMS).flat_map(of_room).filter(|(_, unread)| *unread > 0).collect()
    }
}

fn add_event((number, seq, sender): (u64, u64, u64), body: EventBody<'_>, records: &mut Vec<u8>) {
    let event = Event { room: room(number), seq, ordinal: seq - 1, at_ms: seq, sender: member(sender), body };
    let mut bytes = Vec::new();
    encode_event(&event, &mut bytes);
    Record::Event { member_count: MEMBERS, event: &bytes }.encode(records);
}

/// Stops, kills or slows the server, by turns and for times of chance.
fn trouble(server: &mut Cql, faults: u64, dice: &mut Random) {
    for fault in 0..faults {
        std::thread::sleep(Duration::from_millis(500 + dice.below(4000)));
        match fault % 3 {
            0 => {
                server.pause().unwrap();
                std::thread::sleep(Duration::from_millis(1500 + dice.below(3000)));
                server.resume().unwrap();
            }
            1 => {
                server.kill().unwrap();
                server.restart().unwrap();
            }
            _ => {
                for _ in 0..30 {
                    server.pause().unwrap();
                    std::thread::sleep(Duration::from_millis(60 + dice.below(60)));
                    server.resume().unwrap();
                    std::thread::sleep(Duration::from_millis(5 + dice.below(15)));
                }
            }
        }
    }
}

async fn counters(store: &CqlStore) -> Option<BTreeMap<(u64, RoomId), i64>> {
    let mut counters = BTreeMap::new();
    for by in 0..MEMBERS {
        let of_user = store.unread_counters(member(by)).await.ok()?;
        counters.extend(of_user.into_iter().map(|(room, unread)| ((member(by).get(), room), unread)));
    }
    Some(counters)
}

async fn store_at(address: &str, timeout: Duration) -> Arc<CqlStore> {
    let (contact_points, keyspace) = (vec![address.to_owned()], new_keyspace());
    let config =
        CqlConfig { contact_points, keyspace, timeout: Duration::from_secs(20), ..CqlConfig::default() };
    apply_schema(&config, 1).await.unwrap();
    Arc::new(CqlStore::open(CqlConfig { timeout, ..config }).await.unwrap())
}

fn within(time_percent: u32) -> CountersConfig {
    CountersConfig { members_max: MEMBERS, interval: Duration::from_millis(100), time_percent }
}

async fn until_exact(store: &CqlStore, exact: &BTreeMap<(u64, RoomId), i64>) {
    let since = Instant::now();
    loop {
        match counters(store).await {
            Some(counters) if counters == *exact => break,
            found => assert!(since.elapsed() < RIGHT_WITHIN, "counters {found:?}, and not {exact:?}"),
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// At least so many increments, and so many faults meanwhile.
#[allow(clippy::print_stdout, reason = "what it went through is worth knowing")]
async fn count_through_trouble(increments: u64, faults: u64, seed: u64) {
    let as_it_is_killed = ServerConfig { syncs_before_it_acknowledges: true, ..ServerConfig::default() };
    let mut server = Cql::start_as(&as_it_is_killed).unwrap();
    let store = store_at(&server.address(), Duration::from_millis(700)).await;

    let log = Arc::new(MemoryLog::new(PARTITIONS, usize::MAX));
    let folder = tempfile::tempdir().unwrap();
    let (dead_letters, never) = (DeadLetters::new(folder.path()), Duration::from_secs(3600));
    let archiver = Archiver::open(log.clone(), store.clone(), dead_letters, never).await.unwrap();
    let counted = watch::Sender::new(vec![0; usize::from(PARTITIONS)]);
    let counters_follow =
        UnreadCounters::new(log.clone(), store.clone(), within(100), archiver.applied(), counted);
    let status = counters_follow.status();
    let (stop, stopped) = oneshot::channel::<()>();
    let (stop_archiver, archiver_stopped) = oneshot::channel::<()>();
    let counting = tokio::spawn(counters_follow.run(async move { drop(stopped.await) }));
    let archiving = tokio::spawn(archiver.run(async move { drop(archiver_stopped.await) }));

    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    let (mut fault_dice, mut dice) = (Random::new(seed), Random::new(!seed));
    let troubled = tokio::task::spawn_blocking(move || {
        trouble(&mut server, faults, &mut fault_dice);
        over.store(true, Ordering::Relaxed);
        server
    });
    let mut rooms = Rooms::create(log).await;
    while rooms.increments < increments || !is_over.load(Ordering::Relaxed) {
        rooms.go_on(&mut dice).await;
        sleep(BATCH_EVERY).await;
    }
    let _server = troubled.await.unwrap();
    let noticed = store.status().kinds.iter().map(|kind| kind.failures).sum::<u64>();
    assert!(noticed > 0, "no trouble was noticed");

    let since = Instant::now();
    until_exact(&store, &rooms.unread()).await;
    let (updates, took) = (status.borrow().updates, since.elapsed().as_secs_f64());
    let increments = rooms.increments;
    let failed = store.status().kinds.iter().find(|kind| kind.name == "write_counters").unwrap().failures;
    println!(
        "{increments} increments in {updates} updates, {failed} of them failed by {faults} faults; right {took:.1} s after them"
    );
    drop((stop, stop_archiver));
    counting.await.unwrap();
    archiving.await.unwrap().unwrap();
    let report = store.verify_counters(MEMBERS, false).await.unwrap();
    assert_eq!((report.compared, report.wrong), (ROOMS * MEMBERS, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_is_stopped_killed_and_slowed() {
    count_through_trouble(1_000_000, 3, 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: cargo test -p carillon-gateway --test cql ten_million -- --ignored --nocapture"]
async fn ten_million_with_thirty_faults() {
    count_through_trouble(10_000_000, 30, 66).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_it_was_stopped_in_a_rest_and_goes_on_later() {
    let store = store_at(&Cql::shared().unwrap(), Duration::from_secs(20)).await;
    let log = Arc::new(MemoryLog::new(PARTITIONS, usize::MAX));
    let mut rooms = Rooms::create(log.clone()).await;
    for _ in 0..100 {
        rooms.go_on(&mut Random::new(rooms.increments)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let (dead_letters, never) = (DeadLetters::new(folder.path()), Duration::from_secs(3600));
    // The log keeps what is not counted.
    let counted = watch::Sender::new(vec![0; usize::from(PARTITIONS)]);
    let held = Some(counted.subscribe());
    let archiver = Archiver::open_held(log.clone(), store.clone(), dead_letters, never, held).await.unwrap();
    let follow = |time_percent| {
        let counted = counted.clone();
        UnreadCounters::new(log.clone(), store.clone(), within(time_percent), archiver.applied(), counted)
    };

    // A piece of all that waits, and a long rest.
    let slow = follow(1);
    let mut status = slow.status();
    let (stop, stopped) = oneshot::channel::<()>();
    let counting = tokio::spawn(slow.run(async move { drop(stopped.await) }));
    status.wait_for(|status| status.updates > 0).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    let waiting = status.borrow().rooms_waiting;
    assert!((1..=ROOMS).contains(&waiting) && status.borrow().waiting_since.is_some(), "{waiting} wait");
    drop(stop);
    tokio::time::timeout(Duration::from_secs(30), counting).await.expect("it stops").unwrap();

    let (stop, stopped) = oneshot::channel::<()>();
    let counting = tokio::spawn(follow(100).run(async move { drop(stopped.await) }));
    until_exact(&store, &rooms.unread()).await;
    drop(stop);
    counting.await.unwrap();
}
