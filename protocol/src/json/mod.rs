//! Frames as JSON: WebSocket subprotocol `carillon.v1.json`, for k6, browsers and people.
//!
//! A text message holds one object with the frame's name in `kind` and its fields by name; an event's name is in
//! `event`. Readers pass over fields that they do not know. What [`encode`] writes, [`decode`] reads.

mod malformed;
mod read;
mod write;

pub use malformed::Malformed;

use read::Object;

use crate::fields::ReadFields;
use crate::{Frame, Kind};

/// The frame as one line of JSON.
pub fn encode(frame: &Frame<'_>) -> String {
    let mut line = Vec::with_capacity(128);
    encode_into(frame, &mut line);
    String::from_utf8(line).unwrap_or_default()
}

/// Appends the frame as one line of JSON.
pub fn encode_into(frame: &Frame<'_>, out: &mut Vec<u8>) {
    write::object(out, |out| {
        out.name("kind", frame.name());
        frame.write(out);
    });
}

/// The frame that `text` is.
pub fn decode(text: &str) -> Result<Frame<'_>, Malformed> {
    let mut object = Object::parse(text)?;
    let name = object.text("kind")?;
    let kind = Kind::from_name(&name).ok_or_else(|| Malformed::unknown_kind(&name))?;
    Frame::read(kind, &mut object)
}
