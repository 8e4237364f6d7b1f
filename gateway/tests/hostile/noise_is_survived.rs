//! Random bytes, bare, as the body of well-begun frames, in sessions and as HTTP: the node lives, and nobody else notices.

use std::io::Write;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::victims::{Victims, connect, quick_node, read_to_end, session};

/// Says each of many random things, the seed fixed, on a connection of its own that `begin` opens.
fn noise(
    cases: u32,
    bytes: impl Strategy<Value = Vec<u8>>,
    begin: impl Fn(&crate::harness::Node) -> std::net::TcpStream,
) {
    let node = quick_node(|_| {});
    let mut victims = Victims::on(&node);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let said = TestRunner::new(config).run(&bytes, |bytes| {
        let mut stream = begin(&node);
        // The node may have ended it before all was said.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        read_to_end(&mut stream);
        Ok(())
    });
    said.unwrap();
    victims.are_alone_and_well(&node);
}

fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..2_000)
}

/// Kind, flags, a length that is right, and anything.
fn frame_like() -> impl Strategy<Value = Vec<u8>> {
    let frame = (0_u8..0x10, any::<u8>(), vec(any::<u8>(), 0..60))
        .prop_map(|(kind, flags, body)| [&[kind, flags, body.len() as u8][..], &body].concat());
    vec(frame, 1..20).prop_map(|frames| frames.concat())
}

fn http_like() -> impl Strategy<Value = Vec<u8>> {
    let header = "(Host|Upgrade|Connection|Sec-WebSocket-Key|Sec-WebSocket-Version|X)?:? ?[ -~]{0,30}\r?\n";
    let head = (r"(GET|HEAD|POST|[A-Z]{0,9}) ?/?[!-~]{0,20} ?(HTTP/1.[019])?\r?\n", vec(header, 0..6));
    (head, any_bytes()).prop_map(|((line, headers), rest)| {
        [line.as_bytes(), headers.concat().as_bytes(), b"\r\n", &rest].concat()
    })
}

#[test]
fn from_strangers() {
    noise(2_000, any_bytes(), connect);
}

#[test]
fn that_begins_like_a_hello() {
    noise(2_000, frame_like().prop_map(|bytes| [&[1], &bytes[1..]].concat()), connect);
}

#[test]
fn in_a_session() {
    noise(2_000, prop_oneof![any_bytes(), frame_like()], |node| session(node, 66));
}

#[test]
fn over_http() {
    noise(2_000, http_like(), connect);
}
