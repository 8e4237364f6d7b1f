//! Nodes that share a store in a CQL server: each event is archived once, by the home of its room, and the log is trimmed of it. When nodes
//! leave, are killed or come, others go on from where the store is, and whoever comes reads everything from there.

use std::time::Duration;

use carillon_protocol::RoomId;

use crate::cluster::Cluster;
use crate::harness::{Client, Node, until};
use crate::shared_store::{on, server, third};

const ROOMS: usize = 24;

fn archived(nodes: &[Node], name: &str) -> u64 {
    nodes.iter().map(|node| node.stats()["archive"][name].as_u64().unwrap()).sum()
}

fn send_to_all(client: &mut Client, rooms: &[RoomId], text: &str) {
    rooms.iter().for_each(|&room| _ = client.send(room, text));
}

fn is_whole(client: &mut Client, rooms: &[RoomId], last_seq: u64) {
    for &room in rooms {
        let seqs: Vec<_> = client.history(room, 0).iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=last_seq).collect::<Vec<_>>());
    }
}

#[test]
fn once_each_and_the_log_is_trimmed() {
    let server = server();
    let mut cluster = Cluster::start_with(3, on(&server.address()));
    let mut ann = cluster.client(0, 1);
    let rooms: Vec<_> = (0..ROOMS).map(|_| ann.create_room(&[2])).collect();
    for _ in 0..9 {
        send_to_all(&mut ann, &rooms, &"something to be trimmed".repeat(40));
    }
    until("all is archived", || archived(&cluster.nodes, "lag_events") == 0);
    assert_eq!(archived(&cluster.nodes, "events"), 10 * ROOMS as u64);
    assert!(cluster.nodes.iter().all(|node| node.stats()["archive"]["events"].as_u64() > Some(0)));
    // Of each partition the last message stays.
    let bytes = 9 * 40 * 20 * ROOMS as u64;
    until("the log is trimmed", || {
        cluster.nodes[0].stats()["log"]["bytes_on_disk"].as_u64() < Some(bytes / 2)
    });

    cluster.nodes.pop().unwrap().stop();
    cluster.settle();
    send_to_all(&mut ann, &rooms, "of two");
    cluster.join(on(&server.address()));
    cluster.settle();
    send_to_all(&mut ann, &rooms, "of three");
    until("all is archived", || archived(&cluster.nodes, "lag_events") == 0);
    // Long enough for rooms to be forgotten: what comes now is from the store.
    std::thread::sleep(Duration::from_secs(1));
    is_whole(&mut cluster.client(2, 2), &rooms, 12);
    assert_eq!(cluster.client(1, 2).rooms().len(), ROOMS);
    assert_eq!(archived(&cluster.nodes, "dead_letters") + archived(&cluster.nodes, "failures_in_a_row"), 0);
}

#[test]
fn also_what_a_home_had_not_archived_when_it_was_killed() {
    let server = server();
    let mut cluster = Cluster::start_with(2, on(&server.address()));
    let mut third = third(&cluster, &server, &[]);
    let mut ann = cluster.client(0, 1);
    let rooms: Vec<_> = (0..ROOMS).map(|_| ann.create_room(&[2])).collect();
    for _ in 0..5 {
        send_to_all(&mut ann, &rooms, "it may die now");
    }
    // What is acknowledged and not in the store is for the next home to bring there.
    server.pause().unwrap();
    send_to_all(&mut ann, &rooms, "while the store is away");
    third.server.kill().unwrap();
    server.resume().unwrap();
    cluster.settle();
    send_to_all(&mut ann, &rooms, "afterwards");
    until("all is archived", || archived(&cluster.nodes, "lag_events") == 0);
    std::thread::sleep(Duration::from_secs(1));
    is_whole(&mut cluster.client(1, 2), &rooms, 8);
    cluster.join(on(&server.address()));
    cluster.settle();
    is_whole(&mut cluster.client(2, 2), &rooms, 8);
}
