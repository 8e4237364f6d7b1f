//! How fields travel: what a form of the protocol must be able to write and to read.
//!
//! `layout.rs` says once which fields there are; [`crate::binary`] and [`crate::json`] each say once how a
//! field of some form travels. Binary goes by the order of calls and by tags, JSON by names: in a path such as
//! `rooms.unread` the name is what follows the dot, and the rest is for whoever reads the error.

use std::borrow::Cow;

use crate::frame::Role;
use crate::id::INT_MAX;
use crate::{ClientId, ErrorCode, EventBody, EventKind, RoomId, UserId};

type Name = &'static str;

/// Appends fields: first those that are always there, then the optional ones, left out where there is nothing
/// to say.
pub(crate) trait WriteFields: Sized {
    /// A number above 2^53 − 1 is cut to that, so that what is sent can always be read.
    fn int(&mut self, field: Name, value: &u64);
    fn bool(&mut self, field: Name, value: &bool);
    fn room(&mut self, field: Name, room: &RoomId);
    fn client_id(&mut self, field: Name, id: &ClientId);
    fn text(&mut self, field: Name, text: &str);
    fn users(&mut self, field: Name, users: &[UserId]);
    fn role(&mut self, field: Name, role: &Role);
    fn records<'a, T: Item<'a>>(&mut self, field: Name, items: &[T]);

    fn optional_int(&mut self, field: Name, tag: u64, value: &Option<u64>);
    fn optional_text(&mut self, field: Name, tag: u64, text: &Option<Cow<'_, str>>);
    fn optional_record<'a, T: Item<'a>>(&mut self, field: Name, tag: u64, item: &Option<T>);
    /// An empty list is nothing to say.
    fn optional_records<'a, T: Item<'a>>(&mut self, field: Name, tag: u64, items: &[T]);

    /// What the event is, and then what it says, in about `len_about` bytes.
    fn event(&mut self, field: Name, kind: EventKind, len_about: usize, body: impl FnOnce(&mut Self));

    #[inline]
    fn user(&mut self, field: Name, user: &UserId) {
        self.int(field, &user.get());
    }

    #[inline]
    fn code(&mut self, field: Name, code: &ErrorCode) {
        self.int(field, &u64::from(code.0));
    }

    #[inline]
    fn optional_user(&mut self, field: Name, tag: u64, user: &Option<UserId>) {
        self.optional_int(field, tag, &user.map(UserId::get));
    }
}

/// Reads the same fields in the same order, and then passes over what a later version may have put behind them.
pub(crate) trait ReadFields<'a>: Sized {
    type Malformed;

    fn int_up_to(&mut self, max: u64, field: Name) -> Result<u64, Self::Malformed>;
    fn bool(&mut self, field: Name) -> Result<bool, Self::Malformed>;
    fn room(&mut self, field: Name) -> Result<RoomId, Self::Malformed>;
    fn client_id(&mut self, field: Name) -> Result<ClientId, Self::Malformed>;
    fn user(&mut self, field: Name) -> Result<UserId, Self::Malformed>;
    fn text(&mut self, field: Name) -> Result<Cow<'a, str>, Self::Malformed>;
    fn users(&mut self, field: Name) -> Result<Vec<UserId>, Self::Malformed>;
    fn role(&mut self, field: Name) -> Result<Role, Self::Malformed>;
    fn records<T: Item<'a>>(&mut self, field: Name) -> Result<Vec<T>, Self::Malformed>;

    fn optional_int(&mut self, field: Name, tag: u64) -> Result<Option<u64>, Self::Malformed>;
    fn optional_user(&mut self, field: Name, tag: u64) -> Result<Option<UserId>, Self::Malformed>;
    fn optional_text(&mut self, field: Name, tag: u64) -> Result<Option<Cow<'a, str>>, Self::Malformed>;
    fn optional_record<T: Item<'a>>(&mut self, field: Name, tag: u64) -> Result<Option<T>, Self::Malformed>;
    fn optional_records<T: Item<'a>>(&mut self, field: Name, tag: u64) -> Result<Vec<T>, Self::Malformed>;

    fn end(&mut self) -> Result<(), Self::Malformed>;

    fn event_kind(&mut self, field: Name) -> Result<EventKind, Self::Malformed>;
    /// What an event of that kind says, with `body` reading the fields to their end.
    fn event_body(
        &mut self,
        kind: EventKind,
        body: impl FnOnce(&mut Self) -> Result<EventBody<'a>, Self::Malformed>,
    ) -> Result<EventBody<'a>, Self::Malformed>;

    #[inline]
    fn int(&mut self, field: Name) -> Result<u64, Self::Malformed> {
        self.int_up_to(INT_MAX, field)
    }

    #[inline]
    fn code(&mut self, field: Name) -> Result<ErrorCode, Self::Malformed> {
        self.int_up_to(u64::from(u16::MAX), field).map(|code| ErrorCode(code as u16))
    }
}

/// What stands in a list, or as a value with fields of its own. A later version may append fields to it.
pub(crate) trait Item<'a>: Sized {
    /// The fewest bytes it takes in binary.
    const BYTES_MIN: usize;

    /// About how many bytes it takes in binary; 0 for some few.
    fn len_about(&self) -> usize {
        0
    }

    fn write<W: WriteFields>(&self, out: &mut W);
    /// Reads it to its end.
    fn read<R: ReadFields<'a>>(from: &mut R) -> Result<Self, R::Malformed>;
}
