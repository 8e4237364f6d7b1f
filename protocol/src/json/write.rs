//! How fields look in JSON, written.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::Write;

use crate::fields::{Item, WriteFields};
use crate::frame::Role;
use crate::id::INT_MAX;
use crate::{ClientId, EventKind, RoomId, UserId};

type Name = &'static str;

/// Appends an object whose fields `write` appends.
pub(super) fn object(out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    write(&mut Object { out, empty: true });
    out.push(b'}');
}

/// An object that is open.
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl Object<'_> {
    /// A field whose value needs no escapes.
    pub(super) fn name(&mut self, field: Name, value: impl Display) {
        self.value(field, |out| put(out, format_args!("\"{value}\"")));
    }

    fn value(&mut self, field: Name, write: impl FnOnce(&mut Vec<u8>)) {
        let comma = if self.empty { "" } else { "," };
        self.empty = false;
        put(self.out, format_args!("{comma}\"{field}\":"));
        write(self.out);
    }

    fn list<T>(&mut self, field: Name, items: &[T], item: impl Fn(&mut Vec<u8>, &T)) {
        self.value(field, |out| {
            out.push(b'[');
            for (index, each) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                item(out, each);
            }
            out.push(b']');
        });
    }
}

/// Writing into memory does not fail.
fn put(out: &mut Vec<u8>, value: impl Display) {
    let _ = write!(out, "{value}");
}

impl WriteFields for Object<'_> {
    fn int(&mut self, field: Name, value: &u64) {
        self.value(field, |out| put(out, (*value).min(INT_MAX)));
    }

    fn bool(&mut self, field: Name, value: &bool) {
        self.value(field, |out| put(out, value));
    }

    fn room(&mut self, field: Name, room: &RoomId) {
        self.name(field, room);
    }

    fn client_id(&mut self, field: Name, id: &ClientId) {
        self.name(field, id);
    }

    fn text(&mut self, field: Name, text: &str) {
        self.value(field, |out| {
            let _ = serde_json::to_writer(out, text);
        });
    }

    fn users(&mut self, field: Name, users: &[UserId]) {
        self.list(field, users, |out, user| put(out, user));
    }

    fn role(&mut self, field: Name, role: &Role) {
        self.name(field, role.name());
    }

    fn records<'a, T: Item<'a>>(&mut self, field: Name, items: &[T]) {
        self.list(field, items, |out, item| object(out, |out| item.write(out)));
    }

    fn optional_int(&mut self, field: Name, _: u64, value: &Option<u64>) {
        if let Some(value) = value {
            self.int(field, value);
        }
    }

    fn optional_text(&mut self, field: Name, _: u64, text: &Option<Cow<'_, str>>) {
        if let Some(text) = text {
            self.text(field, text);
        }
    }

    fn optional_record<'a, T: Item<'a>>(&mut self, field: Name, _: u64, item: &Option<T>) {
        if let Some(item) = item {
            self.value(field, |out| object(out, |out| item.write(out)));
        }
    }

    fn optional_records<'a, T: Item<'a>>(&mut self, field: Name, _: u64, items: &[T]) {
        if !items.is_empty() {
            self.records(field, items);
        }
    }

    fn event(&mut self, field: Name, kind: EventKind, _: usize, body: impl FnOnce(&mut Self)) {
        self.name(field, kind.name());
        if !kind.is_known() {
            self.int("number", &u64::from(kind.0));
        }
        body(self);
    }
}
