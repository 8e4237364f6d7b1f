//! P3: history is one, wherever its pages come from: memory, the store, or both.

use carillon_gateway::config::Config;
use carillon_protocol::{Event, EventBody, Frame, RoomId};

use crate::harness::{Client, Node, client_id, forgets_soon};

fn forgetful(config: &mut Config) {
    config.room_events_kept = 4;
    forgets_soon(config);
}

/// Sends so many messages without waiting for each answer.
fn send_many(client: &mut Client, room: RoomId, count: u64) {
    for first in (0..count).step_by(500) {
        let asked: Vec<u64> = (first..count.min(first + 500))
            .map(|number| {
                let text = format!("message {number}").into();
                client.start(|request| Frame::Send { request, room, client_id: client_id(), text })
            })
            .collect();
        for request in asked {
            let answer = client.answer(request);
            assert!(matches!(answer, Frame::Ack { .. }), "{answer:?}");
        }
        client.aside.clear();
    }
}

fn assert_dense(events: &[Event<'_>], after_seq: u64, head_seq: u64) {
    let seqs: Vec<u64> = events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (after_seq + 1..=head_seq).collect::<Vec<_>>());
    for event in events {
        if let EventBody::Message { text, .. } = &event.body {
            assert_eq!((event.ordinal, &**text), (event.seq - 1, &*format!("message {}", event.seq - 2)));
        }
    }
}

fn page(client: &mut Client, room: RoomId, after_seq: u64, limit: u64) -> (Vec<Event<'static>>, u64) {
    events_of(client.ask(|request| Frame::Sync { request, room, after_seq, limit }))
}

/// A page of the past: events, and the room's last seq.
fn past(client: &mut Client, room: RoomId, from_seq: u64, at_ms: Option<u64>) -> (Vec<Event<'static>>, u64) {
    events_of(client.ask(|request| Frame::History { request, room, from_seq, limit: 5, at_ms }))
}

fn events_of(answer: Frame<'_>) -> (Vec<Event<'static>>, u64) {
    match answer {
        Frame::Events { events, head_seq, .. } => {
            (events.into_iter().map(Event::into_owned).collect(), head_seq)
        }
        other => panic!("no page: {other:?}"),
    }
}

/// A room of user 1's, in which user 2 joins with the last event, the twelfth.
fn room_that_2_joins_late(node: &Node) -> (Client, RoomId) {
    let mut owner = node.client(1);
    let room = owner.create_room(&[]);
    send_many(&mut owner, room, 10);
    assert_eq!(owner.add(room, 2), 12);
    (owner, room)
}

#[test]
fn from_any_seq_with_any_limit_before_and_after_a_restart() {
    let mut node = Node::start_with(forgetful);
    let mut client = node.client(1);
    let room = client.create_room(&[]);
    send_many(&mut client, room, 40);
    for _ in 0..2 {
        for after_seq in [0, 1, 20, 36, 37, 38, 40, 41] {
            for limit in [1, 2, 7, 100, 0] {
                let (events, head_seq) = page(&mut client, room, after_seq, limit);
                assert_eq!(head_seq, 41);
                // A page may end where memory begins; the rest takes another.
                assert_dense(&events, after_seq, events.last().map_or(after_seq, |event| event.seq));
                assert!(!events.is_empty() || after_seq >= 41);
                assert!(limit == 0 || events.len() <= limit as usize);
            }
        }
        for beyond in [42, 1 << 40, u64::MAX] {
            assert!(page(&mut client, room, beyond, 0).0.is_empty());
        }
        node.forget_rooms();
        assert_dense(&client.history(room, 0), 0, 41);
        node.restart();
        client = node.client(1);
    }
}

#[test]
fn across_the_borders_of_buckets() {
    let mut node = Node::start_with(forgetful);
    let mut client = node.client(1);
    let room = client.create_room(&[]);
    send_many(&mut client, room, 8_500);
    for after_seq in [8_100, 8_190, 8_191, 8_192, 8_193] {
        assert_dense(&client.history(room, after_seq), after_seq, 8_501);
    }
    assert_dense(&client.history(room, 0), 0, 8_501);
    node.restart();
    assert_dense(&node.client(1).history(room, 0), 0, 8_501);
}

#[test]
fn while_others_are_sending() {
    let node = Node::start_with(forgetful);
    let mut reader = node.client(1);
    let room = reader.create_room(&[2]);
    std::thread::scope(|threads| {
        let mut writer = node.client(2);
        let writing = threads.spawn(move || send_many(&mut writer, room, 3_000));
        while !writing.is_finished() {
            let events = reader.history(room, 0);
            assert_dense(&events, 0, events.len() as u64);
            reader.aside.clear();
        }
    });
    assert_dense(&reader.history(room, 0), 0, 3_001);
}

#[test]
fn too_far_back_is_a_snapshot_from_which_it_goes_on() {
    let node = Node::start_with(|config| {
        config.sync_events_max = 5;
        config.sync_reach_events = 10;
    });
    let mut client = node.client(1);
    let room = client.create_room(&[]);
    send_many(&mut client, room, 30);
    assert_dense(&client.history(room, 21), 21, 31);
    let answer = client.ask(|request| Frame::Sync { request, room, after_seq: 20, limit: 0 });
    let Frame::Snapshot { head_seq: 31, head_ordinal: 30, from_seq, name, .. } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(name, "a room");
    assert_dense(&client.history(room, from_seq), from_seq, 31);
}

#[test]
fn who_joined_later_begins_there() {
    let mut node = Node::start_with(forgetful);
    let (_owner, room) = room_that_2_joins_late(&node);
    for _ in 0..2 {
        let mut late = node.client(2);
        for after_seq in [0, 5, 10] {
            let answer = late.ask(|request| Frame::Sync { request, room, after_seq, limit: 0 });
            assert!(matches!(answer, Frame::Snapshot { from_seq: 11, .. }), "{answer:?}");
        }
        let events = late.history(room, 11);
        assert!(matches!(&events[0].body, EventBody::MembersAdded { .. }), "{events:?}");
        assert_eq!(late.entry(room).unwrap().unread, 0);
        node.restart();
    }
}

#[test]
fn however_far_back_in_both_directions() {
    let mut node = Node::start_with(|config| {
        forgetful(config);
        config.sync_events_max = 5;
        config.sync_reach_events = 10;
    });
    let mut client = node.client(1);
    let room = client.create_room(&[]);
    send_many(&mut client, room, 40);
    for _ in 0..2 {
        let mut client = node.client(1);
        let (mut forward, mut back): (Vec<Event<'_>>, Vec<Event<'_>>) = (Vec::new(), Vec::new());
        loop {
            let from_seq = forward.last().map_or(0, |event| event.seq + 1);
            let (events, head_seq) = past(&mut client, room, from_seq, None);
            assert_eq!((head_seq, events.is_empty()), (41, from_seq == 42));
            if events.is_empty() {
                break;
            }
            forward.extend(events);
        }
        for from_seq in [37, 32, 27, 22, 17, 12, 7, 2] {
            let mut page = past(&mut client, room, from_seq, None).0;
            // A page may end where memory begins.
            while page.len() < 5 {
                page.extend(past(&mut client, room, from_seq + page.len() as u64, None).0);
            }
            page.truncate(5);
            back.splice(0..0, page);
        }
        assert_dense(&forward, 0, 41);
        assert_dense(&back, 1, 41);
        node.restart();
    }
}

#[test]
fn from_the_first_event_at_or_after_any_moment() {
    let mut node = Node::start_with(forgetful);
    let mut client = node.client(1);
    let room = client.create_room(&[]);
    for _ in 0..24 {
        client.send(room, "tick");
        // Some of them in the same millisecond, some not.
        std::thread::sleep(std::time::Duration::from_micros(700));
    }
    let all = client.history(room, 0);
    let (begin, end) = (all[0].at_ms, all[24].at_ms);
    for _ in 0..2 {
        let mut client = node.client(1);
        for at_ms in [0].into_iter().chain(begin - 1..=end + 1).chain([end + 3_600_000]) {
            let (events, head_seq) = past(&mut client, room, 0, Some(at_ms));
            let first = all.iter().find(|event| event.at_ms >= at_ms);
            assert_eq!((events.first(), head_seq), (first, 25), "at {at_ms}, of {begin} to {end}");
        }
        node.restart();
    }
}

#[test]
fn and_the_past_of_who_joined_later_begins_there() {
    let mut node = Node::start_with(forgetful);
    let (_owner, room) = room_that_2_joins_late(&node);
    for _ in 0..2 {
        let mut late = node.client(2);
        for (from_seq, at_ms) in [(0, None), (5, None), (12, None), (0, Some(0)), (0, Some(1))] {
            let (events, head_seq) = past(&mut late, room, from_seq, at_ms);
            assert_eq!((events.len(), events[0].seq, head_seq), (1, 12, 12), "from {from_seq}, {at_ms:?}");
        }
        assert_eq!(past(&mut late, room, 13, None), (vec![], 12));
        node.restart();
    }
}
