//! A log with a little history in it, and everything that a store says about it.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use carillon_gateway::follow::archive::{ArchiveError, Archiver};
use carillon_gateway::follow::dead_letters::DeadLetters;
use carillon_gateway::log::{Batch, Log, MemoryLog, Partition, Record};
use carillon_protocol::binary::encode_event;
use carillon_protocol::{ClientId, Event, EventBody, RoomId, UserId};
use carillon_storage::{MemberRow, RoomRow, SentRow, Store, StoredEvent};

pub const PARTITIONS: Partition = 4;
pub const ROOM: RoomId = RoomId::from_bytes([7; 16]);
/// Long enough that nothing is persisted for its sake.
const NEVER: Duration = Duration::from_secs(3600);

pub fn user(id: u64) -> UserId {
    UserId::new(id).unwrap()
}

pub fn client_id(id: u8) -> ClientId {
    ClientId::from_bytes([id; 16])
}

pub fn empty_log() -> Arc<MemoryLog> {
    Arc::new(MemoryLog::new(PARTITIONS, 1 << 24))
}

pub async fn open(
    log: &Arc<MemoryLog>,
    store: Arc<dyn Store>,
    dead_letters: &Path,
) -> Result<Archiver, ArchiveError> {
    Archiver::open(log.clone(), store, DeadLetters::new(dead_letters), NEVER).await
}

/// Archives all that is in the log, with a folder for dead letters that must stay empty.
pub async fn archive(log: &Arc<MemoryLog>, store: Arc<dyn Store>) {
    let dir = tempfile::tempdir().unwrap();
    open(log, store, dir.path()).await.unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Appends these records as the next batch of a partition.
pub async fn append(log: &MemoryLog, partition: Partition, records: Vec<u8>) {
    let position = log.last()[usize::from(partition)] + 1;
    log.append(vec![Batch { partition, position, records }]).await.unwrap();
}

pub fn event_bytes(seq: u64, ordinal: u64, sender: u64, body: EventBody<'_>) -> Vec<u8> {
    let event = Event { room: ROOM, seq, ordinal, at_ms: 1000 + seq, sender: user(sender), body };
    let mut bytes = Vec::new();
    encode_event(&event, &mut bytes);
    bytes
}

pub fn event(member_count: u64, (seq, ordinal, sender): (u64, u64, u64), body: EventBody<'_>) -> Vec<u8> {
    encoded(Record::Event { member_count, event: &event_bytes(seq, ordinal, sender, body) })
}

pub fn encoded(record: Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

pub fn message(text: &str, id: u8) -> EventBody<'_> {
    EventBody::Message { client_id: client_id(id), text: Cow::Borrowed(text) }
}

/// The batches of a room's life with something of every kind in it.
pub fn history() -> Vec<Vec<u8>> {
    let created = EventBody::RoomCreated { name: "Chess".into(), members: vec![user(2), user(3)] };
    let read = Record::Read { room: ROOM, user: user(3), seq: 3, ordinal: 2, at_ms: 1003 };
    vec![
        event(3, (1, 0, 1), created),
        [event(3, (2, 1, 1), message("e4", 1)), event(3, (3, 2, 2), message("e5", 2))].concat(),
        encoded(read),
        event(4, (4, 2, 1), EventBody::MembersAdded { members: vec![user(4)] }),
        event(3, (5, 2, 1), EventBody::MemberRemoved { user: user(2) }),
        [event(2, (6, 2, 3), EventBody::MemberLeft), event(2, (7, 3, 4), message("Nf3", 3))].concat(),
        event(3, (8, 3, 1), EventBody::MembersAdded { members: vec![user(2)] }),
        event(3, (9, 3, 1), EventBody::Unknown { number: 77 }),
    ]
}

pub async fn log_with_history() -> Arc<MemoryLog> {
    let log = empty_log();
    for records in history() {
        append(&log, 1, records).await;
    }
    log
}

/// Everything a store says.
#[derive(PartialEq, Debug)]
pub struct Told {
    pub room: Option<RoomRow>,
    pub members: Vec<MemberRow>,
    pub rooms_of_users: Vec<Vec<RoomId>>,
    pub events: Vec<StoredEvent>,
    pub sent: Vec<Option<SentRow>>,
    pub archived: Vec<u64>,
}

pub async fn told(store: &dyn Store) -> Told {
    let mut rooms_of_users = Vec::new();
    for id in 1..=5 {
        rooms_of_users.push(store.user_rooms(user(id), None, 100).await.unwrap());
    }
    let senders = [(1, 1), (2, 2), (4, 3)];
    let ids = senders.map(|(sender, id)| (ROOM, user(sender), client_id(id))).to_vec();
    Told {
        room: store.room(ROOM).await.unwrap(),
        members: store.members(ROOM, 0, 100).await.unwrap(),
        rooms_of_users,
        events: store.events(ROOM, 1, 1000, usize::MAX).await.unwrap(),
        sent: store.sent(ids).await.unwrap(),
        archived: store.archived(PARTITIONS).await.unwrap(),
    }
}
