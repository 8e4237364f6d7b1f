//! How fields look in JSON, read. Every error names the field.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Malformed;
use crate::fields::{Item, ReadFields};
use crate::frame::Role;
use crate::id::INT_MAX;
use crate::{ClientId, EventBody, EventKind, RoomId, UserId};

type Name = &'static str;
type Result<T> = std::result::Result<T, Malformed>;

/// The fields of an object, not looked into until they are asked for.
pub(super) struct Object<'a> {
    fields: Vec<(Text<'a>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| Malformed::NotAnObject(error.to_string()))
    }

    /// The field's value; nothing where it is missing or null.
    fn find(&self, field: Name) -> Result<Option<&'a str>> {
        let name = field.rsplit('.').next().unwrap_or(field);
        let mut found = self.fields.iter().filter(|(other, _)| other.0 == name).map(|(_, value)| value.get());
        let value = found.next();
        if found.next().is_some() {
            return Err(Malformed::Repeated { field });
        }
        Ok(value.filter(|value| *value != "null"))
    }

    fn optional<T: Deserialize<'a>>(&self, field: Name, expected: &'static str) -> Result<Option<T>> {
        self.find(field)?.map(|value| parse(value, field, expected)).transpose()
    }

    fn required<T: Deserialize<'a>>(&self, field: Name, expected: &'static str) -> Result<T> {
        self.optional(field, expected)?.ok_or(Malformed::Missing { field })
    }

    fn optional_int_up_to(&self, max: u64, field: Name) -> Result<Option<u64>> {
        let expected = if max == INT_MAX {
            "a whole number from 0 to 2^53 - 1"
        } else {
            "a whole number from 0 to 65535"
        };
        match self.optional(field, expected)? {
            Some(value) if value > max => Err(Malformed::NotA { field, expected }),
            value => Ok(value),
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(value: &'a str, field: Name, expected: &'static str) -> Result<T> {
    serde_json::from_str(value).map_err(|_| Malformed::NotA { field, expected })
}

fn items<'a, T: Item<'a>>(value: &'a str, field: Name) -> Result<Vec<T>> {
    let objects: Vec<Object<'a>> = parse(value, field, "a list of objects")?;
    objects.into_iter().map(|mut object| T::read(&mut object)).collect()
}

const USER: &str = "a user id, a whole number from 1 to 2^53 - 1";

impl<'a> ReadFields<'a> for Object<'a> {
    type Malformed = Malformed;

    fn int_up_to(&mut self, max: u64, field: Name) -> Result<u64> {
        self.optional_int_up_to(max, field)?.ok_or(Malformed::Missing { field })
    }

    fn bool(&mut self, field: Name) -> Result<bool> {
        self.required(field, "true or false")
    }

    fn room(&mut self, field: Name) -> Result<RoomId> {
        self.required(field, "a UUID")
    }

    fn client_id(&mut self, field: Name) -> Result<ClientId> {
        self.required(field, "a UUID")
    }

    fn user(&mut self, field: Name) -> Result<UserId> {
        self.required(field, USER)
    }

    fn text(&mut self, field: Name) -> Result<Cow<'a, str>> {
        self.required(field, "a text").map(|Text(text)| text)
    }

    fn users(&mut self, field: Name) -> Result<Vec<UserId>> {
        self.required(field, "a list of user ids, whole numbers from 1 to 2^53 - 1")
    }

    fn role(&mut self, field: Name) -> Result<Role> {
        self.text(field).map(|name| Role::from_name(&name))
    }

    fn records<T: Item<'a>>(&mut self, field: Name) -> Result<Vec<T>> {
        items(self.find(field)?.ok_or(Malformed::Missing { field })?, field)
    }

    fn optional_int(&mut self, field: Name, _: u64) -> Result<Option<u64>> {
        self.optional_int_up_to(INT_MAX, field)
    }

    fn optional_user(&mut self, field: Name, _: u64) -> Result<Option<UserId>> {
        self.optional(field, USER)
    }

    fn optional_text(&mut self, field: Name, _: u64) -> Result<Option<Cow<'a, str>>> {
        Ok(self.optional(field, "a text")?.map(|Text(text)| text))
    }

    fn optional_record<T: Item<'a>>(&mut self, field: Name, _: u64) -> Result<Option<T>> {
        let object: Option<Object<'a>> = self.optional(field, "an object")?;
        object.map(|mut object| T::read(&mut object)).transpose()
    }

    fn optional_records<T: Item<'a>>(&mut self, field: Name, _: u64) -> Result<Vec<T>> {
        self.find(field)?.map_or(Ok(Vec::new()), |value| items(value, field))
    }

    /// Fields have no order here, and unknown ones no end.
    fn end(&mut self) -> Result<()> {
        Ok(())
    }

    /// A name that this version does not know is an unknown event, with a number if its sender knew one.
    fn event_kind(&mut self, field: Name) -> Result<EventKind> {
        match EventKind::from_name(&self.text(field)?) {
            Some(kind) => Ok(kind),
            None => Ok(EventKind::of_unknown(self.optional_int("number", 0)?.unwrap_or(u64::MAX))),
        }
    }

    fn event_body(
        &mut self,
        _: EventKind,
        body: impl FnOnce(&mut Self) -> Result<EventBody<'a>>,
    ) -> Result<EventBody<'a>> {
        body(self)
    }
}

/// A text that is borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Object<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Object<'de>, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Object { fields })
    }
}
