//! Those who must not notice: what the tests of this folder share.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use carillon_gateway::config::Config;
use carillon_protocol::{CloseCode, Decoded, ErrorCode, EventBody, Frame, RoomId, decode, encode};
use serde_json::Value;
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::frame::coding::CloseCode as WebSocketCode;
use tungstenite::{Message, WebSocket};

use crate::harness::{Client, Node};

/// How long anything may take before a test calls it lost. Never a measure of speed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A node whose ticks are short, so that time-outs come and counts are fresh soon.
pub fn quick_node(change: impl FnOnce(&mut Config)) -> Node {
    Node::start_with(|config| {
        config.ping_interval_ms = 100;
        change(config);
    })
}

/// Two well-behaved users in a room.
pub struct Victims {
    ann: Client,
    bob: Client,
    room: RoomId,
    exchanged: u64,
}

impl Victims {
    pub const USERS: [u64; 2] = [1_000_001, 1_000_002];

    pub fn on(node: &Node) -> Self {
        let [ann, bob] = Self::USERS;
        let (mut ann, bob) = (node.client(ann), node.client(bob));
        let room = ann.create_room(&[Self::USERS[1]]);
        Self { ann, bob, room, exchanged: 0 }
    }

    /// Ann writes, and Bob has it, next after what he had.
    pub fn exchange(&mut self) {
        self.exchanged += 1;
        let said = format!("message {}", self.exchanged);
        assert_eq!(self.ann.send(self.room, &said), self.exchanged + 1);
        loop {
            let event = self.bob.event();
            assert!(event.seq <= self.exchanged + 1, "{event:?}");
            if event.seq == self.exchanged + 1 {
                assert!(matches!(event.body, EventBody::Message { text, .. } if text == said));
                return;
            }
        }
    }

    /// They still talk, and are the only ones left on the node.
    pub fn are_alone_and_well(&mut self, node: &Node) {
        self.exchange();
        eventually(node, "everyone else has left", |stats| {
            stats["connections"] == 2 && stats["users"] == 2 && stats["accepted"].as_u64() > Some(2)
        });
    }
}

/// What the node counts.
pub fn stats(node: &Node) -> Value {
    let answer = http(node, "GET /v1/stats HTTP/1.1\r\nhost: here\r\n\r\n");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

/// Waits until the node's counts are so.
pub fn eventually(node: &Node, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let stats = stats(node);
        if is_so(&stats) {
            return stats;
        }
        assert!(begun.elapsed() < PATIENCE, "not so: {what}: {stats}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The whole answer to an HTTP request.
pub fn http(node: &Node, request: &str) -> String {
    let mut stream = connect(node);
    stream.write_all(request.as_bytes()).unwrap();
    String::from_utf8(read_to_end(&mut stream)).unwrap()
}

/// A bare connection.
pub fn connect(node: &Node) -> TcpStream {
    let stream = TcpStream::connect(node.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A bare connection of a session; what answers its hello is read already.
pub fn session(node: &Node, user: u64) -> TcpStream {
    node.client(user).stream
}

/// All bytes until the other side ends.
pub fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("it hangs: {error}"),
        _ => all,
    }
}

/// Says `bytes` and nothing more; all frames that come until the other side ends.
pub fn say_last(stream: &mut TcpStream, bytes: &[u8]) -> Vec<Frame<'static>> {
    stream.write_all(bytes).unwrap();
    // The other side may have ended it already.
    let _ = stream.shutdown(Shutdown::Write);
    frames(&read_to_end(stream))
}

/// Whole frames, and nothing after them.
pub fn frames(mut bytes: &[u8]) -> Vec<Frame<'static>> {
    let mut frames = Vec::new();
    while let Decoded::Frame { frame, used } = decode(bytes, usize::MAX).unwrap() {
        frames.push(frame.into_owned());
        bytes = &bytes[used..];
    }
    assert!(bytes.is_empty(), "half a frame came: {bytes:02x?}");
    frames
}

pub fn bytes_of(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(frame, &mut bytes);
    bytes
}

/// The last two frames say what was wrong, and with which code the connection ends.
#[track_caller]
pub fn assert_ended(frames: &[Frame<'_>], error: ErrorCode, close: CloseCode) {
    let codes = frames.iter().rev().take(2).map(|frame| match frame {
        Frame::Error { request: 0, code, message, .. } if !message.is_empty() => *code,
        other => panic!("not an end: {other:?}"),
    });
    let codes: Vec<ErrorCode> = codes.collect();
    assert_eq!(codes, [ErrorCode(close.0), error], "{frames:?}");
}

/// A WebSocket that has shaken hands.
pub fn websocket(node: &Node, subprotocol: &str) -> WebSocket<TcpStream> {
    let mut request = format!("ws://{}/v1/ws", node.address).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", subprotocol.parse().unwrap());
    tungstenite::client(request, connect(node)).unwrap().0
}

/// Reads on to the close frame.
pub fn close_code(socket: &mut WebSocket<TcpStream>) -> WebSocketCode {
    loop {
        if let Message::Close(frame) = socket.read().unwrap() {
            return frame.expect("a close says why").code;
        }
    }
}
