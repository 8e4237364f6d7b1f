//! A process applies and persists in a loop and is killed at random moments. Whoever opens the folder next finds
//! everything that was persisted, and of what was applied after it each call wholly or not at all.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use carillon_protocol::RoomId;
use carillon_storage::{Change, EmbeddedStore, Store};

const ROUNDS: u64 = 20;
const FOLDER: &str = "CARILLON_TEST_STORE";
const EVENTS_PER_BATCH: u64 = 40;
/// Large enough that buffers are written out and journals change while the test runs.
const EVENT_BYTES: usize = 4096;

fn room() -> RoomId {
    RoomId::from_bytes([1; 16])
}

fn event_bytes(seq: u64) -> Vec<u8> {
    seq.to_be_bytes().repeat(EVENT_BYTES / 8)
}

fn batch(n: u64) -> Vec<Change> {
    let last = n * EVENTS_PER_BATCH;
    let head = Change::Head { room: room(), seq: last, ordinal: last, active_ms: n, member_count: 1 };
    let seqs = last - EVENTS_PER_BATCH + 1..=last;
    let events =
        seqs.map(|seq| Change::Event { room: room(), seq, bytes: event_bytes(seq), changed_seq: seq });
    events.chain([head]).collect()
}

#[tokio::test]
#[ignore = "the process that the other test kills"]
async fn writes_until_killed() {
    let Some(dir) = std::env::var_os(FOLDER) else { panic!("{FOLDER} says where to write") };
    let store = EmbeddedStore::open(Path::new(&dir)).unwrap();
    let archived = store.archived(1).await.unwrap()[0];
    for n in archived + 1.. {
        store.apply(batch(n), vec![(0, n)]).await.unwrap();
        if n % 3 == 0 {
            store.persist().await.unwrap();
            println!("persisted {n}");
            std::io::stdout().flush().unwrap();
        }
    }
}

#[tokio::test]
async fn a_killed_store_keeps_what_it_persisted() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=ROUNDS {
        let persisted = write_and_kill(dir.path(), round);
        let store = EmbeddedStore::open(dir.path()).unwrap();
        let archived = store.archived(1).await.unwrap()[0];
        assert!(archived >= persisted, "round {round}: {archived} found, {persisted} persisted");
        assert_holds(&store, archived).await;
    }
}

/// Lets the process report a few times, waits an odd moment and kills it. Answers what it reported last.
fn write_and_kill(dir: &Path, round: u64) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["writes_until_killed", "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let reports = lines.filter_map(|line| line.strip_prefix("persisted ")?.parse::<u64>().ok());
    let mut reports = reports.take(1 + (round * 7 % 11) as usize);
    let persisted = reports.by_ref().last();
    std::thread::sleep(Duration::from_micros(round * 7919 % 13_000));
    child.kill().unwrap();
    child.wait().unwrap();
    persisted.expect("the process reports before it is killed")
}

async fn assert_holds(store: &EmbeddedStore, archived: u64) {
    let last = archived * EVENTS_PER_BATCH;
    let head = store.room(room()).await.unwrap().unwrap();
    assert_eq!((head.head_seq, head.active_ms), (last, archived));
    let mut next = 1;
    while next <= last {
        for event in store.events(room(), next, 1000, 4 << 20).await.unwrap() {
            assert_eq!(event.seq, next);
            assert!(event.bytes == event_bytes(next), "event {next} has other bytes");
            next += 1;
        }
    }
    assert_eq!(store.events(room(), next, 1, 1).await.unwrap(), []);
}
