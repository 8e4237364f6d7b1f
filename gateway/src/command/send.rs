//! `send`: a message gets its place in the room, once, however often it is sent.

use std::borrow::Cow;

use carillon_protocol::{ClientId, ErrorCode, EventBody};
use carillon_storage::SentRow;

use super::{Decision, Refusal, Turn, member};
use crate::config::Config;
use crate::home::room::{Head, Room};
use crate::home::sent_ids::Known;
use crate::log::record::text_hash;

/// A text of at least one and at most `text_bytes_max` bytes.
pub fn check(text: &str, settings: &Config) -> Result<(), Refusal> {
    if text.is_empty() {
        return Err(Refusal::new(ErrorCode::INVALID, "A message needs a text."));
    }
    if text.len() > settings.text_bytes_max {
        let message =
            format!("The text has {} bytes; at most {} are taken.", text.len(), settings.text_bytes_max);
        return Err(Refusal::new(ErrorCode::TOO_LARGE, message));
    }
    Ok(())
}

/// A new message, or the answer that the same one got before.
///
/// The home has looked the id up in the store already where memory could not tell, so what is not known here is new.
pub fn decide(room: &mut Room, turn: &mut Turn<'_>, client_id: ClientId, text: &str) -> Decision {
    member(room, turn.user)?;
    let hash = text_hash(text);
    if let Known::Sent(row) = room.sent.get(turn.user, client_id) {
        if row.text_hash != hash {
            return Err(Refusal::new(
                ErrorCode::CONFLICT,
                "Another text was sent under this client id before.",
            ));
        }
        return turn.ack(Head { seq: row.seq, ordinal: row.ordinal, at_ms: row.at_ms });
    }
    let audience = room.audience();
    let body = EventBody::Message { client_id, text: Cow::Borrowed(text) };
    let head = turn.ledger.event(room, turn.user, body, audience, turn.now_ms);
    let row = SentRow { seq: head.seq, ordinal: head.ordinal, at_ms: head.at_ms, text_hash: hash };
    room.sent.insert(turn.user, client_id, row);
    turn.ack(head)
}
