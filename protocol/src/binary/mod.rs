//! Frames as bytes: WebSocket subprotocol `carillon.v1`, raw TCP, QUIC streams.
//!
//! ```text
//! kind 1 │ flags 1 │ length of body │ body …
//! ```
//!
//! A body holds the fields of the frame in order and then, until its end, optional fields as tag, length and
//! value; readers pass over tags they do not know. Decoding borrows texts from the bytes and reserves no memory
//! that the bytes at hand do not justify. Encoding appends to a buffer and allocates nothing else. What
//! [`encode`] writes, [`decode`] reads.

mod event;
mod malformed;
mod read;
mod write;

pub use event::{EventHeader, decode_event, encode_event, event_header};
pub use malformed::Malformed;

use read::Record;

use crate::fields::{Item, WriteFields};
use crate::{Frame, Kind, RoomId, varint};

/// Flag: a reader that does not know the kind passes over the frame. Other flags are sent as 0 and not looked
/// at.
pub const SKIPPABLE: u8 = 0x01;

/// Kind, flags and the longest length there is.
const HEADER_BYTES_MAX: usize = 2 + 8;

/// What stands at the start of some bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decoded<'a> {
    /// A frame, and how many bytes it took.
    Frame {
        /// The frame.
        frame: Frame<'a>,
        /// Header and body.
        used: usize,
    },
    /// A frame of a later version that may be passed over, and how many bytes it took.
    Skipped {
        /// Header and body.
        used: usize,
    },
    /// The start of a frame, or nothing: come back with more bytes.
    Incomplete,
}

/// Appends the frame.
pub fn encode(frame: &Frame<'_>, out: &mut Vec<u8>) {
    let len_about = body_len_about(frame);
    out.reserve(HEADER_BYTES_MAX + len_about);
    write_kind(out, frame.kind());
    write::sized(out, len_about, |out| frame.write(out));
}

/// About how long the body is, of frames that come often or large.
#[inline]
fn body_len_about(frame: &Frame<'_>) -> usize {
    match frame {
        Frame::Send { text, .. } => 36 + text.len(),
        Frame::Event(event) => event.len_about(),
        Frame::Events { events, .. } => 32 + events.iter().map(Item::len_about).sum::<usize>(),
        Frame::RoomList { rooms, .. } => 64 * rooms.len(),
        Frame::Hello { token, .. } => 16 + token.len(),
        _ => 0,
    }
}

/// Appends the `event` frame of an event that is encoded already (by [`encode_event`]).
pub fn encode_event_frame(event_bytes: &[u8], out: &mut Vec<u8>) {
    write_kind(out, Kind::Event);
    write::bytes(out, event_bytes);
}

/// Appends the `events` frame of events that are encoded already: the same bytes as [`encode`] of
/// [`Frame::Events`].
pub fn encode_events_frame<'a>(
    request: u64,
    room: RoomId,
    head_seq: u64,
    events: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    out: &mut Vec<u8>,
) {
    let len_about = 32 + events.clone().map(|event| 2 + event.len()).sum::<usize>();
    out.reserve(HEADER_BYTES_MAX + len_about);
    write_kind(out, Kind::Events);
    write::sized(out, len_about, |out| {
        out.int("request", &request);
        out.room("room", &room);
        out.int("head_seq", &head_seq);
        out.int("events", &(events.len() as u64));
        for event in events {
            write::bytes(out, event);
        }
    });
}

#[inline]
fn write_kind(out: &mut Vec<u8>, kind: Kind) {
    let flags = if kind.skippable() { SKIPPABLE } else { 0 };
    out.extend_from_slice(&[kind.number(), flags]);
}

/// The frame at the start of `bytes`. One of more than `frame_bytes_max` bytes, header included, is refused as
/// soon as its length is known.
pub fn decode(bytes: &[u8], frame_bytes_max: usize) -> Result<Decoded<'_>, Malformed> {
    let [number, flags, after_flags @ ..] = bytes else { return Ok(Decoded::Incomplete) };
    let Some((body_len, length_len)) = varint::read(after_flags) else { return Ok(Decoded::Incomplete) };
    let body_start = 2 + length_len;
    let used = body_len + body_start as u64;
    if used > frame_bytes_max as u64 {
        return Err(Malformed::TooLarge { bytes: used, bytes_max: frame_bytes_max });
    }
    let kind = Kind::from_number(*number);
    if kind.is_none() && flags & SKIPPABLE == 0 {
        return Err(Malformed::UnknownKind { number: *number });
    }
    let used = used as usize;
    let Some(body) = bytes.get(body_start..used) else { return Ok(Decoded::Incomplete) };
    let Some(kind) = kind else { return Ok(Decoded::Skipped { used }) };
    Frame::read(kind, &mut Record::new(body)).map(|frame| Decoded::Frame { frame, used })
}
