//! A client of another make and a real node: both subprotocols, in fragments, and beside raw TCP.

use std::net::TcpStream;

use carillon_protocol::{Decoded, Frame, decode, encode};
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use crate::harness::{Node, room};

fn connect(node: &Node, subprotocol: &str) -> WebSocket<TcpStream> {
    let mut request = format!("ws://{}/v1/ws", node.address).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", subprotocol.parse().unwrap());
    let stream = TcpStream::connect(node.address).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let (socket, answer) = tungstenite::client(request, stream).unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], subprotocol);
    socket
}

fn say(socket: &mut WebSocket<TcpStream>, frame: &Value) {
    socket.send(Message::text(frame.to_string())).unwrap();
}

/// The next frame of that kind.
fn hear(socket: &mut WebSocket<TcpStream>, kind: &str) -> Value {
    loop {
        if let Message::Text(text) = socket.read().unwrap() {
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["kind"] == kind {
                return frame;
            }
        }
    }
}

#[test]
fn who_sends_pings_of_the_websocket_is_there() {
    let node = Node::start_with(|config| {
        config.ping_interval_ms = 100;
        config.idle_timeout_ms = 500;
    });
    let mut sockets: Vec<_> = (1..=2).map(|_| connect(&node, "carillon.v1.json")).collect();
    for (user, socket) in (1..).zip(&mut sockets) {
        say(socket, &json!({"kind": "hello", "token": node.token(user), "device": "console"}));
    }
    let [pings, silent] = &mut sockets[..] else { panic!() };
    // The other one is closed meanwhile: so this one was silent for long enough.
    let mut kinds = ["ping", "pong"].into_iter().cycle();
    while node.closed("idle") == 0 {
        let payload = "there?".into();
        let message =
            if kinds.next() == Some("ping") { Message::Ping(payload) } else { Message::Pong(payload) };
        pings.send(message).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(std::iter::repeat_with(|| silent.read().unwrap()).any(|message| message.is_close()));
    say(pings, &json!({"kind": "ping", "stamp": 5}));
    assert_eq!(hear(pings, "pong")["stamp"], 5);
}

#[test]
fn json_and_raw_tcp_in_one_room() {
    let node = Node::start();
    let mut socket = connect(&node, "carillon.v1.json");
    say(&mut socket, &json!({"kind": "hello", "token": node.token(1), "device": "console"}));
    assert_eq!(hear(&mut socket, "welcome")["user"], 1);
    let mut other = node.client(2);
    let room = room();
    say(
        &mut socket,
        &json!({"kind": "create_room", "request": 1, "room": room, "name": "tower", "members": [2]}),
    );
    assert_eq!(hear(&mut socket, "ack")["seq"], 1);
    assert_eq!(other.event().seq, 1);
    assert_eq!(other.send(room, "ding \"dong\" 🔔"), 2);
    let event = loop {
        let event = hear(&mut socket, "event");
        if event["seq"] == 2 {
            break event;
        }
    };
    assert_eq!(
        (event["event"].as_str(), event["text"].as_str()),
        (Some("message"), Some("ding \"dong\" 🔔"))
    );
    assert_eq!(event["sender"], 2);
    // What is no frame is answered, and the next one is read all the same.
    say(&mut socket, &json!({"kind": "no_such_thing"}));
    assert_eq!(hear(&mut socket, "error")["code"], 200);
    say(&mut socket, &json!({"kind": "rooms", "request": 2, "changed_since": 0, "limit": 0}));
    let rooms = hear(&mut socket, "room_list");
    assert_eq!(rooms["rooms"][0]["unread"], 1);
    socket.close(None).unwrap();
    assert!(matches!(socket.read(), Ok(Message::Close(_)) | Err(_)));
}

#[test]
fn several_binary_frames_in_one_message() {
    let node = Node::start();
    let mut socket = connect(&node, "carillon.v1");
    let mut bytes = Vec::new();
    let hello = Frame::Hello { token: node.token(1).into(), device: "d".into(), agent: None };
    encode(&hello, &mut bytes);
    encode(&Frame::Ping { stamp: 7, heads: Vec::new() }, &mut bytes);
    encode(&Frame::Ping { stamp: 8, heads: Vec::new() }, &mut bytes);
    socket.send(Message::binary(bytes)).unwrap();
    let mut heard = Vec::new();
    while heard.len() < 3 {
        let Message::Binary(message) = socket.read().unwrap() else { continue };
        let mut frames = &message[..];
        while let Ok(Decoded::Frame { frame, used }) = decode(frames, usize::MAX) {
            heard.push(frame.into_owned());
            frames = &frames[used..];
        }
        assert!(frames.is_empty(), "a message holds whole frames");
    }
    assert!(matches!(heard[0], Frame::Welcome { .. }));
    assert_eq!(heard[1..], [Frame::Pong { stamp: 7 }, Frame::Pong { stamp: 8 }]);
}

#[test]
fn a_violation_ends_the_connection_with_its_code() {
    let node = Node::start();
    let mut socket = connect(&node, "carillon.v1");
    socket.send(Message::text("not here")).unwrap();
    let Message::Close(Some(frame)) = socket.read().unwrap() else { panic!() };
    assert_eq!(u16::from(frame.code), 1003);
    let mut client = node.client(1);
    assert!(client.rooms().is_empty(), "nobody else is disturbed");
}
