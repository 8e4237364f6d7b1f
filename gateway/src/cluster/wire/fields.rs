//! What messages are made of, as bytes: written by appending, read from the front.

use std::sync::Arc;

use carillon_protocol::{Decoded, Frame, RoomId, UserId, varint};

use super::Malformed;
use crate::cluster::view::NodeId;

/// Appends the parts of a message.
pub(super) trait Write {
    fn int(&mut self, value: u64);
    fn bool(&mut self, value: bool);
    /// A number that may be missing: one more, or 0.
    fn optional(&mut self, value: Option<u64>);
    fn room(&mut self, room: RoomId);
    fn user(&mut self, user: UserId);
    fn node(&mut self, node: NodeId);
    fn bytes(&mut self, bytes: &[u8]);
    fn users(&mut self, users: &[UserId]);
    fn rooms(&mut self, rooms: &[RoomId]);
    fn frame(&mut self, frame: &Frame<'_>);
}

impl Write for Vec<u8> {
    fn int(&mut self, value: u64) {
        varint::write(self, value);
    }

    fn bool(&mut self, value: bool) {
        self.push(u8::from(value));
    }

    fn optional(&mut self, value: Option<u64>) {
        self.int(value.map_or(0, |value| value.saturating_add(1)));
    }

    fn room(&mut self, room: RoomId) {
        self.extend_from_slice(room.as_bytes());
    }

    fn user(&mut self, user: UserId) {
        self.int(user.get());
    }

    fn node(&mut self, node: NodeId) {
        self.extend_from_slice(&node.get().to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.int(bytes.len() as u64);
        self.extend_from_slice(bytes);
    }

    fn users(&mut self, users: &[UserId]) {
        self.int(users.len() as u64);
        users.iter().for_each(|&user| self.user(user));
    }

    fn rooms(&mut self, rooms: &[RoomId]) {
        self.int(rooms.len() as u64);
        rooms.iter().for_each(|&room| self.room(room));
    }

    fn frame(&mut self, frame: &Frame<'_>) {
        sized(self, |out| carillon_protocol::encode(frame, out));
    }
}

/// Appends what `write` does, and its length before it. Two bytes hold nearly every length.
pub(super) fn sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    const LENGTH_BYTES: usize = 2;
    const TWO_BYTES: usize = 0x4000;
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    write(out);
    let len = out.len() - start - LENGTH_BYTES;
    if len < TWO_BYTES {
        out[start..start + LENGTH_BYTES].copy_from_slice(&(len as u16 | 0x4000).to_be_bytes());
    } else {
        let mut length = Vec::with_capacity(8);
        varint::write(&mut length, len as u64);
        out.splice(start..start + LENGTH_BYTES, length);
    }
}

/// The parts of a message that are still to be read. What is left at its end a later version has appended.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed::Cut)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn int(&mut self) -> Result<u64, Malformed> {
        let (value, used) = varint::read(self.0).ok_or(Malformed::Cut)?;
        self.0 = &self.0[used..];
        Ok(value)
    }

    /// A number of fewer bits.
    pub(super) fn small<T: TryFrom<u64>>(&mut self, field: &'static str) -> Result<T, Malformed> {
        T::try_from(self.int()?).map_err(|_| Malformed::Value(field))
    }

    pub(super) fn bool(&mut self, field: &'static str) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed::Value(field)),
        }
    }

    pub(super) fn optional(&mut self) -> Result<Option<u64>, Malformed> {
        Ok(self.int()?.checked_sub(1))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed::Cut)?;
        self.0 = rest;
        Ok(*bytes)
    }

    pub(super) fn room(&mut self) -> Result<RoomId, Malformed> {
        self.array().map(RoomId::from_bytes)
    }

    pub(super) fn node(&mut self) -> Result<NodeId, Malformed> {
        NodeId::new(u64::from_be_bytes(self.array()?)).ok_or(Malformed::Value("node"))
    }

    pub(super) fn user(&mut self) -> Result<UserId, Malformed> {
        UserId::new(self.int()?).ok_or(Malformed::Value("user"))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len: usize = self.small("length")?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(Malformed::Cut)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::Value("text"))
    }

    /// A list, for whose items `bytes_min` bytes at least are there before anything is reserved for them.
    pub(super) fn list<T>(
        &mut self,
        bytes_min: usize,
        item: impl Fn(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count: usize = self.small("count")?;
        if count > self.0.len() / bytes_min {
            return Err(Malformed::Cut);
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    pub(super) fn users(&mut self) -> Result<Arc<[UserId]>, Malformed> {
        self.list(1, Self::user).map(Into::into)
    }

    pub(super) fn frame(&mut self) -> Result<Frame<'static>, Malformed> {
        let bytes = self.bytes()?;
        match carillon_protocol::decode(bytes, usize::MAX) {
            Ok(Decoded::Frame { frame, .. }) => Ok(frame.into_owned()),
            Ok(Decoded::Skipped { .. } | Decoded::Incomplete) => Err(Malformed::Value("frame")),
            Err(malformed) => Err(Malformed::Frame(malformed)),
        }
    }
}
