//! `sync`: a room's events after a seq, from memory where it has them, from the store where it does not.

use std::borrow::Cow;

use carillon_protocol::{Frame, RoomId};

use super::{Decided, Decision, Turn, member, page_len};
use crate::config::{Config, FRAME_OVERHEAD_BYTES};
use crate::home::room::Room;
use crate::shard::message::Reply;

/// How many bytes of events an answer holds, about: a page, not a flood.
pub const PAGE_BYTES: usize = 32 * 1024;

/// A page that only the store has.
#[derive(Clone, Copy, Debug)]
pub struct FromStore {
    /// The request's number.
    pub request: u64,
    /// Which room.
    pub room: RoomId,
    /// The last seq the client has.
    pub after_seq: u64,
    /// Up to here the store gives; memory has the rest.
    pub up_to_seq: u64,
    /// At most so many events.
    pub limit: usize,
    /// The room's last durable seq.
    pub head_seq: u64,
}

/// How many bytes an answer of so many events may have, about.
pub fn answer_bytes(limit: u64, settings: &Config) -> usize {
    let events = page_len(limit, usize::MAX);
    let event_bytes = settings.text_bytes_max + FRAME_OVERHEAD_BYTES as usize;
    events.saturating_mul(event_bytes).min(PAGE_BYTES)
}

/// The events after `after_seq`; a snapshot where that is too far back, or before the member's own time.
pub fn decide(room: &mut Room, turn: &mut Turn<'_>, after_seq: u64, limit: u64) -> Decision {
    let joined_seq = member(room, turn.user)?.joined_seq;
    let head = room.durable;
    let after_seq = after_seq.min(head.seq);
    // A member who joined with an event that is not durable yet starts before it all the same.
    let earliest = joined_seq.saturating_sub(1);
    let limit = page_len(limit, turn.settings.sync_events_max);
    let too_far = head.seq.saturating_sub(after_seq) > turn.settings.sync_reach_events;
    if after_seq < earliest || too_far {
        let from_seq = if too_far { head.seq.saturating_sub(limit as u64) } else { earliest };
        return Ok(Decided::Now(Reply::Frame(Frame::Snapshot {
            request: turn.request,
            room: room.id,
            head_seq: head.seq,
            head_ordinal: head.ordinal,
            from_seq: from_seq.max(earliest),
            name: Cow::Owned(room.name.to_string()),
        })));
    }
    page(room, turn, after_seq, limit)
}

/// The events after `after_seq`, which is not past the last durable one; at most `limit`.
pub(super) fn page(room: &Room, turn: &Turn<'_>, after_seq: u64, limit: usize) -> Decision {
    let head = room.durable;
    match room.recent.after(after_seq, head.seq) {
        Some(events) => {
            let mut bytes = 0;
            let events = events.take(limit).map(|event| event.event());
            let count = events.clone().take_while(|event| page_takes(&mut bytes, event.len())).count();
            let mut out = Vec::with_capacity(bytes + 64);
            carillon_protocol::encode_events_frame(
                turn.request,
                room.id,
                head.seq,
                events.take(count),
                &mut out,
            );
            Ok(Decided::Now(Reply::Bytes(out)))
        }
        None => Ok(Decided::FromStore(FromStore {
            request: turn.request,
            room: room.id,
            after_seq,
            up_to_seq: room.recent.first_seq() - 1,
            limit,
            head_seq: head.seq,
        })),
    }
}

/// Counts an event into a page; the first always fits.
fn page_takes(bytes: &mut usize, event_bytes: usize) -> bool {
    let fits = *bytes == 0 || *bytes + event_bytes <= PAGE_BYTES;
    *bytes += event_bytes;
    fits
}
