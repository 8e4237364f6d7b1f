//! What is no TLS, or no handshake, is answered with an alert and ended; random bytes before, within and after a handshake harm
//! nobody.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::client::{TLS12, TLS13, TlsNode, client_hello, stream, trusting};
use crate::victims::{Victims, read_to_end};

/// A fatal alert in the clear: its description.
fn alert(answer: &[u8]) -> u8 {
    match answer[..] {
        [21, 3, _, 0, 2, 2, description] => description,
        _ => panic!("no fatal alert alone: {answer:02x?}"),
    }
}

fn answer_to(node: &TlsNode, bytes: &[u8]) -> Vec<u8> {
    let mut socket = node.connect();
    // It may be ended before all is said.
    let _ = socket.write_all(bytes);
    read_to_end(&mut socket)
}

/// A record of that type.
fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1][..], &(payload.len() as u16).to_be_bytes(), payload].concat()
}

#[test]
fn of_the_kind_that_fits() {
    const DECODE_ERROR: u8 = 50;
    const UNEXPECTED_MESSAGE: u8 = 10;
    let node = TlsNode::start();
    let mut victims = Victims::on(&node.node);
    let http = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n";
    assert_eq!(alert(&answer_to(&node, http)), DECODE_ERROR);
    assert_eq!(alert(&answer_to(&node, &[0xff; 100])), DECODE_ERROR);
    // Larger than a record may be.
    assert_eq!(alert(&answer_to(&node, &[&[22, 3, 1, 0xff, 0xff][..], &[0; 100]].concat())), DECODE_ERROR);
    // A record that is whole, and no hello within.
    assert_eq!(alert(&answer_to(&node, &record(22, &[1, 0, 0, 2, 0, 0]))), DECODE_ERROR);
    assert_eq!(alert(&answer_to(&node, &record(22, &[14, 0, 0, 0]))), UNEXPECTED_MESSAGE);
    assert_eq!(alert(&answer_to(&node, &record(23, b"hello"))), UNEXPECTED_MESSAGE);
    // A hello that says to be larger than any, and one that goes on for ever in small pieces.
    assert_eq!(alert(&answer_to(&node, &record(22, &[1, 0xff, 0xff, 0xff, 0]))), DECODE_ERROR);
    let piece = record(22, &[0; 100]);
    let endless = [record(22, &[1, 0, 0xff, 0xff]), piece.repeat(1_000)].concat();
    assert_eq!(alert(&answer_to(&node, &endless)), DECODE_ERROR);
    let tiny = [record(22, &[1, 0, 0xff, 0xff]), record(22, &[0]).repeat(20_000)].concat();
    assert_eq!(alert(&answer_to(&node, &tiny)), DECODE_ERROR);
    victims.are_alone_and_well(&node.node);
    assert_eq!(crate::victims::stats(&node.node)["tls_failed"], 9);
}

fn noise(bytes: impl Strategy<Value = Vec<u8>>, say: impl Fn(&TlsNode, Vec<u8>)) {
    let node = TlsNode::start();
    let mut victims = Victims::on(&node.node);
    let config = ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&bytes, |bytes| {
            say(&node, bytes);
            Ok(())
        })
        .unwrap();
    victims.are_alone_and_well(&node.node);
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..1_000)
}

/// Records whose headers are right.
fn record_like() -> impl Strategy<Value = Vec<u8>> {
    let one = (20_u8..25, vec(any::<u8>(), 0..60)).prop_map(|(kind, payload)| record(kind, &payload));
    vec(one, 1..20).prop_map(|records| records.concat())
}

#[test]
fn from_strangers() {
    noise(prop_oneof![any_bytes(), record_like()], |node, bytes| {
        let mut socket = node.connect();
        let _ = socket.write_all(&bytes);
        let _ = socket.shutdown(Shutdown::Write);
        read_to_end(&mut socket);
    });
}

/// A good hello of which a few bytes are others.
#[test]
fn within_a_hello() {
    noise(vec(any::<u8>(), 8), |node, bytes| {
        let mut hello = client_hello(node);
        for place in bytes.chunks(2) {
            let at = (usize::from(place[0]) * 7) % hello.len();
            hello[at] ^= place[1];
        }
        let mut socket = node.connect();
        let _ = socket.write_all(&hello);
        let _ = socket.shutdown(Shutdown::Write);
        read_to_end(&mut socket);
    });
}

/// After hands are shaken, and again while an answer is on its way.
#[test]
fn in_a_session() {
    for versions in [TLS13, TLS12] {
        noise(prop_oneof![any_bytes(), record_like()], |node, bytes| {
            let mut stream = stream(&Arc::new(trusting(node.files.path(), versions)), node.connect());
            stream.conn.complete_io(&mut stream.sock).unwrap();
            if bytes.len() % 2 == 0 {
                stream.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").unwrap();
            }
            let _ = stream.sock.write_all(&bytes);
            let _ = stream.sock.shutdown(Shutdown::Write);
            let _ = stream.sock.read_to_end(&mut Vec::new());
        });
    }
}
