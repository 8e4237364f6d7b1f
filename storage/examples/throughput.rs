//! How fast the embedded store takes what the archiver brings, and what memory it holds.
//!
//! `cargo run --release -p carillon-storage --example throughput` prints members and messages per second, and the
//! resident memory of a second process that opens the store with its 320,000 members in 16,000 rooms.

#![allow(clippy::print_stdout, reason = "it is what this is for")]

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use carillon_protocol::frame::Role;
use carillon_protocol::{ClientId, RoomId, UserId};
use carillon_storage::{Change, EmbeddedStore, SentRow, Store, StoreResult};

const BATCHES: u64 = 300;
const MESSAGES: u64 = 1000;
const MESSAGE_BYTES: usize = 128;
const ROOMS: u64 = 16_000;
const MEMBERS_PER_ROOM: u64 = 20;
/// How many batches lie between two syncs.
const BATCHES_PER_PERSIST: u64 = 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if let Some(dir) = std::env::args_os().nth(1) {
        return Ok(reopen(Path::new(&dir)).await?);
    }
    let dir = std::env::temp_dir().join(format!("carillon-throughput-{}", std::process::id()));
    let written = measure(&dir).await;
    let reopened = Command::new(std::env::current_exe()?).arg(&dir).status();
    std::fs::remove_dir_all(&dir)?;
    written?;
    if reopened?.success() { Ok(()) } else { Err("the second process failed".into()) }
}

async fn measure(dir: &Path) -> StoreResult<()> {
    println!("resident at start: {}", resident());
    let store = EmbeddedStore::open(dir)?;
    println!("resident with an empty store: {}", resident());
    add_members(&store).await?;
    add_messages(&store, 100).await?;
    add_messages(&store, ROOMS).await?;
    println!("resident after writing: {}, on disk: {} MiB", resident(), store.disk_bytes().await? >> 20);
    Ok(())
}

async fn reopen(dir: &Path) -> StoreResult<()> {
    let started = Instant::now();
    let store = EmbeddedStore::open(dir)?;
    println!("reopened in {:?}; resident: {}", started.elapsed(), resident());
    read_heads(&store).await?;
    println!("resident after reading: {}", resident());
    Ok(())
}

async fn add_members(store: &EmbeddedStore) -> StoreResult<()> {
    let started = Instant::now();
    for first in (0..ROOMS).step_by(100) {
        let rooms = first..first + 100;
        store.apply(rooms.flat_map(room_with_members).collect(), vec![(0, first)]).await?;
    }
    store.persist().await?;
    let members = ROOMS * MEMBERS_PER_ROOM;
    println!("{members} members: {:.0}/s", members as f64 / started.elapsed().as_secs_f64());
    Ok(())
}

fn room_with_members(number: u64) -> impl Iterator<Item = Change> {
    let named = Change::Room { room: room(number), name: format!("room {number}"), seq: 0 };
    let joined = (0..MEMBERS_PER_ROOM).map(move |at| Change::MemberJoined {
        room: room(number),
        user: user(number + at * 797),
        role: Role::Member,
        seq: at,
        ordinal: 0,
    });
    std::iter::once(named).chain(joined)
}

async fn add_messages(store: &EmbeddedStore, rooms: u64) -> StoreResult<()> {
    let started = Instant::now();
    for batch in 0..BATCHES {
        let numbers = batch * MESSAGES..(batch + 1) * MESSAGES;
        let changes =
            numbers.flat_map(|number| message(number % rooms, number / rooms + MEMBERS_PER_ROOM, number));
        store.apply(changes.collect(), vec![(0, batch)]).await?;
        if batch % BATCHES_PER_PERSIST == 0 {
            store.persist().await?;
        }
    }
    let per_second = (BATCHES * MESSAGES) as f64 / started.elapsed().as_secs_f64();
    println!("messages of {MESSAGE_BYTES} bytes in {rooms} rooms, {MESSAGES} a batch: {per_second:.0}/s");
    Ok(())
}

/// All that a send leaves: the event, the head, the preview, the sender's marker and the client id.
fn message(number: u64, seq: u64, unique: u64) -> [Change; 5] {
    let (room, sender) = (room(number), user(number));
    let row = SentRow { seq, ordinal: seq, at_ms: unique, text_hash: unique };
    let mut id = [0; 16];
    id[..8].copy_from_slice(&unique.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    [
        Change::Event { room, seq, bytes: vec![b'm'; MESSAGE_BYTES], changed_seq: seq },
        Change::Head { room, seq, ordinal: seq, active_ms: unique, member_count: MEMBERS_PER_ROOM },
        Change::Preview { room, sender, text: "how a message begins".into(), seq },
        Change::OwnSend { room, user: sender, seq, ordinal: seq },
        Change::Sent { room, sender, client_id: ClientId::from_bytes(id), row },
    ]
}

async fn read_heads(store: &EmbeddedStore) -> StoreResult<()> {
    let started = Instant::now();
    for number in 0..1000 {
        let rooms = store.user_rooms(user(number), None, 100).await?;
        store.room_heads(user(number), rooms).await?;
    }
    println!("a user's room list with heads: {:?}", started.elapsed() / 1000);
    Ok(())
}

fn room(number: u64) -> RoomId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    RoomId::from_bytes(bytes)
}

fn user(number: u64) -> UserId {
    UserId::new(number % ROOMS + 1).unwrap_or(UserId::MAX)
}

fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or_else(|| "unknown".into(), |rest| rest.trim().to_string())
}
