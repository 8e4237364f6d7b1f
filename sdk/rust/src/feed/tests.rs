use super::*;

fn user(id: u64) -> UserId {
    UserId::new(id).unwrap()
}

const ROOM: RoomId = RoomId::from_bytes([7; 16]);

fn event(seq: u64) -> Event<'static> {
    let body = EventBody::Unknown { number: 99 };
    Event { room: ROOM, seq, ordinal: 0, at_ms: 0, sender: user(2), body }
}

fn joining(seq: u64) -> Event<'static> {
    Event { body: EventBody::MembersAdded { members: vec![user(1)] }, ..event(seq) }
}

fn removal(seq: u64) -> Event<'static> {
    Event { body: EventBody::MemberRemoved { user: user(1) }, ..event(seq) }
}

fn entry(head_seq: u64) -> RoomEntry<'static> {
    RoomEntry {
        room: ROOM,
        name: "".into(),
        active_ms: 0,
        head_seq,
        head_ordinal: 0,
        read_seq: 0,
        unread: 0,
        member_count: 2,
        preview_sender: None,
        preview: "".into(),
    }
}

/// A feed of user 1 whose first list said that the room stands at `head_seq`.
fn listed(head_seq: u64, updates_max: usize) -> Feed {
    let mut feed = Feed::new(updates_max, HashMap::new());
    feed.listed(&entry(head_seq));
    feed.list_ended(user(1));
    settle(&mut feed, 0);
    feed
}

fn settle(feed: &mut Feed, now_ms: u64) -> Vec<u64> {
    feed.settle(user(1), true, now_ms).into_iter().map(|(_, after_seq)| after_seq).collect()
}

fn seqs(feed: &mut Feed) -> Vec<u64> {
    let updates = std::iter::from_fn(|| feed.next_update());
    updates
        .filter_map(|update| if let Update::Event(event) = update { Some(event.seq) } else { None })
        .collect()
}

#[test]
fn updates_begin_at_the_head_of_the_first_list() {
    let mut feed = listed(5, 100);
    assert_eq!(settle(&mut feed, 0), [] as [u64; 0]);
    feed.event(event(5), user(1));
    feed.event(event(6), user(1));
    settle(&mut feed, 0);
    assert_eq!(seqs(&mut feed), [6]);
}

#[test]
fn events_that_come_before_the_first_list_are_kept() {
    let mut feed = Feed::new(100, HashMap::new());
    feed.event(event(8), user(1));
    feed.event(event(6), user(1));
    feed.listed(&entry(7));
    feed.list_ended(user(1));
    assert_eq!(settle(&mut feed, 0), [6]);
    assert_eq!(seqs(&mut feed), [6]);
    feed.answered(ROOM, 8, vec![event(7), event(8)], 0);
    settle(&mut feed, 0);
    assert_eq!(seqs(&mut feed), [7, 8]);
}

#[test]
fn a_position_of_the_apps_is_where_updates_begin() {
    let mut feed = Feed::new(100, HashMap::from([(ROOM, 3)]));
    feed.listed(&entry(5));
    feed.list_ended(user(1));
    assert_eq!(settle(&mut feed, 0), [3]);
}

#[test]
fn a_later_list_brings_what_was_missed() {
    let mut feed = listed(5, 100);
    feed.disconnected();
    feed.listed(&entry(7));
    feed.list_ended(user(1));
    assert_eq!(settle(&mut feed, 0), [5]);
}

#[test]
fn an_app_that_takes_nothing_stops_the_questions_and_loses_nothing() {
    let mut feed = listed(0, 2);
    for seq in 1..=1000 {
        feed.event(event(seq), user(1));
        assert_eq!(settle(&mut feed, 0), [] as [u64; 0]);
    }
    assert_eq!(feed.deadline_ms(), None);
    let mut got = Vec::new();
    let mut now_ms = 0;
    while got.len() < 1000 {
        got.extend(seqs(&mut feed));
        now_ms += 1_000;
        for after_seq in settle(&mut feed, now_ms) {
            let page = (after_seq + 1..=1000).take(100).map(event).collect();
            feed.answered(ROOM, 1000, page, now_ms);
        }
    }
    assert_eq!(got, (1..=1000).collect::<Vec<_>>());
}

#[test]
fn lagging_is_answered_by_a_question_at_once() {
    let mut feed = listed(5, 100);
    feed.lagged(ROOM, 6);
    assert_eq!(settle(&mut feed, 0), [5]);
}

#[test]
fn a_head_in_a_ping_is_answered_by_a_question_after_a_moment() {
    let mut feed = listed(5, 100);
    feed.heads(&[Head { room: ROOM, seq: 6 }]);
    assert_eq!(settle(&mut feed, 0), [] as [u64; 0]);
    let deadline_ms = feed.deadline_ms().unwrap();
    assert_eq!(settle(&mut feed, deadline_ms), [5]);
}

#[test]
fn a_room_ends_with_ones_removal_and_begins_anew_where_one_is_added() {
    let mut feed = listed(5, 100);
    feed.event(removal(6), user(1));
    settle(&mut feed, 0);
    assert_eq!(feed.next_update(), Some(Update::Event(removal(6))));
    assert_eq!(feed.next_update(), Some(Update::Gone { room: ROOM }));
    feed.event(joining(20), user(1));
    feed.event(event(21), user(1));
    settle(&mut feed, 0);
    assert_eq!(seqs(&mut feed), [20, 21]);
}

#[test]
fn a_room_whose_beginning_was_missed_is_asked_for_and_does_not_count_as_a_reset() {
    let mut feed = listed(5, 100);
    let other = RoomId::from_bytes([8; 16]);
    feed.event(Event { room: other, ..event(42) }, user(1));
    assert_eq!(feed.settle(user(1), true, 0), [(other, 0)]);
    feed.snapshot(other, 42, 40, "Other".into(), 0);
    assert_eq!(feed.settle(user(1), true, 0), [(other, 40)]);
    feed.answered(other, 42, vec![Event { room: other, ..event(41) }], 0);
    settle(&mut feed, 0);
    assert_eq!(seqs(&mut feed), [41, 42]);
}

#[test]
fn a_snapshot_of_a_known_room_tells_the_app_to_forget() {
    let mut feed = listed(5, 100);
    feed.lagged(ROOM, 9_000);
    assert_eq!(settle(&mut feed, 0), [5]);
    feed.snapshot(ROOM, 9_000, 8_900, "Name".into(), 0);
    assert_eq!(settle(&mut feed, 0), [8_900]);
    let reset = Update::Reset { room: ROOM, name: "Name".into(), after_seq: 8_900 };
    assert_eq!(feed.next_update(), Some(reset));
}

#[test]
fn many_rooms_that_are_behind_are_asked_for_a_few_at_a_time() {
    let mut feed = Feed::new(10_000, HashMap::new());
    feed.list_ended(user(1));
    for number in 0..100 {
        feed.listed(&RoomEntry { room: RoomId::from_bytes([number; 16]), ..entry(1) });
    }
    let mut asked = 0;
    loop {
        let questions = feed.settle(user(1), true, 0);
        assert!(questions.len() <= ASKED_MAX);
        if questions.is_empty() {
            break;
        }
        asked += questions.len();
        for (room, _) in questions {
            feed.answered(room, 1, vec![Event { room, ..event(1) }], 0);
        }
    }
    assert_eq!((asked, seqs(&mut feed).len()), (100, 100));
}
