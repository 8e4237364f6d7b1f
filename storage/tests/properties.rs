//! The one list of what a store promises, run against every implementation.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use carillon_protocol::frame::Role;
use carillon_storage::{BUCKET_EVENTS, Change, MemberRow, RoomRow, SENT_ID_TTL_MS, Store, StoredEvent};
use harness::*;

macro_rules! properties {
    ($($property:ident),* $(,)?) => {
        mod memory { $(
            #[tokio::test]
            async fn $property() { super::$property(super::open::<super::Memory>()).await }
        )* }
        mod embedded { $(
            #[tokio::test]
            async fn $property() { super::$property(super::open::<super::Embedded>()).await }
        )* }
        mod cql {
            /// One test, so that one server and one process will do.
            #[tokio::test]
            async fn every_property_holds() {
                $(
                    println!("{} …", stringify!($property));
                    super::$property(super::open::<super::Cql>()).await;
                )*
            }
        }
    };
}

properties![
    a_room_is_read_back,
    the_last_change_of_a_row_in_one_call_counts,
    a_head_never_moves_back,
    an_unknown_room_has_nothing,
    heads_come_in_the_order_asked,
    members_come_in_order_and_in_pages,
    rooms_of_a_user_follow_joins_and_leaves,
    rooms_of_a_user_come_in_order_and_in_pages,
    joining_sets_the_read_marker,
    markers_never_move_back,
    leaving_takes_the_markers_along,
    a_marker_alone_makes_no_member,
    unread_is_what_counting_gives,
    events_page_without_a_gap_across_buckets,
    a_page_of_events_keeps_its_limits,
    an_event_written_again_is_replaced,
    a_sent_id_is_found_until_it_expires,
    an_expired_id_does_not_come_back,
    sent_ids_are_told_apart_by_room_sender_and_id,
    archived_positions_never_move_back,
    a_crash_keeps_what_was_persisted,
    a_crash_keeps_each_call_wholly_or_not_at_all,
    an_expiry_survives_a_crash,
    calls_take_effect_in_order,
];

const NOBODY: [u64; 0] = [];
const NOTHING: [u64; 0] = [];

fn open<H: Harness>() -> H {
    H::open()
}

async fn apply(store: &impl Store, changes: impl Into<Vec<Change>>) {
    store.apply(changes.into(), vec![]).await.unwrap();
}

async fn member(store: &impl Store, number: u8, id: u64) -> Option<MemberRow> {
    let heads = store.room_heads(user(id), vec![room(number)]).await.unwrap();
    heads[0].as_ref().map(|(_, member)| *member)
}

async fn member_ids(store: &impl Store, number: u8, after: u64, limit: usize) -> Vec<u64> {
    let members = store.members(room(number), after, limit).await.unwrap();
    members.iter().map(|member| member.user.get()).collect()
}

async fn seqs(store: &impl Store, number: u8, from_seq: u64, limit: usize, bytes_max: usize) -> Vec<u64> {
    let events = store.events(room(number), from_seq, limit, bytes_max).await.unwrap();
    events.iter().map(|event| event.seq).collect()
}

async fn a_room_is_read_back(h: impl Harness) {
    let preview =
        Change::Preview { room: room(1), sender: user(4), text: "see you at ten ☕".into(), seq: 9 };
    apply(h.store(), [named(room(1), "lobby"), head(room(1), 9), preview]).await;
    let row = RoomRow {
        name: "lobby".into(),
        head_seq: 9,
        head_ordinal: 9,
        active_ms: 1009,
        member_count: 2,
        preview_sender: Some(user(4)),
        preview: "see you at ten ☕".into(),
    };
    assert_eq!(h.store().room(room(1)).await.unwrap(), Some(row));
}

async fn the_last_change_of_a_row_in_one_call_counts(h: impl Harness) {
    let changes = [
        named_at(room(1), "old", 1),
        named_at(room(1), "new", 2),
        joined(room(1), user(1), 1),
        gone(room(1), user(1), 2),
        gone(room(1), user(2), 1),
        joined(room(1), user(2), 2),
        Change::Event { room: room(1), seq: 1, bytes: b"first".to_vec(), changed_seq: 1 },
        Change::Event { room: room(1), seq: 1, bytes: b"edited".to_vec(), changed_seq: 2 },
    ];
    apply(h.store(), changes).await;
    assert_eq!(h.store().room(room(1)).await.unwrap().unwrap().name, "new");
    assert_eq!(member_ids(h.store(), 1, 0, 10).await, [2]);
    assert!(h.store().user_rooms(user(1), None, 10).await.unwrap().is_empty());
    assert_eq!(h.store().user_rooms(user(2), None, 10).await.unwrap(), [room(1)]);
    assert_eq!(h.store().events(room(1), 1, 9, 99).await.unwrap()[0].bytes, b"edited");
}

async fn a_head_never_moves_back(h: impl Harness) {
    apply(h.store(), [head(room(1), 9)]).await;
    apply(h.store(), [head(room(1), 5)]).await;
    let row = h.store().room(room(1)).await.unwrap().unwrap();
    assert_eq!((row.head_seq, row.head_ordinal, row.active_ms), (9, 9, 1009));
}

async fn an_unknown_room_has_nothing(h: impl Harness) {
    apply(h.store(), [named(room(1), "lobby"), event(room(1), 1), joined(room(1), user(1), 1)]).await;
    assert_eq!(h.store().room(room(2)).await.unwrap(), None);
    assert_eq!(h.store().room_heads(user(1), vec![room(2)]).await.unwrap(), [None]);
    assert_eq!(member_ids(h.store(), 2, 0, 10).await, NOBODY);
    assert_eq!(seqs(h.store(), 2, 0, 10, 1000).await, NOTHING);
    assert!(h.store().user_rooms(user(2), None, 10).await.unwrap().is_empty());
}

async fn heads_come_in_the_order_asked(h: impl Harness) {
    for number in [1, 2, 3] {
        apply(h.store(), [named(room(number), "r"), head(room(number), number.into())]).await;
    }
    apply(h.store(), [joined(room(1), user(1), 1), joined(room(3), user(1), 1)]).await;
    let asked = [3, 9, 2, 1, 3].map(room).to_vec();
    let heads = h.store().room_heads(user(1), asked).await.unwrap();
    let seqs: Vec<_> = heads.iter().map(|head| head.as_ref().map(|(room, _)| room.head_seq)).collect();
    assert_eq!(seqs, [Some(3), None, None, Some(1), Some(3)]);
}

async fn members_come_in_order_and_in_pages(h: impl Harness) {
    let last = carillon_protocol::UserId::MAX.get();
    for id in [300, 2, last, 70_000, 1] {
        apply(h.store(), [joined(room(1), user(id), 1), joined(room(2), user(id + 1 - id / last), 1)]).await;
    }
    assert_eq!(member_ids(h.store(), 1, 0, 2).await, [1, 2]);
    assert_eq!(member_ids(h.store(), 1, 2, 2).await, [300, 70_000]);
    assert_eq!(member_ids(h.store(), 1, 70_000, 2).await, [last]);
    assert_eq!(member_ids(h.store(), 1, last, 2).await, NOBODY);
    assert_eq!(member_ids(h.store(), 1, u64::MAX, 2).await, NOBODY);
    assert_eq!(member_ids(h.store(), 1, 0, 0).await, NOBODY);
}

async fn rooms_of_a_user_follow_joins_and_leaves(h: impl Harness) {
    apply(h.store(), [joined(room(1), user(1), 1), joined(room(2), user(1), 1)]).await;
    assert_eq!(h.store().user_rooms(user(1), None, 10).await.unwrap(), [room(1), room(2)]);
    apply(h.store(), [gone(room(1), user(1), 5)]).await;
    assert_eq!(h.store().user_rooms(user(1), None, 10).await.unwrap(), [room(2)]);
    apply(h.store(), [joined(room(1), user(1), 9)]).await;
    assert_eq!(h.store().user_rooms(user(1), None, 10).await.unwrap(), [room(1), room(2)]);
}

async fn rooms_of_a_user_come_in_order_and_in_pages(h: impl Harness) {
    for number in [255, 0, 3, 2] {
        apply(h.store(), [joined(room(number), user(7), 1), joined(room(number), user(8), 1)]).await;
    }
    let page = |after, limit| h.store().user_rooms(user(7), after, limit);
    assert_eq!(page(None, 2).await.unwrap(), [room(0), room(2)]);
    assert_eq!(page(Some(room(2)), 9).await.unwrap(), [room(3), room(255)]);
    assert!(page(Some(room(255)), 9).await.unwrap().is_empty());
}

async fn joining_sets_the_read_marker(h: impl Harness) {
    apply(h.store(), [named(room(1), "lobby")]).await;
    let join = Change::MemberJoined { room: room(1), user: user(1), role: Role::Owner, seq: 40, ordinal: 30 };
    apply(h.store(), [join]).await;
    let row = MemberRow {
        user: user(1),
        role: Role::Owner,
        joined_seq: 40,
        joined_ordinal: 30,
        read_seq: 40,
        read_ordinal: 30,
        read_ms: 0,
        own_ordinal: 0,
    };
    assert_eq!(member(h.store(), 1, 1).await, Some(row));
}

async fn markers_never_move_back(h: impl Harness) {
    apply(h.store(), [named(room(1), "lobby"), joined(room(1), user(1), 5)]).await;
    apply(h.store(), [read(room(1), user(1), 20), own_send(room(1), user(1), 18)]).await;
    apply(h.store(), [joined(room(1), user(1), 5), read(room(1), user(1), 9), own_send(room(1), user(1), 7)])
        .await;
    let row = member(h.store(), 1, 1).await.unwrap();
    assert_eq!((row.read_seq, row.read_ordinal, row.read_ms, row.own_ordinal), (20, 20, 2020, 18));
}

async fn leaving_takes_the_markers_along(h: impl Harness) {
    apply(h.store(), [named(room(1), "lobby"), joined(room(1), user(1), 5)]).await;
    apply(h.store(), [read(room(1), user(1), 20), own_send(room(1), user(1), 18)]).await;
    apply(h.store(), [gone(room(1), user(1), 21)]).await;
    assert_eq!(member(h.store(), 1, 1).await, None);
    apply(h.store(), [joined(room(1), user(1), 25)]).await;
    let row = member(h.store(), 1, 1).await.unwrap();
    assert_eq!((row.joined_seq, row.read_seq, row.read_ms, row.own_ordinal), (25, 25, 0, 0));
}

async fn a_marker_alone_makes_no_member(h: impl Harness) {
    apply(h.store(), [named(room(1), "lobby"), read(room(1), user(1), 3), own_send(room(1), user(1), 3)])
        .await;
    assert_eq!(member(h.store(), 1, 1).await, None);
    assert_eq!(member_ids(h.store(), 1, 0, 10).await, NOBODY);
    assert!(h.store().user_rooms(user(1), None, 10).await.unwrap().is_empty());
}

/// Three people talk; each one's unread messages are also kept one by one.
async fn unread_is_what_counting_gives(h: impl Harness) {
    let ids = [1, 2, 3];
    let mut unread: [Vec<u64>; 3] = Default::default();
    apply(h.store(), [named(room(1), "lobby")]).await;
    for id in ids {
        apply(h.store(), [joined(room(1), user(id), 0)]).await;
    }
    for seq in 1..=60_u64 {
        let sender = (seq * 7 % 5 % 3) as usize;
        unread.iter_mut().for_each(|list| list.push(seq));
        unread[sender].clear();
        apply(h.store(), [head(room(1), seq), own_send(room(1), user(ids[sender]), seq)]).await;
        if seq % 4 == 0 {
            let (reader, up_to) = ((seq / 4 % 3) as usize, seq.saturating_sub(seq % 3));
            unread[reader].retain(|&message| message > up_to);
            apply(h.store(), [read(room(1), user(ids[reader]), up_to)]).await;
        }
        for (id, list) in ids.iter().zip(&unread) {
            assert_eq!(member(h.store(), 1, *id).await.unwrap().unread(seq), list.len() as u64);
        }
    }
}

async fn events_page_without_a_gap_across_buckets(h: impl Harness) {
    let last = BUCKET_EVENTS + 40;
    apply(h.store(), (1..=last).map(|seq| event(room(1), seq)).collect::<Vec<_>>()).await;
    apply(h.store(), [event(room(0), last), event(room(2), 1)]).await;
    for from_seq in [BUCKET_EVENTS - 1, BUCKET_EVENTS, BUCKET_EVENTS + 1] {
        let first = h.store().events(room(1), from_seq, 1, 1000).await.unwrap();
        assert_eq!(first, [StoredEvent { seq: from_seq, bytes: bytes(from_seq) }]);
    }
    let mut next = BUCKET_EVENTS - 30;
    while next <= last {
        let page = seqs(h.store(), 1, next, 17, 10_000).await;
        assert!(!page.is_empty() && page.iter().copied().eq(next..next + page.len() as u64), "{page:?}");
        next += page.len() as u64;
    }
    assert_eq!(seqs(h.store(), 1, next, 17, 10_000).await, NOTHING);
}

async fn a_page_of_events_keeps_its_limits(h: impl Harness) {
    let event = |seq| Change::Event { room: room(1), seq, bytes: vec![b'x'; 100], changed_seq: seq };
    apply(h.store(), (1..=10).map(event).collect::<Vec<_>>()).await;
    assert_eq!(seqs(h.store(), 1, 4, 3, 10_000).await, [4, 5, 6]);
    assert_eq!(seqs(h.store(), 1, 4, 9, 300).await, [4, 5, 6]);
    assert_eq!(seqs(h.store(), 1, 4, 9, 299).await, [4, 5]);
    assert_eq!(seqs(h.store(), 1, 4, 9, 1).await, [4]);
    assert_eq!(seqs(h.store(), 1, 4, 0, 10_000).await, NOTHING);
    assert_eq!(seqs(h.store(), 1, 0, 2, 10_000).await, [1, 2]);
    assert_eq!(seqs(h.store(), 1, u64::MAX, 2, 10_000).await, NOTHING);
}

async fn an_event_written_again_is_replaced(h: impl Harness) {
    apply(h.store(), [event(room(1), 1), event(room(1), 2)]).await;
    let deleted = Change::Event { room: room(1), seq: 1, bytes: b"deleted".to_vec(), changed_seq: 3 };
    apply(h.store(), [deleted]).await;
    let events = h.store().events(room(1), 1, 10, 1000).await.unwrap();
    let expected = [(1, b"deleted".to_vec()), (2, bytes(2))].map(|(seq, bytes)| StoredEvent { seq, bytes });
    assert_eq!(events, expected);
}

async fn a_sent_id_is_found_until_it_expires(h: impl Harness) {
    let now_ms = 2 * SENT_ID_TTL_MS;
    apply(h.store(), [sent(room(1), user(1), 1, now_ms - SENT_ID_TTL_MS - 1)]).await;
    apply(h.store(), [sent(room(1), user(1), 2, now_ms - SENT_ID_TTL_MS)]).await;
    let ids: Vec<_> = [2, 1, 3].map(|id| (room(1), user(1), client_id(id))).to_vec();
    let rows = h.store().sent(ids.clone()).await.unwrap();
    let (old, new) = (sent_row(now_ms - SENT_ID_TTL_MS - 1), sent_row(now_ms - SENT_ID_TTL_MS));
    assert_eq!(rows, [Some(new), Some(old), None]);
    h.store().expire_sent(now_ms - SENT_ID_TTL_MS).await.unwrap();
    assert_eq!(h.store().sent(ids).await.unwrap(), [Some(new), None, None]);
}

async fn an_expired_id_does_not_come_back(h: impl Harness) {
    h.store().expire_sent(500).await.unwrap();
    h.store().expire_sent(100).await.unwrap();
    apply(h.store(), [sent(room(1), user(1), 1, 499), sent(room(1), user(1), 2, 500)]).await;
    let ids = [1, 2].map(|id| (room(1), user(1), client_id(id))).to_vec();
    assert_eq!(h.store().sent(ids).await.unwrap(), [None, Some(sent_row(500))]);
}

async fn sent_ids_are_told_apart_by_room_sender_and_id(h: impl Harness) {
    apply(h.store(), [sent(room(1), user(1), 1, 10)]).await;
    let others = [(2, 1, 1), (1, 2, 1), (1, 1, 2)];
    let ids = others.map(|(number, id, client)| (room(number), user(id), client_id(client))).to_vec();
    assert_eq!(h.store().sent(ids).await.unwrap(), [None, None, None]);
}

async fn archived_positions_never_move_back(h: impl Harness) {
    h.store().apply(vec![], vec![(0, 5), (2, 9), (2, 8)]).await.unwrap();
    h.store().apply(vec![], vec![(0, 4), (1, 1)]).await.unwrap();
    assert_eq!(h.store().archived(4).await.unwrap(), [5, 1, 9, 0]);
    assert_eq!(h.store().archived(1).await.unwrap(), [5]);
}

/// Batch `n` of one partition: an event and the head it makes.
async fn apply_batch(store: &impl Store, n: u64) {
    store.apply(vec![event(room(1), n), head(room(1), n)], vec![(0, n)]).await.unwrap();
}

async fn a_crash_keeps_what_was_persisted(h: impl Harness) {
    for n in 1..=5 {
        apply_batch(h.store(), n).await;
    }
    h.store().persist().await.unwrap();
    let h = h.crash_and_reopen();
    assert_eq!(h.store().archived(1).await.unwrap(), [5]);
    assert_eq!(seqs(h.store(), 1, 1, 10, 1000).await, [1, 2, 3, 4, 5]);
    assert_eq!(h.store().room(room(1)).await.unwrap().unwrap().head_seq, 5);
}

async fn a_crash_keeps_each_call_wholly_or_not_at_all(h: impl Harness) {
    let mut h = h;
    let mut next = 1;
    for round in 1..=3 {
        for n in next..next + 2 {
            apply_batch(h.store(), n).await;
        }
        h.store().persist().await.unwrap();
        for n in next + 2..next + 2 + round {
            apply_batch(h.store(), n).await;
        }
        h = h.crash_and_reopen();
        let archived = h.store().archived(1).await.unwrap()[0];
        assert!((next + 1..next + 2 + round).contains(&archived), "{archived} after {next}");
        assert!(seqs(h.store(), 1, 1, 100, 10_000).await.into_iter().eq(1..=archived));
        assert_eq!(h.store().room(room(1)).await.unwrap().unwrap().head_seq, archived);
        next = archived + 1;
    }
}

async fn an_expiry_survives_a_crash(h: impl Harness) {
    apply(h.store(), [sent(room(1), user(1), 1, 10), sent(room(1), user(1), 2, 20)]).await;
    h.store().expire_sent(15).await.unwrap();
    h.store().persist().await.unwrap();
    let h = h.crash_and_reopen();
    let ids = [1, 2].map(|id| (room(1), user(1), client_id(id))).to_vec();
    assert_eq!(h.store().sent(ids).await.unwrap(), [None, Some(sent_row(20))]);
}

/// More calls than any queue holds are under way at once; the name that was asked for last is the one that stays.
async fn calls_take_effect_in_order(h: impl Harness) {
    let names = (0..200).map(|n| h.store().apply(vec![named_at(room(1), &n.to_string(), n)], vec![]));
    for result in futures_util::future::join_all(names).await {
        result.unwrap();
    }
    assert_eq!(h.store().room(room(1)).await.unwrap().unwrap().name, "199");
}
