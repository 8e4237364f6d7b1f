//! Who comes after the last place is taken is told so: 503 over HTTP, an error with 4003 over raw TCP. As soon as another
//! has gone there is a place again. Each address counts for itself.

use std::net::{SocketAddr, TcpStream};

use carillon_protocol::{CloseCode, ErrorCode, Frame};
use socket2::{Domain, Socket, Type};

use crate::harness::{Client, Node};
use crate::victims::{PATIENCE, bytes_of, connect, frames, http, quick_node, read_to_end, say_last};

fn hello(node: &Node) -> Vec<u8> {
    bytes_of(&Frame::Hello { token: node.token(66).into(), device: "one more".into(), agent: None })
}

/// What a further client hears.
fn assert_refused(mut stream: TcpStream, node: &Node) {
    let heard = say_last(&mut stream, &hello(node));
    assert!(
        matches!(heard[..], [Frame::Error { request: 0, code: ErrorCode(code), .. }] if code == CloseCode::OVERLOADED.0),
        "{heard:?}"
    );
}

/// Comes again until there is a place.
fn get_in(node: &Node) {
    let begun = std::time::Instant::now();
    loop {
        let heard = say_last(&mut connect(node), &hello(node));
        if matches!(heard[..], [Frame::Welcome { .. }, ..]) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "no place came free: {heard:?}");
    }
}

#[test]
fn on_the_node() {
    let node = quick_node(|config| config.connections_max = 3);
    let mut clients: Vec<Client> = (1..=3).map(|number| node.client(number)).collect();
    for _ in 0..20 {
        assert_refused(connect(&node), &node);
        assert!(http(&node, "GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n").starts_with("HTTP/1.1 503 "));
    }
    let room = clients[0].create_room(&[2]);
    assert_eq!(clients[0].send(room, "we who are in do not notice"), 2);
    clients.pop();
    get_in(&node);
}

#[test]
fn from_one_address() {
    let node = quick_node(|config| config.connections_per_ip_max = 2);
    let mut here = [node.client(1), node.client(2)];
    assert_refused(connect(&node), &node);
    let mut there = connect_from("127.0.0.2:0", node.address);
    let heard = say_last(&mut there, &hello(&node));
    assert!(matches!(heard[..], [Frame::Welcome { .. }, ..]), "{heard:?}");
    here[0].create_room(&[]);
    drop(here);
    get_in(&node);
}

fn connect_from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&source.parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

/// One who is refused and says nothing is let go all the same.
#[test]
fn in_silence() {
    let node = quick_node(|config| {
        config.connections_max = 1;
        config.handshake_timeout_ms = 200;
    });
    let _client = node.client(1);
    let mut silent: Vec<_> = (0..50).map(|_| connect(&node)).collect();
    for stream in &mut silent {
        assert!(frames(&read_to_end(stream)).is_empty());
    }
}
