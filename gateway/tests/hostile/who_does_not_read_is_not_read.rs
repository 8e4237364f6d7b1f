//! A client that asks and asks and never takes an answer: the node stops reading it when as much waits for it as may, so
//! that it costs a bounded part of memory, and ends it after the idle time with 4002. One that only says nothing ends with
//! 4001.

use std::io::Write;

use carillon_protocol::id::INT_MAX;
use carillon_protocol::{CloseCode, ErrorCode, Frame, RoomId};
use tungstenite::Message;

use crate::harness::{Node, client_id};
use crate::victims::{Victims, bytes_of, eventually, frames, quick_node, read_to_end, session, websocket};

/// Text enough that a page of history is as large as pages get.
const TEXT_BYTES: usize = 16_000;

/// A room with more than a page of history.
fn long_room(node: &Node, member: u64) -> RoomId {
    let mut writer = node.client(1);
    let room = writer.create_room(&[member]);
    for _ in 0..20 {
        writer.send(room, &"x".repeat(TEXT_BYTES));
    }
    room
}

#[test]
fn over_raw_tcp() {
    let node = quick_node(|config| {
        config.idle_timeout_ms = 1_000;
        config.handshake_timeout_ms = 300;
    });
    let room = long_room(&node, 66);
    let mut stream = session(&node, 66);
    let before = eventually(&node, "the writer has left", |stats| stats["connections"] == 1);
    let asks = [
        Frame::Sync { request: 1, room, after_seq: 1, limit: 0 },
        Frame::Rooms { request: 2, changed_since: 0, limit: 0, page: None },
        Frame::Members { request: 3, room, after_user: 0, limit: 0 },
        Frame::Send { request: 4, room, client_id: client_id(), text: "and more".into() },
    ];
    let asks = asks.iter().flat_map(bytes_of).collect::<Vec<u8>>().repeat(10_000);
    // Until it is ended: then nobody takes the rest.
    while stream.write_all(&asks).is_ok() {}
    let after = eventually(&node, "it was too slow", |stats| {
        stats["closed"]["slow"] == 1 && stats["connections"] == 0
    });
    let asked = after["frames"].as_u64().unwrap() - before["frames"].as_u64().unwrap();
    // What the kernel holds for both sides is answered, and some more; a read takes thousands of such frames.
    assert!(asked < 1_000, "{asked} requests were read");
    Victims::on(&node).are_alone_and_well(&node);
}

/// In one message there is no stopping: what is asked for beyond the bound is refused.
#[test]
fn over_websocket() {
    let node = quick_node(|_| {});
    let room = long_room(&node, 66);
    let mut victims = Victims::on(&node);
    let mut socket = websocket(&node, "carillon.v1");
    let hello = Frame::Hello { token: node.token(66).into(), device: "greedy".into(), agent: None };
    socket.send(Message::binary(bytes_of(&hello))).unwrap();
    let sync = |request| bytes_of(&Frame::Sync { request, room, after_seq: 1, limit: INT_MAX });
    const ASKED: u64 = 1_500;
    socket.send(Message::binary((1..=ASKED).flat_map(sync).collect::<Vec<u8>>())).unwrap();
    let (mut pages, mut busy) = (0, 0);
    while pages + busy < ASKED {
        let Message::Binary(message) = socket.read().unwrap() else { continue };
        for frame in frames(&message) {
            match frame {
                Frame::Events { .. } => pages += 1,
                Frame::Error { code, retry_after_ms, .. } => {
                    assert_eq!(code, ErrorCode::BUSY);
                    assert!(retry_after_ms.is_some());
                    busy += 1;
                }
                _ => {}
            }
        }
    }
    let pages_max = node.config().outbox_bytes_max / carillon_gateway::command::sync::PAGE_BYTES + 1;
    assert!(pages as usize <= pages_max, "{pages} pages");
    drop(socket);
    victims.are_alone_and_well(&node);
}

#[test]
fn in_silence() {
    let node = quick_node(|config| config.idle_timeout_ms = 400);
    let heard = frames(&read_to_end(&mut session(&node, 66)));
    let last = heard.last();
    assert!(
        matches!(last, Some(Frame::Error { request: 0, code: ErrorCode(code), .. }) if *code == CloseCode::IDLE.0),
        "{last:?}"
    );
    eventually(&node, "it has gone", |stats| stats["closed"]["idle"] == 1 && stats["connections"] == 0);
}
