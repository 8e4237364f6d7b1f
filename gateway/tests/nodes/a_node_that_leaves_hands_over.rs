//! A node that is stopped in order hands over what it was the home of, and one that comes gets its share: those who send
//! meanwhile wait a little, and nothing is refused, lost or doubled.

use std::sync::atomic::{AtomicBool, Ordering};

use carillon_protocol::Frame;

use crate::cluster::{Cluster, hears};
use crate::harness::{Client, client_id};

#[test]
fn while_members_send_on_the_others() {
    let mut cluster = Cluster::start(3);
    let mut ann = cluster.client(0, 1);
    let mut bob = cluster.client(1, 2);
    let rooms: Vec<_> = (0..16).map(|_| ann.create_room(&[2])).collect();
    let stop = AtomicBool::new(false);
    let sent = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                for &room in &rooms {
                    ann.send(room, "still here");
                }
                sent += 1;
            }
            sent
        });
        cluster.nodes.pop().unwrap().stop();
        cluster.join(|_| {});
        std::thread::sleep(std::time::Duration::from_secs(3));
        stop.store(true, Ordering::Relaxed);
        sender.join().unwrap()
    });
    for &room in &rooms {
        let seqs: Vec<u64> = bob.history(room, 0).iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=sent + 1).collect::<Vec<_>>());
    }
    hears(&mut bob, &rooms, sent + 1);
}

/// Requests come all the time, also in the very turn in which a shard begins to decide about their partition.
#[test]
fn while_many_ask_at_once() {
    let mut cluster = Cluster::start(2);
    let mut clients: Vec<Client> =
        (0..8).map(|number| cluster.client(number % 2, number as u64 + 1)).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| {
                let rooms: Vec<_> = (0..8).map(|_| client.create_room(&[])).collect();
                while !stop.load(Ordering::Relaxed) {
                    let send = |&room| {
                        let (client_id, text) = (client_id(), "at once".into());
                        client.start(|request| Frame::Send { request, room, client_id, text })
                    };
                    let asked: Vec<u64> = rooms.iter().map(send).collect();
                    for request in asked {
                        let answer = client.answer(request);
                        assert!(matches!(answer, Frame::Ack { .. }), "{answer:?}");
                    }
                    client.aside.clear();
                }
            });
        }
        for _ in 0..3 {
            cluster.join(|_| {});
            cluster.settle();
            cluster.nodes.pop().unwrap().stop();
            cluster.settle();
        }
        stop.store(true, Ordering::Relaxed);
    });
}
