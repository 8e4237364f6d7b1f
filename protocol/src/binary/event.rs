//! An event's own bytes, as the log and the store keep them and as an `event` frame carries them.
//!
//! ```text
//! room 16 │ seq │ ordinal │ at_ms │ sender │ event kind 1 │ length of body │ body … │ optional fields …
//! ```

use super::Malformed;
use super::read::Record;
use crate::Event;
use crate::fields::Item;
pub use crate::layout::EventHeader;

/// Appends the event's own bytes.
pub fn encode_event(event: &Event<'_>, out: &mut Vec<u8>) {
    out.reserve(event.len_about());
    event.write(out);
}

/// The event whose own bytes these are.
pub fn decode_event(bytes: &[u8]) -> Result<Event<'_>, Malformed> {
    Event::read(&mut Record::new(bytes))
}

/// What stands before the event's body. Looks at nothing behind it.
pub fn event_header(bytes: &[u8]) -> Result<EventHeader, Malformed> {
    EventHeader::read(&mut Record::new(bytes))
}
