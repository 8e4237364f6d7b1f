//! How fields look in bytes, written.

use std::borrow::Cow;

use crate::fields::{Item, WriteFields};
use crate::frame::Role;
use crate::id::INT_MAX;
use crate::{ClientId, EventKind, RoomId, UserId, varint};

type Name = &'static str;

/// Fields are appended; names do not travel.
impl WriteFields for Vec<u8> {
    #[inline]
    fn int(&mut self, _: Name, value: &u64) {
        int(self, *value);
    }

    #[inline]
    fn bool(&mut self, _: Name, value: &bool) {
        self.push(u8::from(*value));
    }

    #[inline]
    fn room(&mut self, _: Name, room: &RoomId) {
        self.extend_from_slice(room.as_bytes());
    }

    #[inline]
    fn client_id(&mut self, _: Name, id: &ClientId) {
        self.extend_from_slice(id.as_bytes());
    }

    #[inline]
    fn text(&mut self, _: Name, text: &str) {
        bytes(self, text.as_bytes());
    }

    #[inline]
    fn users(&mut self, _: Name, users: &[UserId]) {
        int(self, users.len() as u64);
        for user in users {
            int(self, user.get());
        }
    }

    #[inline]
    fn role(&mut self, _: Name, role: &Role) {
        self.push(role.number());
    }

    #[inline]
    fn records<'a, T: Item<'a>>(&mut self, _: Name, items: &[T]) {
        int(self, items.len() as u64);
        for item in items {
            sized(self, item.len_about(), |out| item.write(out));
        }
    }

    fn optional_int(&mut self, _: Name, tag: u64, value: &Option<u64>) {
        if let Some(value) = value {
            tagged(self, tag, |out| int(out, *value));
        }
    }

    fn optional_text(&mut self, _: Name, tag: u64, text: &Option<Cow<'_, str>>) {
        if let Some(text) = text {
            tagged(self, tag, |out| out.extend_from_slice(text.as_bytes()));
        }
    }

    fn optional_record<'a, T: Item<'a>>(&mut self, _: Name, tag: u64, item: &Option<T>) {
        if let Some(item) = item {
            tagged(self, tag, |out| item.write(out));
        }
    }

    fn optional_records<'a, T: Item<'a>>(&mut self, field: Name, tag: u64, items: &[T]) {
        if !items.is_empty() {
            tagged(self, tag, |out| out.records(field, items));
        }
    }

    #[inline]
    fn event(&mut self, _: Name, kind: EventKind, len_about: usize, body: impl FnOnce(&mut Self)) {
        self.push(kind.0);
        sized(self, len_about, body);
    }
}

#[inline]
fn int(out: &mut Vec<u8>, value: u64) {
    varint::write(out, value.min(INT_MAX));
}

fn tagged(out: &mut Vec<u8>, tag: u64, value: impl FnOnce(&mut Vec<u8>)) {
    int(out, tag);
    sized(out, 0, value);
}

/// `bytes` with their length before them.
#[inline]
pub(super) fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    int(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// What `write` appends, with its length before it. Leaves as much space for the length as `len_about` needs;
/// a wrong guess costs moving the bytes by a few places.
#[inline]
pub(super) fn sized(out: &mut Vec<u8>, len_about: usize, write: impl FnOnce(&mut Vec<u8>)) {
    let length_at = out.len();
    let guessed = varint::len(len_about as u64);
    out.extend_from_slice(&[0; 8][..guessed]);
    write(out);
    let len = out.len() - length_at - guessed;
    let needed = varint::len(len as u64);
    if needed != guessed {
        shift(out, length_at + guessed, length_at + needed);
    }
    varint::put(&mut out[length_at..length_at + needed], len as u64);
}

#[cold]
fn shift(out: &mut Vec<u8>, from: usize, to: usize) {
    let end = out.len();
    if to > from {
        out.extend_from_slice(&[0; 8][..to - from]);
    }
    out.copy_within(from..end, to);
    out.truncate(end + to - from);
}
