//! A session that arrives is told of what happened in a large room while its other rooms were still asked for, however long
//! that takes: where the room stood when its home was asked may be long past by then.

use std::time::Duration;

use carillon_gateway::config::Config;
use carillon_protocol::{Frame, RoomId};
use tokio::sync::watch;

use crate::harness::{Client, Node, forgets_soon, until};
use crate::waiting_store::{Kept, waiting_store};

/// Waits until the client is told that all these rooms stand at `seq`, by events or by pings.
fn hears_of_all(client: &mut Client, rooms: &[RoomId], seq: u64) {
    let mut missing = rooms.to_vec();
    until("all that happened is heard of", || {
        for frame in client.so_far() {
            match frame {
                Frame::Event(event) if event.seq >= seq => missing.retain(|&room| room != event.room),
                Frame::Ping { heads, .. } => {
                    missing.retain(|&room| !heads.iter().any(|head| head.room == room && head.seq >= seq));
                }
                _ => {}
            }
        }
        missing.is_empty()
    });
}

/// A node whose store keeps to itself what it is told to, and for which a room of three is a large one.
fn start() -> (Node, watch::Sender<Kept>) {
    let (keep, kept) = watch::channel(Kept::Nothing);
    let change = |config: &mut Config| {
        forgets_soon(config);
        config.inbox_limit = 2;
    };
    (Node::start_over(change, waiting_store(kept)), keep)
}

#[test]
fn in_a_room_whose_home_had_answered_before() {
    let (node, keep) = start();
    let mut owner = node.client(1);
    // Of several rooms some have another shard for a home than the one that is kept waiting for.
    let rooms: Vec<RoomId> = (0..8).map(|_| owner.create_room(&[2, 3])).collect();
    let (slow, quick) = rooms.split_first().unwrap();
    // On each shard somebody has the rooms' events already.
    let mut others: Vec<Client> = (0..8).map(|_| node.client(2)).collect();
    others.iter_mut().for_each(|other| hears_of_all(other, &rooms, 1));
    node.forget_rooms();

    keep.send(Kept::Waiting(*slow)).unwrap();
    quick.iter().for_each(|&room| assert_eq!(owner.send(room, "it is active again"), 2));
    let mut arriving = node.client(3);
    // The other homes answer meanwhile. Should one not, its room's events are only easier to hear of.
    std::thread::sleep(Duration::from_millis(100));
    quick.iter().for_each(|&room| assert_eq!(owner.send(room, "hear this"), 3));
    others.iter_mut().for_each(|other| hears_of_all(other, quick, 3));
    std::thread::sleep(Duration::from_millis(500));
    keep.send(Kept::Nothing).unwrap();
    hears_of_all(&mut arriving, quick, 3);
}

/// A store that fails at that moment makes the session hear of it later, not never.
#[test]
fn once_its_rooms_can_be_read_again() {
    let (node, keep) = start();
    let mut owner = node.client(1);
    let room = owner.create_room(&[2, 3]);
    node.forget_rooms();
    keep.send(Kept::Failing(room)).unwrap();
    let mut arriving = node.client(3);
    std::thread::sleep(Duration::from_millis(500));
    keep.send(Kept::Nothing).unwrap();
    assert_eq!(owner.send(room, "hear this"), 2);
    hears_of_all(&mut arriving, &[room], 2);
}
