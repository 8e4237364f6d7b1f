//! `history`: a room's events from a place or a moment on, however far back.

use carillon_protocol::event_header;

use super::{Decision, Turn, member, page_len, sync};
use crate::home::room::Room;

/// The events from `from_seq` on, or from the first at or after `at_ms`, but none before the member's own time.
pub fn decide(
    room: &mut Room,
    turn: &mut Turn<'_>,
    (from_seq, at_ms): (u64, Option<u64>),
    limit: u64,
) -> Decision {
    let joined_seq = member(room, turn.user)?.joined_seq;
    // The home has looked a moment up already that memory cannot place.
    let from_seq = at_ms.and_then(|at_ms| place(room, at_ms)).unwrap_or(from_seq);
    let after_seq = from_seq.max(joined_seq).saturating_sub(1).min(room.durable.seq);
    sync::page(room, turn, after_seq, page_len(limit, turn.settings.sync_events_max))
}

/// The seq of the first durable event at or after a moment, one past the last where all are before it; nothing where it may be an
/// event that memory has no more.
pub fn place(room: &Room, at_ms: u64) -> Option<u64> {
    let first_seq = room.recent.first_seq();
    let is_before = |event: &[u8]| event_header(event).is_ok_and(|header| header.at_ms < at_ms);
    let before = room.recent.after(first_seq - 1, room.durable.seq)?;
    let before = before.take_while(|event| is_before(event.event())).count() as u64;
    (before > 0 || first_seq == 1).then_some(first_seq + before)
}
