//! However a connection ends (a reset in the middle of a frame, of its hello, of what is sent to it) nothing of it stays: no
//! row, no user in the directory, no subscription.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use carillon_protocol::Frame;
use socket2::SockRef;

use crate::harness::client_id;
use crate::victims::{Victims, bytes_of, connect, eventually, quick_node, session};

/// Ends the connection with a reset.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn reset_while_it_says_hello() {
    let node = quick_node(|_| {});
    let mut victims = Victims::on(&node);
    let hello = bytes_of(&Frame::Hello { token: node.token(66).into(), device: "phone".into(), agent: None });
    for len in (0..=hello.len()).chain(0..=hello.len()) {
        let mut stream = connect(&node);
        stream.write_all(&hello[..len]).unwrap();
        reset(stream);
    }
    victims.are_alone_and_well(&node);
}

#[test]
fn reset_in_the_middle_of_a_frame() {
    let node = quick_node(|_| {});
    let mut victims = Victims::on(&node);
    let mut client = node.client(66);
    let room = client.create_room(&[]);
    let send = bytes_of(&Frame::Send { request: 1, room, client_id: client_id(), text: "half".into() });
    for len in 0..=send.len() {
        let mut stream = session(&node, 66);
        stream.write_all(&send[..len]).unwrap();
        reset(stream);
    }
    drop(client);
    victims.are_alone_and_well(&node);
}

/// Small rooms go by the directory, large ones by subscription: both forget.
#[test]
fn reset_while_it_is_sent_to() {
    for inbox_limit in [64, 1] {
        let node = quick_node(|config| config.inbox_limit = inbox_limit);
        let mut victims = Victims::on(&node);
        let mut sender = node.client(1);
        let room = sender.create_room(&[2, 3]);
        for turn in 0..30 {
            let readers = [session(&node, 2), session(&node, 3), session(&node, 2)];
            sender.send(room, &format!("{turn} {}", "x".repeat(10_000)));
            readers.into_iter().for_each(reset);
            sender.send(room, "after they went");
        }
        drop(sender);
        victims.are_alone_and_well(&node);
        eventually(&node, "nobody subscribes", |stats| {
            stats["subscriptions"].as_u64() == Some(if inbox_limit == 1 { 2 } else { 0 })
        });
    }
}

/// What is said last may come in one packet with the end.
#[test]
fn gone_in_the_moment_it_speaks() {
    let node = quick_node(|_| {});
    let mut victims = Victims::on(&node);
    let typing = bytes_of(&Frame::Pong { stamp: 1 });
    for _ in 0..500 {
        session(&node, 66).write_all(&typing).unwrap();
    }
    victims.are_alone_and_well(&node);
}

#[test]
fn thousands_of_times() {
    let node = quick_node(|_| {});
    let mut victims = Victims::on(&node);
    for round in 0..3_000 {
        let stream = match round % 3 {
            0 => connect(&node),
            _ => session(&node, 66 + round % 7),
        };
        if round % 2 == 0 {
            reset(stream);
        }
    }
    victims.are_alone_and_well(&node);
}
