//! Frames as bytes that every recipient shares.
//!
//! Frames from the gateway are not masked, so a WebSocket header and what follows it are the same for
//! everyone: an event is encoded once, and each connection's outbox holds a reference.

use std::cell::OnceCell;

use bytes::Bytes;
use carillon_protocol::{Decoded, Frame, RoomId, json};

use crate::transport::websocket;

/// How a connection wants its frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Binary frames, back to back.
    Raw,
    /// Binary frames in binary WebSocket messages.
    WebSocket,
    /// One JSON text message a frame.
    Json,
}

/// One or more frames with a WebSocket header before them. Raw TCP takes them from behind the header.
#[derive(Clone, Debug)]
pub struct Encoded {
    bytes: Bytes,
    frames_at: u8,
}

impl Encoded {
    /// Puts a header before frames that are encoded already.
    pub fn new(frames: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(websocket::HEADER_BYTES_MAX + frames.len());
        websocket::write_header(&mut bytes, websocket::Opcode::Binary, frames.len());
        let frames_at = bytes.len() as u8;
        bytes.extend_from_slice(frames);
        Self { bytes: bytes.into(), frames_at }
    }

    /// Encodes one frame.
    pub fn frame(frame: &Frame<'_>) -> Self {
        let mut frames = Vec::with_capacity(64);
        carillon_protocol::encode(frame, &mut frames);
        Self::new(&frames)
    }

    /// Several as one, so that a burst costs each connection one reference and one write.
    pub fn joined(parts: &[Encoded]) -> Self {
        let mut frames = Vec::with_capacity(parts.iter().map(|part| part.frames().len()).sum());
        for part in parts {
            frames.extend_from_slice(part.frames());
        }
        Self::new(&frames)
    }

    /// The frames, without the header.
    pub fn frames(&self) -> &[u8] {
        &self.bytes[usize::from(self.frames_at)..]
    }
}

/// Whether a recipient who cannot take it is told, or never misses it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Events from `seq` on: whoever misses them is told to catch up.
    Events {
        /// The first of them.
        seq: u64,
    },
    /// Typing, receipts: dropped first, and nobody is told.
    Ephemeral,
}

/// Frames on their way into the outboxes of one shard, in each format that somebody there speaks.
pub struct Chunk {
    /// The room they are of.
    pub room: RoomId,
    /// What becomes of them where there is no space.
    pub class: Class,
    encoded: Encoded,
    json: OnceCell<Bytes>,
}

impl Chunk {
    /// Frames of `room` for any number of connections of this shard.
    pub fn new(room: RoomId, class: Class, encoded: Encoded) -> Self {
        Self { room, class, encoded, json: OnceCell::new() }
    }

    /// The bytes as they go out in `format`; made once for JSON, there already for the others.
    pub fn bytes(&self, format: Format) -> &[u8] {
        match format {
            Format::WebSocket => &self.encoded.bytes,
            Format::Raw => self.encoded.frames(),
            Format::Json => self.json.get_or_init(|| {
                let mut out = Vec::with_capacity(self.encoded.bytes.len() * 2);
                append_json(self.encoded.frames(), &mut out);
                out.into()
            }),
        }
    }
}

/// Appends binary frames to `out` as they go out in `format`.
pub fn append(frames: &[u8], format: Format, out: &mut Vec<u8>) {
    match format {
        Format::Raw => out.extend_from_slice(frames),
        Format::WebSocket => {
            websocket::write_header(out, websocket::Opcode::Binary, frames.len());
            out.extend_from_slice(frames);
        }
        Format::Json => append_json(frames, out),
    }
}

/// Frames we encoded ourselves always decode; should one not, it is left out rather than sent as half a message.
fn append_json(mut frames: &[u8], out: &mut Vec<u8>) {
    while let Ok(Decoded::Frame { frame, used }) = carillon_protocol::decode(frames, usize::MAX) {
        let text = json::encode(&frame);
        websocket::write_header(out, websocket::Opcode::Text, text.len());
        out.extend_from_slice(text.as_bytes());
        frames = &frames[used..];
    }
}
