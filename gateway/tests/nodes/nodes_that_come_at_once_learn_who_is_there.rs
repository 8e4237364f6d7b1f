//! Nodes that come, and go, at the same moment take over homes one after another and back: whoever is a home in the end knows of
//! every session, whatever it heard of them before it was one.

use carillon_protocol::Frame;

use crate::cluster::Cluster;
use crate::harness::{Client, until};

/// How many users have a session on the node that stays.
const USERS: u64 = 60;

#[test]
fn of_users_in_rooms_small_and_large() {
    let mut cluster = Cluster::start_with(1, |config| config.inbox_limit = 8);
    let mut clients: Vec<Client> = (1..=USERS).map(|user| cluster.client(0, user)).collect();
    let all: Vec<u64> = (2..=USERS).collect();
    let large = clients[0].create_room(&all);
    let small: Vec<_> = all.iter().map(|&user| clients[0].create_room(&[user])).collect();
    let mut last_seq = 1;
    for _ in 0..3 {
        cluster.join_together(2, |config| config.inbox_limit = 8);
        cluster.settle();
        // Who sends is on a node that came: all the others hear of it by their homes.
        let mut sender = cluster.client(1, 1);
        last_seq += 1;
        for &room in small.iter().chain([&large]) {
            assert_eq!(sender.send(room, "to everyone"), last_seq);
        }
        for (client, room) in clients[1..].iter_mut().zip(&small) {
            let mut missing = vec![*room, large];
            until("a session hears of both rooms", || {
                for frame in client.so_far() {
                    if let Frame::Event(event) = frame {
                        missing.retain(|&room| room != event.room || event.seq < last_seq);
                    }
                }
                missing.is_empty()
            });
        }
        std::thread::scope(|scope| {
            for mut node in cluster.nodes.drain(1..) {
                scope.spawn(move || node.stop());
            }
        });
        cluster.settle();
    }
}
