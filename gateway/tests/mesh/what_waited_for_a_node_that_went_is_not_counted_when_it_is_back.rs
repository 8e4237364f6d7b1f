//! A node may be away for a moment while batches for it are on their way to the mesh: when it is back, what waits for it is
//! counted from nothing, and batches pass.

use std::time::{Duration, Instant};

use carillon_devservers::Nats;

use crate::harness::{Got, meshes, send, view};

#[test]
fn however_often_it_comes_and_goes() {
    let nats = Nats::start().unwrap();
    let mut meshes = meshes(&nats, 2, 0);
    let other = meshes.pop().unwrap();
    let mesh = meshes.pop().unwrap();
    let outbox = mesh.mesh.outbox().clone();
    for round in 0..40 {
        std::thread::scope(|scope| {
            scope.spawn(|| (0..4_000).for_each(|_| drop(outbox.send(other.id, vec![0; 100]))));
            std::thread::sleep(Duration::from_micros(20 * round));
            mesh.views.send(view([1])).unwrap();
            std::thread::sleep(Duration::from_millis(2));
            mesh.views.send(view([1, 2])).unwrap();
        });
        send(&outbox, other.id, round.to_be_bytes().to_vec());
        let begun = Instant::now();
        loop {
            match other.got.recv_timeout(Duration::from_secs(20)) {
                Ok(Got::Batch(_, batch)) if batch == round.to_be_bytes() => break,
                Ok(_) => {}
                Err(error) => panic!("nothing comes any more in round {round}: {error}"),
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "round {round} never came through");
        }
    }
    while outbox.waiting_bytes(other.id) > 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
}
