//! What stands in a batch: records of what a home decided, one after the other.
//!
//! ```text
//! record:  kind (1 byte) | length (varint) | body
//! 1 event: member count (varint) | the event in its binary form
//! 2 read:  room (16 bytes) | user (varint) | seq (varint) | ordinal (varint) | at ms (varint)
//! ```
//!
//! Varints are those of the wire ([`varint`]). A kind's number is never reused, and a kind that this
//! version does not know is an error: it must not be skipped, for somebody relied on it.

use carillon_protocol::{RoomId, UserId, varint};

const EVENT: u8 = 1;
const READ: u8 = 2;

/// One thing a home decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    /// An event got its place.
    Event {
        /// How many members the room has after it.
        member_count: u64,
        /// Its binary form.
        event: &'a [u8],
    },
    /// A member's read marker moved.
    Read {
        /// In which room.
        room: RoomId,
        /// Whose.
        user: UserId,
        /// Everything up to this event has been read.
        seq: u64,
        /// The room's ordinal there.
        ordinal: u64,
        /// When it moved, in milliseconds since 1970.
        at_ms: u64,
    },
}

/// Why bytes are not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// They end too early. Where one record ends is then unknown, so nothing follows it.
    #[error("the record is cut short")]
    Cut,
    /// A record of a later version.
    #[error("record kind {0} is unknown: a newer version of Carillon wrote this")]
    Kind(u8),
    /// Its fields do not make sense.
    #[error("the body of a record of kind {0} does not make sense")]
    Body(u8),
}

impl Record<'_> {
    /// Appends the record to a batch.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Event { member_count, event } => {
                out.push(EVENT);
                varint::write(out, (varint::len(member_count) + event.len()) as u64);
                varint::write(out, member_count);
                out.extend_from_slice(event);
            }
            Self::Read { room, user, seq, ordinal, at_ms } => {
                let numbers = [user.get(), seq, ordinal, at_ms];
                out.push(READ);
                varint::write(out, (16 + numbers.map(varint::len).iter().sum::<usize>()) as u64);
                out.extend_from_slice(room.as_bytes());
                numbers.iter().for_each(|&number| varint::write(out, number));
            }
        }
    }
}

impl<'a> Record<'a> {
    /// The record in exactly these bytes, as [`split`] cuts them.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (&kind, rest) = bytes.split_first().ok_or(Malformed::Cut)?;
        let (_, header_len) = varint::read(rest).ok_or(Malformed::Cut)?;
        let body = &rest[header_len..];
        match kind {
            EVENT => decode_event(body),
            READ => decode_read(body),
            unknown => return Err(Malformed::Kind(unknown)),
        }
        .ok_or(Malformed::Body(kind))
    }
}

fn decode_event(mut body: &[u8]) -> Option<Record<'_>> {
    let member_count = take_number(&mut body)?;
    Some(Record::Event { member_count, event: body })
}

fn decode_read(mut body: &[u8]) -> Option<Record<'_>> {
    let (room, rest) = body.split_first_chunk::<16>()?;
    body = rest;
    let user = UserId::new(take_number(&mut body)?)?;
    let (seq, ordinal) = (take_number(&mut body)?, take_number(&mut body)?);
    // Logs of earlier versions end here.
    let at_ms = if body.is_empty() { 0 } else { take_number(&mut body)? };
    let room = RoomId::from_bytes(*room);
    body.is_empty().then_some(Record::Read { room, user, seq, ordinal, at_ms })
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let (number, len) = varint::read(bytes)?;
    *bytes = &bytes[len..];
    Some(number)
}

/// The records of a batch. One that cannot be read is an error in its place and the rest follows, unless
/// it is [`Malformed::Cut`].
pub fn records(bytes: &[u8]) -> impl Iterator<Item = Result<Record<'_>, Malformed>> {
    split(bytes).map(|record| record.and_then(Record::decode))
}

/// The bytes of each record of a batch, unread. After an error there is nothing more.
pub fn split(mut bytes: &[u8]) -> impl Iterator<Item = Result<&[u8], Malformed>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let len = record_len(bytes);
        let (record, rest) = bytes.split_at(len.unwrap_or(bytes.len()));
        bytes = rest;
        Some(len.map(|_| record).ok_or(Malformed::Cut))
    })
}

fn record_len(bytes: &[u8]) -> Option<usize> {
    let (body_len, len_len) = varint::read(bytes.get(1..)?)?;
    let len = usize::try_from(body_len).ok()?.checked_add(1 + len_len)?;
    (len <= bytes.len()).then_some(len)
}

/// What a client id is remembered by, to tell a retry from another message under the same id: the 64-bit
/// FNV-1a hash of the text. Stored, so it never changes. It need not withstand attack: a sender who makes two texts collide
/// deceives only themselves.
pub fn text_hash(text: &str) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    text.bytes().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}
