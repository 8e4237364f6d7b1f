//! A CQL server is frozen, killed and started again at random while chunks are archived, tried again until they are taken, and an
//! old home writes chunks of long ago in between. Afterwards the tables are those of a store in memory that had no trouble, and the
//! counters are exact.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use carillon_devservers::{Cql as Server, CqlConfig as ServerConfig};
use carillon_storage::{
    Change, CqlConfig, CqlStore, MemberRow, MemoryStore, Positions, RoomRow, Store, StoreError, StoredEvent,
    apply_schema,
};
use harness::*;

const ROOMS: u8 = 4;
const USERS: u64 = 5;
const EVENTS_PER_CHUNK: u64 = 200;

type Chunk = (Vec<Change>, Vec<(u16, u64)>);

/// Chunk `n` of two partitions: messages in every room, and somebody who comes and goes.
fn chunk(n: u64) -> Chunk {
    let mut changes = Vec::new();
    for number in 0..ROOMS {
        let first = n * (EVENTS_PER_CHUNK + 1) + 1;
        let (here, guest) = (room(number), user(1 + n % USERS));
        changes.push(named_at(here, &format!("room {number} after {n}"), first));
        changes.push(if (n / USERS).is_multiple_of(2) {
            joined(here, guest, first)
        } else {
            gone(here, guest, first)
        });
        changes.push(event(here, first));
        for seq in first + 1..=first + EVENTS_PER_CHUNK {
            let sender = user(10 + seq % 3);
            changes.extend([
                event(here, seq),
                own_send(here, sender, seq),
                sent(here, sender, seq as u8, seq),
            ]);
        }
        let last = first + EVENTS_PER_CHUNK;
        changes.extend([joined(here, user(10), 1), head(here, last), read(here, user(10), last)]);
        // What was said at the beginning is edited.
        changes.push(Change::Event { room: here, seq: 1, bytes: bytes(n), changed_seq: last });
    }
    (changes, vec![(0, n + 1), (1, 2 * n + 1)])
}

#[derive(PartialEq, Debug)]
struct Seen {
    archived: Positions,
    rooms: Vec<Option<RoomRow>>,
    members: Vec<Vec<MemberRow>>,
    user_rooms: Vec<usize>,
    events: Vec<Vec<StoredEvent>>,
}

async fn look(store: &impl Store) -> Seen {
    let mut seen = Seen {
        archived: store.archived(2).await.unwrap(),
        rooms: vec![],
        members: vec![],
        user_rooms: vec![],
        events: vec![],
    };
    for number in 0..ROOMS {
        seen.rooms.push(store.room(room(number)).await.unwrap());
        seen.members.push(store.members(room(number), 0, 100).await.unwrap());
        let mut events: Vec<StoredEvent> = Vec::new();
        loop {
            let next = events.last().map_or(0, |event| event.seq + 1);
            let page = store.events(room(number), next, 1000, usize::MAX).await.unwrap();
            if page.is_empty() {
                break;
            }
            events.extend(page);
        }
        seen.events.push(events);
    }
    for id in (1..=USERS).chain(10..13) {
        seen.user_rooms.push(store.user_rooms(user(id), None, 100).await.unwrap().len());
    }
    seen
}

/// Until it is taken, as the archiver does; how often it was not.
async fn apply_in_the_end(store: &CqlStore, (changes, archived): Chunk) -> usize {
    let mut failures = 0;
    loop {
        match store.apply(changes.clone(), archived.clone()).await {
            Ok(()) => return failures,
            Err(StoreError::Unavailable(_)) => failures += 1,
            Err(error) => panic!("not to be tried again: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_killed_and_written_by_an_old_home() {
    let as_it_is_killed = ServerConfig { syncs_before_it_acknowledges: true, ..ServerConfig::default() };
    let mut server = Server::start_as(&as_it_is_killed).unwrap();
    let config = CqlConfig { timeout: Duration::from_secs(20), ..keyspace_at(&server.address()) };
    apply_schema(&config, 1).await.unwrap();
    let config = CqlConfig { timeout: Duration::from_millis(700), ..config };
    let (store, old_home) =
        (CqlStore::open(config.clone()).await.unwrap(), CqlStore::open(config).await.unwrap());
    let memory = MemoryStore::new();
    let (applied, failures) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let archive = async {
        for n in 0..45 {
            failures.fetch_add(apply_in_the_end(&store, chunk(n)).await, Ordering::Relaxed);
            let (changes, archived) = chunk(n);
            memory.apply(changes, archived).await.unwrap();
            applied.store(n as usize + 1, Ordering::Relaxed);
            // May fail half-way, and be cut off: what is wrong then is mended in the end.
            let rooms = (0..ROOMS).map(room).collect();
            let _ =
                tokio::time::timeout(Duration::from_secs(1), store.count_unread(rooms, vec![], USERS + 3))
                    .await;
            // Its writes may fail: nobody waits for an old home.
            let _ = old_home.apply(chunk(n * 7 % (n + 1)).0, vec![(0, n / 2), (1, n / 3)]).await;
        }
    };
    let trouble = async {
        let reached = async |count| {
            while applied.load(Ordering::Relaxed) < count {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        for (freeze_at, kill_at) in [(5, 15), (25, 35)] {
            reached(freeze_at).await;
            server.pause().unwrap();
            tokio::time::sleep(Duration::from_millis(1500)).await;
            server.resume().unwrap();
            reached(kill_at).await;
            server.kill().unwrap();
            tokio::task::block_in_place(|| server.restart().unwrap());
        }
    };
    futures_util::join!(archive, trouble);
    assert!(failures.load(Ordering::Relaxed) > 0, "the outages were not noticed");
    assert_eq!(look(&store).await, look(&memory).await);
    let failures: u64 = store.status().kinds.iter().map(|kind| kind.failures).sum();
    assert!(failures > 0, "{:?}", store.status());

    // Counters whose updates were cut off come out exact.
    let mended = store.verify_counters(USERS + 3, true).await.unwrap();
    assert!(mended.compared > 0 && mended.mended == mended.wrong, "{mended:?}");
    let right = store.verify_counters(USERS + 3, false).await.unwrap();
    assert_eq!((right.compared > 0, right.wrong), (true, 0));
    for id in (1..=USERS).chain(10..13) {
        let mut exact = Vec::new();
        for number in 0..ROOMS {
            let heads = memory.room_heads(user(id), vec![room(number)]).await.unwrap();
            let unread = heads[0].as_ref().map_or(0, |(row, member)| member.unread(row.head_ordinal) as i64);
            exact.extend((unread != 0).then_some((room(number), unread)));
        }
        assert_eq!(store.unread_counters(user(id)).await.unwrap(), exact, "of user {id}");
    }
}
