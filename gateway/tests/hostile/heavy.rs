//! As many connections as descriptors allow that begin something and never end it: clients still get in meanwhile, and once
//! their time is over nothing of them is left.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use carillon_protocol::Frame;
use socket2::{Domain, Socket, Type};

use crate::victims::{Victims, bytes_of, eventually, quick_node};

/// Half-open connections, at most; each takes a descriptor on either side.
const MAX: u64 = 10_000;
/// Descriptors left to everyone else in this process.
const SPARE: u64 = 2_000;

#[test]
fn half_open_connections_do_not_stay() {
    let node = quick_node(|config| config.handshake_timeout_ms = 2_000);
    let mut victims = Victims::on(&node);
    let hello = bytes_of(&Frame::Hello { token: node.token(66).into(), device: "half".into(), agent: None });
    let begun: [&[u8]; 4] = [b"", b"GET /v1/ws HTTP/1.1\r\nhost: he", &hello[..hello.len() / 2], &hello[..1]];
    let count = (descriptors().saturating_sub(SPARE) / 2).min(MAX);
    let mut half_open = Vec::new();
    for number in 0..count {
        let mut stream = connect_from(1 + number % 200, node.address);
        // Those before may be gone by now; this one is new.
        stream.write_all(begun[number as usize % begun.len()]).unwrap();
        half_open.push(stream);
        if number % 500 == 0 {
            victims.exchange();
            node.client(67).create_room(&[]);
        }
    }
    victims.exchange();
    let stats = eventually(&node, "all of them are gone", |stats| stats["connections"] == 2);
    assert_eq!(stats["closed"]["hello_timeout"].as_u64(), Some(count), "each was told, or would have been");
    drop(half_open);
    victims.are_alone_and_well(&node);
}

/// From another address, so that there are ports enough.
fn connect_from(last: u64, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, last as u8], 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

/// How many descriptors this process may have.
fn descriptors() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap()
}
