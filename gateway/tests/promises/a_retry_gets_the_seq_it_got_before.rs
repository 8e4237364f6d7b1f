//! P2: however often a message is sent under one client id, it is in the history once.

use carillon_gateway::config::Config;
use carillon_protocol::{ClientId, ErrorCode, Frame, RoomId};

use crate::harness::{Client, Node, client_id, forgets_soon};

/// Remembers next to nothing, so that the store is asked.
fn forgetful(config: &mut Config) {
    config.dedupe_ids_kept = 2;
    config.room_events_kept = 2;
    forgets_soon(config);
}

fn send(client: &mut Client, room: RoomId, id: ClientId, text: &'static str) -> Frame<'static> {
    client.ask(|request| Frame::Send { request, room, client_id: id, text: text.into() })
}

#[test]
fn across_sessions_and_restarts_and_after_memory_forgot() {
    let mut node = Node::start_with(forgetful);
    let mut client = node.client(1);
    let room = client.create_room(&[2]);
    let ids: Vec<_> = (0..20).map(|_| client_id()).collect();
    for (index, &id) in ids.iter().enumerate() {
        assert_eq!(client.send_as(room, id, "once"), 2 + index as u64);
    }
    node.forget_rooms();
    for _ in 0..2 {
        for (index, &id) in ids.iter().enumerate() {
            assert_eq!(client.send_as(room, id, "once"), 2 + index as u64);
            assert_eq!(node.client(1).send_as(room, id, "once"), 2 + index as u64);
        }
        node.restart();
        client = node.client(1);
    }
    assert_eq!(client.history(room, 0).len(), 21);
    // The id is the sender's own: another member may use the same.
    assert_eq!(node.client(2).send_as(room, ids[3], "mine"), 22);
}

#[test]
fn while_memory_is_forgetting() {
    let node = Node::start_with(forgetful);
    let mut client = node.client(1);
    let room = client.create_room(&[]);
    let ids: Vec<_> = (0..300).map(|_| client_id()).collect();
    for (turn, &id) in ids.iter().enumerate() {
        assert_eq!(client.send_as(room, id, "once"), 2 + turn as u64);
        for back in 1..=turn.min(12) {
            assert_eq!(client.send_as(room, ids[turn - back], "once"), 2 + (turn - back) as u64);
        }
    }
    assert_eq!(client.history(room, 0).len(), 301);
}

#[test]
fn and_the_same_ordinal_and_time() {
    let mut node = Node::start_with(forgetful);
    let mut client = node.client(1);
    let room = client.create_room(&[]);
    let id = client_id();
    let Frame::Ack { seq, ordinal, at_ms, .. } = send(&mut client, room, id, "a") else { panic!() };
    assert_eq!((seq, ordinal), (2, 1));
    node.restart();
    let again = send(&mut node.client(1), room, id, "a");
    assert_eq!(again, Frame::Ack { request: 1, seq, ordinal, at_ms });
}

#[test]
fn another_text_under_the_same_id_is_a_conflict() {
    let mut node = Node::start_with(forgetful);
    let mut client = node.client(1);
    let room = client.create_room(&[]);
    let id = client_id();
    client.send_as(room, id, "first");
    let conflicts = |client: &mut Client| {
        client.refused(|request| Frame::Send { request, room, client_id: id, text: "second".into() })
            == ErrorCode::CONFLICT
    };
    assert!(conflicts(&mut client));
    for _ in 0..10 {
        client.send(room, "more");
    }
    node.restart();
    let mut client = node.client(1);
    assert!(conflicts(&mut client));
    assert_eq!(client.history(room, 0).len(), 12);
}

#[test]
fn two_retries_at_the_same_moment_are_one_message() {
    let node = Node::start_with(forgetful);
    let mut clients: Vec<_> = (0..4).map(|_| node.client(1)).collect();
    let room = clients[0].create_room(&[]);
    for turn in 0..50 {
        let id = client_id();
        let asked: Vec<u64> = clients
            .iter_mut()
            .map(|client| {
                client.start(|request| Frame::Send { request, room, client_id: id, text: "at once".into() })
            })
            .collect();
        for (client, request) in clients.iter_mut().zip(asked) {
            let answer = client.answer(request);
            assert!(matches!(answer, Frame::Ack { seq, .. } if seq == 2 + turn), "{answer:?}");
        }
    }
    assert_eq!(clients[0].history(room, 0).len(), 51);
}

#[test]
fn creating_a_room_again_finds_it_there() {
    let mut node = Node::start_with(|config| config.rooms_per_user_max = 1);
    let mut client = node.client(1);
    let room = client.create_room(&[2]);
    let create = |request| crate::harness::create(request, room, &[2]);
    assert_eq!(client.done(create), 1);
    node.restart();
    assert_eq!(node.client(1).done(create), 1, "though neither may have one more room");
    assert_eq!(node.client(3).refused(create), ErrorCode::CONFLICT);
    let mut client = node.client(1);
    let other = crate::harness::room();
    assert_eq!(client.refused(|request| crate::harness::create(request, other, &[])), ErrorCode::LIMIT);
    assert_eq!(client.add(room, 2), 1, "who is in it needs no space");
}
