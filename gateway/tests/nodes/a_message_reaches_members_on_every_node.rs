//! Whoever sends and wherever they are: everyone hears everything, in one order and once; in small rooms, which go by the
//! members' homes, and in large ones, which go by their sessions' interest.

use crate::cluster::{Cluster, hears};
use crate::harness::Client;
use carillon_gateway::config::Config;

fn limit(inbox_limit: usize) -> impl Fn(&mut Config) {
    move |config| config.inbox_limit = inbox_limit
}

#[test]
fn in_rooms_small_and_large() {
    for inbox_limit in [64, 2] {
        let cluster = Cluster::start_with(3, limit(inbox_limit));
        // One on each node, and a second device of the first on another.
        let mut clients: Vec<Client> = (0..3).map(|node| cluster.client(node, node as u64 + 1)).collect();
        clients.push(cluster.client(1, 1));
        // Rooms' homes are on all nodes.
        for _ in 0..12 {
            let room = clients[0].create_room(&[2, 3]);
            for turn in 0..4 {
                for (sender, client) in (0..).zip(&mut clients[..3]) {
                    assert_eq!(client.send(room, "hello"), 2 + 3 * turn + sender);
                }
            }
            for client in &mut clients {
                hears(client, &[room], 13);
            }
            let history = clients[2].history(room, 0);
            assert_eq!(
                history.iter().map(|event| event.seq).collect::<Vec<_>>(),
                (1..=13).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn a_second_device_elsewhere_replaces_the_session_it_had() {
    let cluster = Cluster::start(2);
    let mut first = cluster.nodes[0].client_on(7, "phone");
    let mut second = cluster.nodes[1].client_on(7, "phone");
    first.hear_out();
    assert!(second.rooms().is_empty());
}

#[test]
fn unread_counts_and_lists_are_the_same_on_every_node() {
    let cluster = Cluster::start(3);
    let mut ann = cluster.client(0, 1);
    let mut bob = cluster.client(1, 2);
    let mut bob_elsewhere = cluster.client(2, 2);
    for count in 1..=6 {
        let room = ann.create_room(&[2]);
        for _ in 0..count {
            ann.send(room, "unread");
        }
        assert_eq!(bob.entry(room).unwrap().unread, count);
        assert_eq!(bob_elsewhere.entry(room).unwrap().unread, count);
        bob.mark_read(room, count);
        assert_eq!(bob_elsewhere.entry(room).unwrap().unread, 1);
    }
    assert_eq!(bob.rooms().len(), 6);
}
