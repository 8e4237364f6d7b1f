//! Who has not shaken hands and said hello in time is let go, wherever they stopped; and they count as connections meanwhile.

use std::io::Write;
use std::sync::Arc;

use crate::client::{TLS13, TlsNode, client_hello, stream, trusting};
use crate::victims::{Victims, connect, read_to_end};

#[test]
fn wherever_it_stopped() {
    let node = TlsNode::start_with(|config| config.handshake_timeout_ms = 300);
    let mut victims = Victims::on(&node.node);
    let hello = client_hello(&node);
    let mut strangers: Vec<_> = (0..=hello.len())
        .step_by(hello.len() / 7)
        .map(|len| {
            let mut socket = node.connect();
            socket.write_all(&hello[..len]).unwrap();
            socket
        })
        .collect();
    // Hands are shaken, and nothing is said.
    let mut silent = stream(&Arc::new(trusting(node.files.path(), TLS13)), node.connect());
    silent.flush().unwrap();
    strangers.iter_mut().for_each(|socket| drop(read_to_end(socket)));
    assert_eq!(std::io::Read::read(&mut silent, &mut [0]).unwrap(), 0);
    drop((strangers, silent));
    victims.are_alone_and_well(&node.node);
}

#[test]
fn and_counts_among_the_connections() {
    let node = TlsNode::start_with(|config| config.connections_max = 20);
    let hello = client_hello(&node);
    let strangers: Vec<_> = (0..20)
        .map(|_| {
            let mut socket = node.connect();
            socket.write_all(&hello[..100]).unwrap();
            socket
        })
        .collect();
    // Nobody has space any more, so nobody can ask for the counts.
    crate::harness::until("all are in", || node.node.count("connections") == 20);
    let mut late = connect(&node.node);
    late.write_all(b"GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n").unwrap();
    let answer = String::from_utf8(read_to_end(&mut late)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    // Over TLS they are told the same.
    let mut late = stream(&Arc::new(trusting(node.files.path(), TLS13)), node.connect());
    late.write_all(b"GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n").unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut late, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    drop(strangers);
    crate::harness::until("all are gone", || node.node.count("connections") == 0);
}
