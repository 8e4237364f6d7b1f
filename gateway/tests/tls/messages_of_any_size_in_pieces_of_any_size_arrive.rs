//! Frames larger than a record, and records that come a byte at a time or many at once, change nothing.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use carillon_protocol::Frame;

use crate::client::TlsNode;
use crate::harness::client_id;

/// A socket that writes so many bytes at a time, each a packet of its own, and reads as many at a time.
struct Pieces {
    socket: TcpStream,
    bytes: usize,
}

impl Read for Pieces {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let bytes = space.len().min(self.bytes);
        self.socket.read(&mut space[..bytes])
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.socket.write(&bytes[..bytes.len().min(self.bytes)])?;
        if self.bytes < 100 {
            // The other side gets a turn now and then.
            std::thread::yield_now();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn exchange(bytes: usize, sizes: &[usize]) {
    let node = TlsNode::start_with(|config| config.text_bytes_max = config.frame_bytes_max - 128);
    let mut other = node.client(2);
    let mut client = node.client_over(Pieces { socket: node.connect(), bytes }, 1);
    let room = client.create_room(&[2]);
    assert_eq!(other.event().seq, 1);
    for (&size, seq) in sizes.iter().zip(2..) {
        let text = "0123456789abcdef".repeat(size / 16 + 1)[..size].to_owned();
        assert_eq!(client.send(room, &text), seq);
        assert_eq!(other.message(), text);
        assert_eq!(other.done(|request| Frame::MarkRead { request, room, seq }), seq);
    }
    // And back, all at once: more than any record.
    let texts: Vec<usize> = client
        .history(room, 1)
        .iter()
        .map(|event| match &event.body {
            carillon_protocol::EventBody::Message { text, .. } => text.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(texts, sizes);
}

#[test]
fn a_byte_at_a_time() {
    exchange(1, &[1, 2, 300]);
}

#[test]
fn some_bytes_at_a_time() {
    for bytes in [2, 3, 5, 6, 7, 21, 22, 23, 1_000] {
        exchange(bytes, &[1, 2_000]);
    }
}

#[test]
fn as_large_as_a_frame_may_be() {
    for bytes in [4_096, usize::MAX] {
        exchange(bytes, &[16_000, 16_384, 16_385, 33_000, 65_000]);
    }
}

/// Requests that fill the shard's buffer many times over, in one go.
#[test]
fn very_many_at_once() {
    // A turn may be as large as all of them: the log's files are small in tests, and with them what it takes at once.
    let node = TlsNode::start_with(|config| config.log_segment_bytes = 16 << 20);
    let mut client = node.client(1);
    let room = client.create_room(&[]);
    let asked: Vec<u64> = (0..500)
        .map(|_| {
            let text = "x".repeat(1_000).into();
            client.start(|request| Frame::Send { request, room, client_id: client_id(), text })
        })
        .collect();
    for (request, expected) in asked.into_iter().zip(2..) {
        let answer = client.answer(request);
        assert!(matches!(answer, Frame::Ack { seq, .. } if seq == expected), "{expected}: {answer:?}");
    }
}
