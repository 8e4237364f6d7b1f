//! Reading: what came from a socket, as frames.
//!
//! All connections are read into the shard's one buffer and parsed in place. A connection keeps bytes of its own only
//! while a frame has begun and not ended.

use std::io;

use carillon_protocol::{CloseCode, Decoded, ErrorCode, Malformed, json};

use super::{READ_BYTES, Shard};
use crate::command::Refusal;
use crate::connections::Key;
use crate::encoded::Format;
use crate::page::{self, Response};
use crate::transport::http::{self, Asked};
use crate::transport::websocket::{self, Read, Takes, WebSocket};
use crate::transport::{self, Protocol};
use crate::wire::Wire;

/// How far parsing got.
enum Parsed {
    /// So many bytes are done with; go on with the rest.
    Used(usize),
    /// What is left is the beginning of something: keep it.
    Incomplete,
    /// The connection has ended or will: the rest does not matter.
    Over,
}

impl Shard {
    /// The socket has something, or had and was not asked.
    pub(super) fn readable(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.state.shut {
            return self.hear_out(key);
        }
        let is_tls = connection.tls.is_some();
        if !self.is_heard(key) {
            return;
        }
        if is_tls && self.must_wait_to_shake(key) {
            return self.read_again(key);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        self.read(key, &mut scratch);
        self.scratch = scratch;
        if is_tls {
            self.tls_moved(key);
        }
    }

    /// Whether what a connection says is listened to now. Where it is not, and will be, it is read again then.
    pub(super) fn is_heard(&mut self, key: Key) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return false };
        if connection.state.closing {
            return false;
        }
        // Who does not take answers gets no more of them: `write` has it read again once they are taken.
        if connection.is_over(self.node.config.outbox_bytes_max) {
            connection.state.paused = true;
            return false;
        }
        if self.outgoing.is_stuck() {
            self.read_again(key);
            return false;
        }
        true
    }

    /// Connections that had more than a turn takes.
    pub(super) fn read_unread(&mut self) {
        for _ in 0..self.unread.len() {
            let Some(key) = self.unread.pop_front() else { return };
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.state.unread = false;
            self.readable(key);
        }
    }

    /// A connection has more, or may have: it is read in the next turn, once, however often this is said.
    pub(super) fn read_again(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if !std::mem::replace(&mut connection.state.unread, true) {
            self.unread.push_back(key);
        }
    }

    /// Reads once, parses, and keeps what is not done with. What was held back comes first.
    fn read(&mut self, key: Key, scratch: &mut [u8]) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let kept = connection.partial.len();
        scratch[..kept].copy_from_slice(&connection.partial);
        let was_held = std::mem::take(&mut connection.state.held);
        let space = &mut scratch[kept..];
        let read = match was_held {
            true => 0,
            false => match connection.read(&mut space[..READ_BYTES], &mut self.ciphertext) {
                // It still gets what was said to it before it stopped talking.
                Ok(0) => return self.close_when_written(key),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return self.read_again(key),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return self.tls_failed(key, &error);
                }
                Err(_) => return self.remove(key),
            },
        };
        let has_more = connection.tls.as_ref().map_or(read == READ_BYTES, |tls| tls.has_more());
        if has_more || was_held || connection.state.ended {
            self.read_again(key);
        }
        self.took(key, &mut scratch[..kept + read]);
    }

    /// Parses what a connection has said, and keeps what is not done with.
    pub(super) fn took(&mut self, key: Key, bytes: &mut [u8]) {
        let used = self.parse_all(key, bytes);
        self.keep(key, &bytes[used..]);
    }

    /// Parses as far as it goes, or until the connection has asked for as much as may wait for it; says how far that was.
    fn parse_all(&mut self, key: Key, bytes: &mut [u8]) -> usize {
        let mut used = 0;
        while used < bytes.len() {
            if self.is_held(key) {
                break;
            }
            match self.parse(key, &mut bytes[used..]) {
                Parsed::Used(more) => used += more,
                Parsed::Incomplete => break,
                Parsed::Over => return bytes.len(),
            }
        }
        used
    }

    /// Whether what a connection has said is held back until it has taken what it asked for.
    fn is_held(&mut self, key: Key) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return false };
        let is_over = connection.is_over(self.node.config.outbox_bytes_max);
        connection.state.paused |= is_over;
        connection.state.held = is_over;
        is_over
    }

    /// The beginning of a frame stays with its connection until the rest comes.
    fn keep(&mut self, key: Key, rest: &[u8]) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.partial.len() != rest.len() || !rest.is_empty() {
            connection.partial = rest.into();
        }
    }

    /// Parses the next thing.
    fn parse(&mut self, key: Key, bytes: &mut [u8]) -> Parsed {
        let Some(connection) = self.connections.get_mut(key) else { return Parsed::Over };
        if connection.state.closing {
            return Parsed::Over;
        }
        match &mut connection.wire {
            wire @ Wire::New => match transport::sniff(bytes[0]) {
                Some(Protocol::Http) => {
                    *wire = Wire::Http;
                    Parsed::Used(0)
                }
                Some(Protocol::Raw) => {
                    *wire = Wire::Raw;
                    if connection.state.refused {
                        self.close(key, CloseCode::OVERLOADED, CloseCode::OVERLOADED.sentence());
                    }
                    Parsed::Used(0)
                }
                None => {
                    *wire = Wire::Raw;
                    let what = "Neither a hello nor an HTTP request begins like that.";
                    self.refuse_and_close(key, ErrorCode::UNEXPECTED, CloseCode::UNEXPECTED, what);
                    Parsed::Over
                }
            },
            Wire::Http => self.parse_http(key, bytes),
            Wire::Raw => self.parse_frame(key, bytes),
            Wire::WebSocket(..) => self.parse_websocket(key, bytes),
        }
    }

    /// The head of an HTTP request: an upgrade goes on as a WebSocket, anything else is answered and that was it.
    fn parse_http(&mut self, key: Key, bytes: &[u8]) -> Parsed {
        let is_refused = self.connections.get(key).is_some_and(|connection| connection.state.refused);
        let response = match http::parse(bytes, &self.node.config.allowed_origins) {
            Ok(None) => return Parsed::Incomplete,
            Ok(Some(_)) if is_refused => {
                http::response(&Response::text(503, CloseCode::OVERLOADED.sentence()), true)
            }
            Ok(Some(Asked::Upgrade(upgrade))) => {
                let format = upgrade.format;
                self.send_own(key, |_, out| http::write_upgrade(out, &upgrade));
                if let Some(connection) = self.connections.get_mut(key) {
                    let takes = if format == Format::Json { Takes::Text } else { Takes::Binary };
                    connection.wire = Wire::WebSocket(WebSocket::new(takes), format);
                }
                return Parsed::Used(upgrade.head_bytes);
            }
            Ok(Some(Asked::Get { target, with_body })) => {
                let response = page::get(&self.node, target, self.now_ms / 1000);
                http::response(&response, with_body)
            }
            Err(refusal) => refusal.response(),
        };
        self.send_own(key, |_, out| out.extend_from_slice(&response));
        self.close_when_written(key);
        Parsed::Over
    }

    /// The next WebSocket message or control frame.
    fn parse_websocket(&mut self, key: Key, bytes: &mut [u8]) -> Parsed {
        let Some(connection) = self.connections.get_mut(key) else { return Parsed::Over };
        let Wire::WebSocket(websocket, format) = &mut connection.wire else { return Parsed::Over };
        let format = *format;
        let heard = &mut connection.heard;
        match websocket.read(bytes, self.node.config.frame_bytes_max) {
            Ok(Read::Message { payload, used, .. }) => {
                match format {
                    // Text was checked as it came.
                    Format::Json => self.json(key, &String::from_utf8_lossy(&payload)),
                    Format::WebSocket | Format::Raw => self.frames(key, &payload),
                }
                Parsed::Used(used)
            }
            Ok(Read::Ping { payload, used }) => {
                *heard = self.ticks.count;
                self.send_own(key, |_, out| websocket::write_pong(out, payload));
                Parsed::Used(used)
            }
            Ok(Read::Pong { used }) => {
                *heard = self.ticks.count;
                Parsed::Used(used)
            }
            Ok(Read::Used(used)) => Parsed::Used(used),
            Ok(Read::Incomplete) => Parsed::Incomplete,
            Ok(Read::Close { code }) => {
                self.send_own(key, |_, out| websocket::write_close_answer(out, code));
                self.close_when_written(key);
                Parsed::Over
            }
            Err(violation) => {
                self.send_own(key, |_, out| websocket::write_close(out, violation.code, violation.reason));
                self.stats().violations.add(1);
                self.close_when_written(key);
                Parsed::Over
            }
        }
    }

    /// The frames of a binary message: whole, and nothing but frames.
    fn frames(&mut self, key: Key, mut payload: &[u8]) {
        while !payload.is_empty() {
            match self.parse_frame(key, payload) {
                Parsed::Used(used) => payload = &payload[used..],
                Parsed::Incomplete => {
                    return self.malformed(key, "A frame may not go on in the next message.");
                }
                Parsed::Over => return,
            }
        }
    }

    /// The next frame in binary form.
    fn parse_frame(&mut self, key: Key, bytes: &[u8]) -> Parsed {
        match carillon_protocol::decode(bytes, self.node.config.frame_bytes_max) {
            Ok(Decoded::Frame { frame, used }) => {
                self.frame(key, frame);
                Parsed::Used(used)
            }
            Ok(Decoded::Skipped { used }) => Parsed::Used(used),
            Ok(Decoded::Incomplete) => Parsed::Incomplete,
            Err(error @ Malformed::TooLarge { .. }) => {
                self.refuse_and_close(key, ErrorCode::TOO_LARGE, CloseCode::TOO_LARGE, &error.to_string());
                Parsed::Over
            }
            Err(error) => {
                self.malformed(key, &error.to_string());
                Parsed::Over
            }
        }
    }

    /// A frame in JSON form. One that is none leaves the next readable, so the connection stays.
    fn json(&mut self, key: Key, text: &str) {
        match json::decode(text) {
            Ok(frame) => self.frame(key, frame),
            Err(error) => {
                let refusal = Refusal::new(ErrorCode::MALFORMED, error.to_string());
                self.send_frame(key, &refusal.frame(0));
            }
        }
    }

    fn malformed(&mut self, key: Key, what: &str) {
        self.refuse_and_close(key, ErrorCode::MALFORMED, CloseCode::MALFORMED, what);
    }
}
