//! Members come and go, in small rooms, in large ones, and in rooms that grow and shrink between the two: each hears everything
//! from the event with which they joined to the one with which they parted, once and in order.

use carillon_gateway::config::Config;
use carillon_protocol::RoomId;

use crate::harness::{Client, Node, forgets_soon, until};

fn config(inbox_limit: usize) -> impl FnOnce(&mut Config) {
    move |config| {
        config.inbox_limit = inbox_limit;
        forgets_soon(config);
    }
}

/// The seqs that came from that room; by the time of this answer everything that was sent before has come.
fn heard(client: &mut Client, room: RoomId, last: Option<u64>) -> Vec<u64> {
    let mut seqs = Vec::new();
    while last.is_some_and(|last| seqs.last().is_none_or(|&seq| seq < last)) {
        let event = client.event();
        assert_eq!(event.room, room);
        seqs.push(event.seq);
    }
    seqs
}

fn hears_no_more(client: &mut Client) {
    let rest = client.so_far();
    assert!(!rest.iter().any(|frame| matches!(frame, carillon_protocol::Frame::Event(_))), "{rest:?}");
}

#[test]
fn whether_removed_or_gone_by_themselves() {
    for inbox_limit in [64, 2] {
        let node = Node::start_with(config(inbox_limit));
        let (mut owner, mut other) = (node.client(1), node.client(2));
        // On every shard, so that with two of them both cases are met.
        let mut removed: Vec<_> = (0..4).map(|_| node.client(3)).collect();
        let mut left: Vec<_> = (0..4).map(|_| node.client(4)).collect();
        let room = owner.create_room(&[2, 3, 4]);
        owner.send(room, "to all");
        assert_eq!(owner.remove(room, 3), 3);
        owner.send(room, "to those who stayed");
        assert_eq!(left[0].leave(room), 5);
        for _ in 0..10 {
            other.send(room, "to us");
        }
        assert_eq!(heard(&mut owner, room, Some(15)), (1..=15).collect::<Vec<_>>());
        for client in &mut removed {
            assert_eq!(heard(client, room, Some(3)), [1, 2, 3]);
            hears_no_more(client);
        }
        for client in &mut left {
            assert_eq!(heard(client, room, Some(5)), [1, 2, 3, 4, 5]);
            hears_no_more(client);
        }
        owner.add(room, 3);
        owner.send(room, "welcome back");
        for client in &mut removed {
            assert_eq!(heard(client, room, Some(17)), [16, 17]);
        }
    }
}

#[test]
fn in_a_room_that_grows_while_it_is_used() {
    let node = Node::start_with(config(4));
    let mut clients: Vec<_> = (1..=8).map(|number| node.client(number)).collect();
    let room = clients[0].create_room(&[]);
    let mut joined = vec![1];
    for number in 2..=8 {
        clients[0].send(room, "before");
        joined.push(clients[0].add(room, number));
        clients[number as usize - 1].send(room, "after");
    }
    let head_seq = *joined.last().unwrap() + 1;
    for (client, joined) in clients.iter_mut().zip(joined) {
        assert_eq!(heard(client, room, Some(head_seq)), (joined..=head_seq).collect::<Vec<_>>());
        hears_no_more(client);
    }
}

#[test]
fn in_a_room_that_was_large_once() {
    let node = Node::start_with(config(3));
    let (mut owner, mut left, mut stays) = (node.client(1), node.client(2), node.client(3));
    let room = owner.create_room(&[2, 3, 4, 5]);
    owner.remove(room, 4);
    owner.remove(room, 5);
    node.forget_rooms();
    assert_eq!(left.leave(room), 4);
    for number in [6, 7] {
        owner.add(room, number);
    }
    let seq = owner.send(room, "large again");
    assert_eq!(heard(&mut stays, room, Some(seq)), (1..=seq).collect::<Vec<_>>());
    assert_eq!(heard(&mut left, room, Some(4)), [1, 2, 3, 4]);
    hears_no_more(&mut left);
}

#[test]
fn in_a_session_that_began_after_the_room_did() {
    for inbox_limit in [64, 2] {
        let mut node = Node::start_with(config(inbox_limit));
        let room = node.client(1).create_room(&[2, 3]);
        node.restart();
        let mut sender = node.client(1);
        for _ in 0..10 {
            let mut late = node.client(2);
            let head_seq = sender.send(room, "hello");
            // Live, or named by a ping: within the patience of this client it has it.
            let mut has = late.history(room, 0).last().unwrap().seq;
            while has < head_seq {
                late.hear();
                has = late.history(room, 0).last().unwrap().seq;
            }
            let seq = sender.send(room, "now it listens");
            until("the event comes", || {
                late.history(room, seq - 1).len() == 1 && {
                    let heard = late.so_far();
                    heard.iter().any(|frame| match frame {
                        carillon_protocol::Frame::Event(event) => event.seq == seq,
                        carillon_protocol::Frame::Ping { heads, .. } => {
                            heads.iter().any(|head| head.seq == seq)
                        }
                        _ => false,
                    })
                }
            });
        }
    }
}
