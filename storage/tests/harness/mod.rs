//! Stores to test, how each of them crashes, and short words for what is written.

#![allow(dead_code, reason = "each test file uses its own share")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use carillon_protocol::frame::Role;
use carillon_protocol::{ClientId, RoomId, UserId};
use carillon_storage::{
    Change, CqlConfig, CqlStore, EmbeddedStore, MemoryStore, SentRow, Store, apply_schema,
};
use tempfile::TempDir;

/// A store under test.
pub(crate) trait Harness: Sized {
    type Store: Store;

    /// Whether writing any part of a history again, in any order, changes nothing.
    const ANY_ORDER: bool = false;

    /// An empty one.
    fn open() -> Self;

    fn store(&self) -> &Self::Store;

    /// What is found after a crash now.
    fn crash_and_reopen(self) -> Self;
}

pub(crate) struct Memory(MemoryStore);

impl Harness for Memory {
    type Store = MemoryStore;

    fn open() -> Self {
        Self(MemoryStore::new())
    }

    fn store(&self) -> &MemoryStore {
        &self.0
    }

    fn crash_and_reopen(self) -> Self {
        Self(self.0.crash())
    }
}

pub(crate) struct Embedded {
    store: EmbeddedStore,
    dir: TempDir,
}

impl Harness for Embedded {
    type Store = EmbeddedStore;

    fn open() -> Self {
        Self::open_in(tempfile::tempdir().unwrap())
    }

    fn store(&self) -> &EmbeddedStore {
        &self.store
    }

    /// The files as they are while the store is still open are what a killed process leaves.
    fn crash_and_reopen(self) -> Self {
        let left = tempfile::tempdir().unwrap();
        copy_folder(self.dir.path(), left.path());
        Self::open_in(left)
    }
}

impl Embedded {
    fn open_in(dir: TempDir) -> Self {
        Self { store: EmbeddedStore::open(dir.path()).unwrap(), dir }
    }
}

static KEYSPACES: AtomicU32 = AtomicU32::new(0);

/// A new keyspace in that server.
pub(crate) fn keyspace_at(server: &str) -> CqlConfig {
    let number = KEYSPACES.fetch_add(1, Ordering::Relaxed);
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    CqlConfig {
        contact_points: vec![server.to_owned()],
        keyspace: format!("t{}_{}_{number}", since_1970.as_millis(), std::process::id()),
        timeout: Duration::from_secs(20),
        ..CqlConfig::default()
    }
}

/// A store in a keyspace of its own.
pub(crate) struct Cql {
    store: CqlStore,
    config: CqlConfig,
}

impl Harness for Cql {
    type Store = CqlStore;

    const ANY_ORDER: bool = true;

    fn open() -> Self {
        let config = keyspace_at(&carillon_devservers::Cql::shared().unwrap());
        wait_for(apply_schema(&config, 1)).unwrap();
        Self { store: wait_for(CqlStore::open(config.clone())).unwrap(), config }
    }

    fn store(&self) -> &CqlStore {
        &self.store
    }

    /// It is this process that crashes; the server goes on.
    fn crash_and_reopen(self) -> Self {
        Self { store: wait_for(CqlStore::open(self.config.clone())).unwrap(), config: self.config }
    }
}

/// Waits also where a runtime runs the caller already.
pub(crate) fn wait_for<T: Send>(future: impl Future<Output = T> + Send) -> T {
    let wait =
        || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future);
    std::thread::scope(|scope| scope.spawn(wait).join().unwrap())
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

pub(crate) fn room(number: u8) -> RoomId {
    RoomId::from_bytes([number; 16])
}

pub(crate) fn user(number: u64) -> UserId {
    UserId::new(number).unwrap()
}

pub(crate) fn client_id(number: u8) -> ClientId {
    ClientId::from_bytes([number; 16])
}

/// What event `seq` of any room holds.
pub(crate) fn bytes(seq: u64) -> Vec<u8> {
    format!("event {seq}").into_bytes()
}

pub(crate) fn event(room: RoomId, seq: u64) -> Change {
    Change::Event { room, seq, bytes: bytes(seq), changed_seq: seq }
}

pub(crate) fn named(room: RoomId, name: &str) -> Change {
    named_at(room, name, 0)
}

pub(crate) fn named_at(room: RoomId, name: &str, seq: u64) -> Change {
    Change::Room { room, name: name.into(), seq }
}

/// A head where every event is a message.
pub(crate) fn head(room: RoomId, seq: u64) -> Change {
    Change::Head { room, seq, ordinal: seq, active_ms: 1000 + seq, member_count: 2 }
}

pub(crate) fn joined(room: RoomId, user: UserId, seq: u64) -> Change {
    Change::MemberJoined { room, user, role: Role::Member, seq, ordinal: seq }
}

pub(crate) fn gone(room: RoomId, user: UserId, seq: u64) -> Change {
    Change::MemberGone { room, user, seq }
}

pub(crate) fn read(room: RoomId, user: UserId, seq: u64) -> Change {
    Change::ReadMarker { room, user, seq, ordinal: seq, at_ms: 2000 + seq }
}

/// A message of theirs, where every event is a message.
pub(crate) fn own_send(room: RoomId, user: UserId, ordinal: u64) -> Change {
    Change::OwnSend { room, user, seq: ordinal, ordinal }
}

pub(crate) fn sent_row(at_ms: u64) -> SentRow {
    SentRow { seq: 7, ordinal: 5, at_ms, text_hash: 0xfeed }
}

pub(crate) fn sent(room: RoomId, sender: UserId, client: u8, at_ms: u64) -> Change {
    Change::Sent { room, sender, client_id: client_id(client), row: sent_row(at_ms) }
}
