//! Outboxes: appending and writing, without the kernel's part of it.

use std::io::Write;
use std::rc::Rc;

use carillon_gateway::config::Config;
use carillon_gateway::encoded::{self, Chunk, Class, Encoded, Format};
use carillon_gateway::outbox::{Flush, Outbox, Push};
use carillon_gateway::socket::Socket;
use carillon_protocol::Frame;

use crate::codec::{ROOM, message};

const FORMAT: Format = Format::WebSocket;

/// The outboxes of some connections.
pub struct Outboxes {
    outboxes: Vec<Outbox>,
    bytes_max: usize,
    seq: u64,
    frame: Vec<u8>,
}

impl Outboxes {
    /// So many, empty.
    pub fn new(count: usize) -> Self {
        let outboxes = (0..count).map(|_| Outbox::default()).collect();
        Self { outboxes, bytes_max: Config::default().outbox_bytes_max, seq: 0, frame: Vec::new() }
    }

    /// A message is encoded once and appended to every outbox.
    pub fn share(&mut self) {
        self.seq += 1;
        let class = Class::Events { seq: self.seq };
        let chunk = Rc::new(Chunk::new(ROOM, class, Encoded::frame(&message())));
        for outbox in &mut self.outboxes {
            assert_eq!(outbox.push_shared(&chunk, FORMAT, self.bytes_max), Push::Queued);
        }
    }

    /// An answer of its own is appended to every outbox.
    pub fn answer(&mut self) {
        self.frame.clear();
        let ack = Frame::Ack { request: 1_000, seq: 123_456, ordinal: 123_400, at_ms: 1_790_000_000_000 };
        carillon_protocol::encode(&ack, &mut self.frame);
        for outbox in &mut self.outboxes {
            outbox.push_own(|out| encoded::append(&self.frame, FORMAT, out));
        }
    }

    /// Every outbox is written, once.
    pub fn write(&mut self) {
        self.write_to(&mut Socket::Within);
    }

    /// The same to a socket that takes everything.
    pub fn write_to(&mut self, socket: &mut impl Write) {
        for outbox in &mut self.outboxes {
            let flushed = outbox.flush(socket, FORMAT).expect("the peer is there");
            assert_eq!(flushed, Flush::Done);
        }
    }
}
