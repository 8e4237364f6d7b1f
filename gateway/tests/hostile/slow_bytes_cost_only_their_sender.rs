//! A byte at a time is no crime: a hello that is whole in time is welcome, one that is not is ended with 4500, and a frame
//! that takes its time holds up nobody.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use carillon_protocol::{CloseCode, ErrorCode, Frame};

use crate::harness::{Node, client_id};
use crate::victims::{Victims, bytes_of, connect, frames, quick_node, read_to_end};

fn hello(node: &Node) -> Vec<u8> {
    bytes_of(&Frame::Hello { token: node.token(66).into(), device: "slow".into(), agent: None })
}

/// Each byte a packet of its own.
fn trickle(stream: &mut TcpStream, bytes: &[u8]) {
    for byte in bytes {
        stream.write_all(std::slice::from_ref(byte)).unwrap();
        std::thread::sleep(Duration::from_micros(100));
    }
}

#[test]
fn a_hello_in_time() {
    let node = quick_node(|_| {});
    let mut stream = connect(&node);
    trickle(&mut stream, &hello(&node));
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(matches!(frames(&read_to_end(&mut stream))[0], Frame::Welcome { .. }));
}

#[test]
fn a_hello_too_late() {
    let node = quick_node(|config| config.handshake_timeout_ms = 300);
    let mut victims = Victims::on(&node);
    let hello = hello(&node);
    let mut stream = connect(&node);
    trickle(&mut stream, &hello[..hello.len() - 1]);
    let heard = frames(&read_to_end(&mut stream));
    assert!(
        matches!(heard[..], [Frame::Error { request: 0, code: ErrorCode(code), .. }] if code == CloseCode::HELLO_TIMEOUT.0),
        "{heard:?}"
    );
    drop(stream);
    victims.are_alone_and_well(&node);
}

#[test]
fn a_frame_of_a_session() {
    let node = quick_node(|_| {});
    let mut victims = Victims::on(&node);
    let mut client = node.client(66);
    let room = client.create_room(&[]);
    let send = Frame::Send { request: 1, room, client_id: client_id(), text: "x".repeat(200).into() };
    for byte in bytes_of(&send) {
        client.stream.write_all(&[byte]).unwrap();
        victims.exchange();
    }
    assert!(matches!(client.answer(1), Frame::Ack { seq: 2, .. }));
    drop(client);
    victims.are_alone_and_well(&node);
}
