//! Meshes send each other numbered batches while the server is killed, restarted, frozen, and while who gets them is slow to
//! take them: each arrives once, and in the order in which it was sent. No peer is called lost for that.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use carillon_devservers::Nats;
use carillon_gateway::cluster::view::NodeId;

use crate::harness::{Got, TestMesh, meshes, next, send, view};

const BATCHES: u64 = 3_000;

/// Batch `number` of any sender: its number and some bytes; every 500th is larger than a datagram.
fn batch(number: u64) -> Vec<u8> {
    let len = if number.is_multiple_of(500) { 700_000 } else { (number as usize * 37) % 300 };
    let mut batch = number.to_be_bytes().to_vec();
    batch.resize(8 + len, number as u8);
    batch
}

/// Everyone sends to everyone else, as quickly as it goes, `meanwhile` something else happens.
fn everyone_talks(meshes: &mut [TestMesh], pause: Duration, meanwhile: impl FnOnce()) {
    let ids: Vec<NodeId> = meshes.iter().map(|mesh| mesh.id).collect();
    thread::scope(|scope| {
        for mesh in meshes {
            let others: Vec<NodeId> = ids.iter().copied().filter(|id| *id != mesh.id).collect();
            let outbox = mesh.mesh.outbox().clone();
            scope.spawn(move || {
                for number in 1..=BATCHES {
                    others.iter().for_each(|&to| send(&outbox, to, batch(number)));
                    if number.is_multiple_of(10) {
                        thread::sleep(pause);
                    }
                }
            });
            let senders = ids.len() as u64 - 1;
            scope.spawn(move || gets_everything(mesh, senders));
        }
        meanwhile();
    });
}

fn gets_everything(mesh: &mut TestMesh, senders: u64) {
    let mut last: HashMap<NodeId, u64> = HashMap::new();
    while last.values().sum::<u64>() < senders * BATCHES {
        match next(mesh) {
            Got::Batch(from, got) => {
                let last = last.entry(from).or_default();
                *last += 1;
                assert!(got == batch(*last), "{from} sent not that as number {last}: {:?}", &got[..8]);
            }
            Got::Opened(_) => {}
            Got::Lost(peer) => panic!("{peer} was lost"),
        }
    }
    assert!(mesh.got.try_iter().next().is_none(), "more than everything");
}

#[test]
fn two_in_peace() {
    let nats = Nats::start().unwrap();
    everyone_talks(&mut meshes(&nats, 2, 0), Duration::ZERO, || {});
}

#[test]
fn three_of_whom_none_takes_every_batch_at_once() {
    let nats = Nats::start().unwrap();
    everyone_talks(&mut meshes(&nats, 3, 7), Duration::ZERO, || {});
}

#[test]
fn three_while_the_server_is_killed_and_comes_back() {
    let mut nats = Nats::start().unwrap();
    let mut meshes = meshes(&nats, 3, 0);
    everyone_talks(&mut meshes, Duration::from_millis(10), || {
        for _ in 0..2 {
            thread::sleep(Duration::from_millis(500));
            nats.servers()[0].kill().unwrap();
            thread::sleep(Duration::from_millis(300));
            nats.servers()[0].restart().unwrap();
        }
    });
}

#[test]
fn two_while_the_server_is_frozen_for_longer_than_is_waited_for_it() {
    let mut nats = Nats::start().unwrap();
    let mut meshes = meshes(&nats, 2, 0);
    everyone_talks(&mut meshes, Duration::from_millis(10), || {
        thread::sleep(Duration::from_millis(500));
        nats.servers()[0].pause().unwrap();
        thread::sleep(Duration::from_secs(6));
        nats.servers()[0].resume().unwrap();
    });
}

#[test]
fn who_leaves_the_view_is_lost_and_who_comes_back_starts_anew() {
    let nats = Nats::start().unwrap();
    let meshes = meshes(&nats, 2, 0);
    let [one, two] = &meshes[..] else { unreachable!() };
    assert_eq!(next(one), Got::Opened(two.id));
    assert_eq!(next(two), Got::Opened(one.id));
    send(one.mesh.outbox(), two.id, b"before".into());
    assert_eq!(next(two), Got::Batch(one.id, b"before".into()));
    one.views.send_replace(view([1]));
    assert_eq!(next(one), Got::Lost(two.id));
    one.views.send_replace(view([1, 2]));
    assert_eq!(next(one), Got::Opened(two.id));
    assert_eq!(next(two), Got::Lost(one.id));
    assert_eq!(next(two), Got::Opened(one.id));
    send(one.mesh.outbox(), two.id, b"after".into());
    assert_eq!(next(two), Got::Batch(one.id, b"after".into()));
}

#[test]
fn who_is_not_there_costs_bounded_memory() {
    let nats = Nats::start().unwrap();
    let mesh = meshes(&nats, 1, 0).pop().unwrap();
    let nobody = NodeId::new(99).unwrap();
    let mut taken = 0;
    while mesh.mesh.outbox().send(nobody, vec![0; 10_000]).is_ok() {
        taken += 10_000;
    }
    assert!(taken <= 1 << 20, "{taken} bytes were taken");
    assert!(mesh.mesh.outbox().waiting_bytes(nobody) <= 1 << 20);
    assert_eq!(next(&mesh), Got::Lost(nobody));
    let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
    while mesh.mesh.outbox().waiting_bytes(nobody) > 0 {
        assert!(std::time::Instant::now() < deadline, "what was given up counts for ever");
        thread::sleep(Duration::from_millis(5));
    }
}
