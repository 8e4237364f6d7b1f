//! `history`: a room's events from a place or a moment on, however far back.

use carillon_protocol::{RoomId, event_header};

use super::{Decided, Decision, Turn, member, page_len, sync};
use crate::home::room::Room;

/// A moment that memory does not reach back to.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Which room.
    pub room: RoomId,
    /// In milliseconds since 1970.
    pub at_ms: u64,
    /// The first event that is asked about,
    pub from_seq: u64,
    /// and the first that memory has: it, if all are before the moment.
    pub before_seq: u64,
}

/// The events from `from_seq` on, or from the first at or after `at_ms`, but none before the member's own time.
pub fn decide(room: &Room, turn: &Turn<'_>, (from_seq, at_ms): (u64, Option<u64>), limit: u64) -> Decision {
    let joined_seq = member(room, turn.user)?.joined_seq.max(1);
    let from_seq = match at_ms {
        None => from_seq,
        Some(at_ms) => match place(room, at_ms) {
            Some(seq) => seq,
            None if joined_seq < room.recent.first_seq() => {
                let (from_seq, before_seq) = (joined_seq, room.recent.first_seq());
                return Ok(Decided::AtMoment(Moment { room: room.id, at_ms, from_seq, before_seq }));
            }
            None => joined_seq,
        },
    };
    let after_seq = (from_seq.max(joined_seq) - 1).min(room.durable.seq);
    sync::page(room, turn, after_seq, page_len(limit, turn.settings.sync_events_max))
}

/// The seq of the first durable event at or after a moment, one past the last where all are before it; nothing where it may be an
/// event that memory has no more. A room's time never goes back.
fn place(room: &Room, at_ms: u64) -> Option<u64> {
    let first_seq = room.recent.first_seq();
    let is_before = |event: &[u8]| event_header(event).is_ok_and(|header| header.at_ms < at_ms);
    let before = room.recent.count_before(is_before) as u64;
    let seq = (first_seq + before).min(room.durable.seq + 1);
    (before > 0 || first_seq == 1).then_some(seq)
}
