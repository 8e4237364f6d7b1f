//! After archiving, the store's tables say what the events said.

use std::sync::Arc;

use carillon_gateway::log::record::text_hash;
use carillon_protocol::EventBody;
use carillon_protocol::frame::Role;
use carillon_storage::{MemberRow, MemoryStore, SentRow, Store};

use crate::harness::{
    ROOM, append, archive, empty_log, event, history, log_with_history, message, told, user,
};

async fn store_after(batches: usize) -> Arc<MemoryStore> {
    let log = empty_log();
    for records in history().into_iter().take(batches) {
        append(&log, 1, records).await;
    }
    let store = Arc::new(MemoryStore::new());
    archive(&log, store.clone()).await;
    store
}

fn member(id: u64, role: Role, joined: (u64, u64), read: (u64, u64), own_ordinal: u64) -> MemberRow {
    let ((joined_seq, joined_ordinal), (read_seq, read_ordinal)) = (joined, read);
    // The marker that is moved in the history is moved then.
    let read_ms = if read_seq > joined_seq { 1003 } else { 0 };
    let user = user(id);
    MemberRow { user, role, joined_seq, joined_ordinal, read_seq, read_ordinal, read_ms, own_ordinal }
}

#[tokio::test]
async fn a_created_room_has_its_name_owner_and_members() {
    let told = told(&*store_after(1).await).await;
    let room = told.room.unwrap();
    assert_eq!((room.name.as_str(), room.head_seq, room.head_ordinal, room.active_ms), ("Chess", 1, 0, 1001));
    assert_eq!((room.member_count, room.preview_sender), (3, None));
    let roles: Vec<_> = told.members.iter().map(|row| (row.user.get(), row.role)).collect();
    assert_eq!(roles, [(1, Role::Owner), (2, Role::Member), (3, Role::Member)]);
    assert_eq!(told.rooms_of_users, [vec![ROOM], vec![ROOM], vec![ROOM], vec![], vec![]]);
}

#[tokio::test]
async fn a_creator_who_also_names_themselves_stays_the_owner() {
    let log = empty_log();
    let body = EventBody::RoomCreated { name: "".into(), members: vec![user(1), user(2)] };
    append(&log, 1, event(2, (1, 0, 1), body)).await;
    let store = Arc::new(MemoryStore::new());
    archive(&log, store.clone()).await;
    let roles: Vec<_> = told(&*store).await.members.iter().map(|row| row.role).collect();
    assert_eq!(roles, [Role::Owner, Role::Member]);
}

#[tokio::test]
async fn messages_move_head_preview_own_marker_and_sent_ids() {
    let told = told(&*store_after(2).await).await;
    let room = told.room.unwrap();
    assert_eq!((room.head_seq, room.head_ordinal, room.active_ms), (3, 2, 1003));
    assert_eq!((room.preview_sender, room.preview.as_str()), (Some(user(2)), "e5"));
    assert_eq!(told.members[0], member(1, Role::Owner, (1, 0), (1, 0), 1));
    assert_eq!(told.members[1].unread(2), 0);
    assert_eq!(told.members[2].unread(2), 2);
    assert_eq!(told.sent[0], Some(SentRow { seq: 2, ordinal: 1, at_ms: 1002, text_hash: text_hash("e4") }));
    assert_eq!(told.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn a_read_marker_is_the_members() {
    let told = told(&*store_after(3).await).await;
    assert_eq!(told.members[2], member(3, Role::Member, (1, 0), (3, 2), 0));
}

#[tokio::test]
async fn members_come_and_go() {
    let store = store_after(6).await;
    let told = told(&*store).await;
    assert_eq!(
        told.members,
        [member(1, Role::Owner, (1, 0), (1, 0), 1), member(4, Role::Member, (4, 2), (4, 2), 3)]
    );
    assert_eq!(told.room.unwrap().member_count, 2);
    assert_eq!(store.user_rooms(user(2), None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn who_comes_again_begins_anew() {
    let told = told(&*store_after(7).await).await;
    assert_eq!(told.members[1], member(2, Role::Member, (8, 3), (8, 3), 0));
}

#[tokio::test]
async fn an_event_of_a_later_version_keeps_its_place() {
    let store = Arc::new(MemoryStore::new());
    archive(&log_with_history().await, store.clone()).await;
    let told = told(&*store).await;
    assert_eq!(told.events.last().unwrap().seq, 9);
    assert_eq!(told.room.unwrap().head_seq, 9);
}

#[tokio::test]
async fn a_preview_ends_between_characters() {
    let log = empty_log();
    append(&log, 0, event(1, (1, 1, 1), message(&"é".repeat(100), 1))).await;
    append(&log, 0, event(1, (2, 2, 1), message(&format!("x{}", "é".repeat(100)), 2))).await;
    let store = Arc::new(MemoryStore::new());
    archive(&log, store.clone()).await;
    assert_eq!(store.room(ROOM).await.unwrap().unwrap().preview, format!("x{}", "é".repeat(59)));
}
