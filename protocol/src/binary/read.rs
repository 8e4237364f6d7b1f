//! How fields look in bytes, read. Every error names the field.

use std::borrow::Cow;

use super::Malformed;
use crate::fields::{Item, ReadFields};
use crate::frame::Role;
use crate::id::INT_MAX;
use crate::{ClientId, EventBody, EventKind, RoomId, UserId, varint};

type Name = &'static str;
type Result<T> = std::result::Result<T, Malformed>;

/// Bytes whose end is known: a frame's body, an event, an event's body, an item of a list, the value of an
/// optional field. The fields of this version come first, in order; then optional fields until the end.
pub(super) struct Record<'a> {
    rest: &'a [u8],
}

impl<'a> Record<'a> {
    #[inline]
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    fn byte(&mut self, field: Name) -> Result<u8> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed::CutShort { field })?;
        self.rest = rest;
        Ok(*first)
    }

    #[inline]
    fn id(&mut self, field: Name) -> Result<[u8; 16]> {
        let (id, rest) = self.rest.split_first_chunk().ok_or(Malformed::CutShort { field })?;
        self.rest = rest;
        Ok(*id)
    }

    #[inline]
    fn varint(&mut self, field: Name) -> Result<u64> {
        let (value, len) = varint::read(self.rest).ok_or(Malformed::CutShort { field })?;
        self.rest = &self.rest[len..];
        Ok(value)
    }

    /// A length and so many bytes.
    #[inline]
    fn sized(&mut self, field: Name) -> Result<&'a [u8]> {
        let len = usize::try_from(self.varint(field)?).unwrap_or(usize::MAX);
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Malformed::CutShort { field })?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A count and so many items of at least `item_bytes_min` bytes, so that a count alone reserves no memory.
    fn list<T>(
        &mut self,
        field: Name,
        item_bytes_min: usize,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let count = self.varint(field)?;
        if count > (self.rest.len() / item_bytes_min) as u64 {
            return Err(Malformed::TooMany { field, count });
        }
        let mut items = Vec::with_capacity(count as usize);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// The value of the optional field with this tag, wherever it stands among the others.
    fn optional(&self, field: Name, tag: u64) -> Result<Option<&'a [u8]>> {
        let mut all = Self::new(self.rest);
        let mut found = None;
        while let Some((any_tag, value)) = all.next_optional()? {
            if any_tag == tag && found.replace(value).is_some() {
                return Err(Malformed::Repeated { field });
            }
        }
        Ok(found)
    }

    /// The same, with `read` reading the value.
    fn optional_value<T>(
        &self,
        field: Name,
        tag: u64,
        read: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.optional(field, tag)? else { return Ok(None) };
        let mut record = Self::new(value);
        let value = read(&mut record)?;
        record.end()?;
        Ok(Some(value))
    }

    #[inline]
    fn next_optional(&mut self) -> Result<Option<(u64, &'a [u8])>> {
        const FIELD: Name = "optional field";
        if self.rest.is_empty() {
            return Ok(None);
        }
        Ok(Some((self.varint(FIELD)?, self.sized(FIELD)?)))
    }
}

#[inline]
fn utf8<'a>(bytes: &'a [u8], field: Name) -> Result<Cow<'a, str>> {
    std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| Malformed::NotUtf8 { field })
}

impl<'a> ReadFields<'a> for Record<'a> {
    type Malformed = Malformed;

    #[inline]
    fn int_up_to(&mut self, max: u64, field: Name) -> Result<u64> {
        let value = self.varint(field)?;
        if value > max { Err(Malformed::TooBig { field, value, max }) } else { Ok(value) }
    }

    #[inline]
    fn bool(&mut self, field: Name) -> Result<bool> {
        match self.byte(field)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(Malformed::NotBool { field, value }),
        }
    }

    #[inline]
    fn room(&mut self, field: Name) -> Result<RoomId> {
        self.id(field).map(RoomId::from_bytes)
    }

    #[inline]
    fn client_id(&mut self, field: Name) -> Result<ClientId> {
        self.id(field).map(ClientId::from_bytes)
    }

    #[inline]
    fn user(&mut self, field: Name) -> Result<UserId> {
        UserId::new(self.int_up_to(INT_MAX, field)?).ok_or(Malformed::NoUser { field })
    }

    #[inline]
    fn text(&mut self, field: Name) -> Result<Cow<'a, str>> {
        utf8(self.sized(field)?, field)
    }

    fn users(&mut self, field: Name) -> Result<Vec<UserId>> {
        self.list(field, 1, |record| record.user(field))
    }

    #[inline]
    fn role(&mut self, field: Name) -> Result<Role> {
        self.byte(field).map(Role::from_number)
    }

    fn records<T: Item<'a>>(&mut self, field: Name) -> Result<Vec<T>> {
        self.list(field, 1 + T::BYTES_MIN, |record| T::read(&mut Record::new(record.sized(field)?)))
    }

    fn optional_int(&mut self, field: Name, tag: u64) -> Result<Option<u64>> {
        self.optional_value(field, tag, |value| value.int(field))
    }

    fn optional_user(&mut self, field: Name, tag: u64) -> Result<Option<UserId>> {
        self.optional_value(field, tag, |value| value.user(field))
    }

    fn optional_text(&mut self, field: Name, tag: u64) -> Result<Option<Cow<'a, str>>> {
        self.optional(field, tag)?.map(|value| utf8(value, field)).transpose()
    }

    fn optional_record<T: Item<'a>>(&mut self, field: Name, tag: u64) -> Result<Option<T>> {
        self.optional(field, tag)?.map(|value| T::read(&mut Record::new(value))).transpose()
    }

    fn optional_records<T: Item<'a>>(&mut self, field: Name, tag: u64) -> Result<Vec<T>> {
        Ok(self.optional_value(field, tag, |value| value.records(field))?.unwrap_or_default())
    }

    #[inline]
    fn end(&mut self) -> Result<()> {
        while self.next_optional()?.is_some() {}
        Ok(())
    }

    #[inline]
    fn event_kind(&mut self, field: Name) -> Result<EventKind> {
        self.byte(field).map(EventKind)
    }

    #[inline]
    fn event_body(
        &mut self,
        _: EventKind,
        body: impl FnOnce(&mut Self) -> Result<EventBody<'a>>,
    ) -> Result<EventBody<'a>> {
        body(&mut Record::new(self.sized("body")?))
    }
}
