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
    match client.ask(|request| Frame::Sync { request, room, after_seq, limit }) {
        Frame::Events { events, head_seq, .. } => {
            (events.into_iter().map(Event::into_owned).collect(), head_seq)
        }
        other => panic!("no page: {other:?}"),
    }
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
    let mut owner = node.client(1);
    let room = owner.create_room(&[]);
    send_many(&mut owner, room, 10);
    assert_eq!(owner.add(room, 2), 12);
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
