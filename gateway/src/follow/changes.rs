//! What a record of the log changes in the store. Pure: the same record always gives the same changes.

use std::collections::HashMap;

use carillon_protocol::binary::{self, decode_event, encode_event};
use carillon_protocol::frame::Role;
use carillon_protocol::{ClientId, Event, EventBody, RoomId, UserId};
use carillon_storage::{Change, SentRow};

use crate::home::room::preview;
use crate::log::record::{Malformed, Record, text_hash};

/// Why a record cannot be archived.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is not a record.
    #[error("{0}")]
    Record(#[from] Malformed),
    /// The event in it is not an event.
    #[error("the event in the record cannot be read: {0}")]
    Event(#[from] binary::Malformed),
}

/// Adds what the record with these bytes changes; nothing where it is unreadable.
pub fn add_changes(record: &[u8], changes: &mut Vec<Change>) -> Result<(), Unreadable> {
    match Record::decode(record)? {
        Record::Event { member_count, event: bytes } => {
            let event = decode_event(bytes)?;
            add_event(&event, bytes, member_count, changes);
        }
        Record::Read { room, user, seq, ordinal, at_ms } => {
            changes.push(Change::ReadMarker { room, user, seq, ordinal, at_ms })
        }
    }
    Ok(())
}

/// Drops what a later change of the same columns makes needless: of a room's heads and previews, and of a member's markers,
/// only the last of a chunk is ever seen. A read marker that stands further than a later one says is not needless.
pub fn last_only(changes: Vec<Change>) -> Vec<Change> {
    let mut seen: HashMap<Columns, u64> = HashMap::new();
    let mut is_needed = |change: &Change| {
        let Some((columns, rank)) = columns(change) else { return true };
        let is_needed = seen.get(&columns).is_none_or(|&later| rank > later);
        if is_needed {
            seen.insert(columns, rank);
        }
        is_needed
    };
    let mut last: Vec<Change> = changes.into_iter().rev().filter(|change| is_needed(change)).collect();
    last.reverse();
    last
}

/// Columns that a change sets as a whole: which ones, of which room, of which member.
type Columns = (u8, RoomId, Option<UserId>);

/// The columns that a change sets as a whole, if it is one of those, and its rank: a change is needed after all when it ranks
/// above the later ones.
fn columns(change: &Change) -> Option<(Columns, u64)> {
    match *change {
        Change::Head { room, .. } => Some(((0, room, None), 0)),
        Change::Preview { room, .. } => Some(((1, room, None), 0)),
        Change::OwnSend { room, user, .. } => Some(((2, room, Some(user)), 0)),
        Change::ReadMarker { room, user, seq, .. } => Some(((3, room, Some(user)), seq)),
        _ => None,
    }
}

/// What an event is replaced by that the store will not take: it keeps its place, and readers show nothing there. The number is that of
/// a kind whose number got lost (`docs/protocol.md`).
const STAND_IN: u64 = 255;

/// A change of the same row with next to nothing in it, for one that the store refuses; nothing for a change that has nothing in
/// it already.
pub fn stand_in(change: &Change) -> Option<Change> {
    match change {
        Change::Event { bytes, seq, changed_seq, room } => {
            let body = EventBody::Unknown { number: STAND_IN };
            let event = Event { body, ..decode_event(bytes).ok()? };
            let mut bytes = Vec::new();
            encode_event(&event, &mut bytes);
            // As of before the event: it itself, when it is taken after all, stays.
            Some(Change::Event { room: *room, seq: *seq, bytes, changed_seq: changed_seq.saturating_sub(1) })
        }
        Change::Room { room, seq, name } if !name.is_empty() => {
            Some(Change::Room { room: *room, name: String::new(), seq: *seq })
        }
        Change::Preview { room, sender, seq, text } if !text.is_empty() => {
            Some(Change::Preview { room: *room, sender: *sender, text: String::new(), seq: *seq })
        }
        _ => None,
    }
}

fn add_event(event: &Event<'_>, bytes: &[u8], member_count: u64, changes: &mut Vec<Change>) {
    let Event { room, seq, ordinal, at_ms, sender, ref body } = *event;
    match body {
        EventBody::RoomCreated { name, members } => {
            changes.push(Change::Room { room, name: name.to_string(), seq });
            changes.push(joined(event, sender, Role::Owner));
            changes.extend(
                members.iter().filter(|&&user| user != sender).map(|&user| joined(event, user, Role::Member)),
            );
        }
        EventBody::Message { client_id, text } => add_message(event, *client_id, text, changes),
        EventBody::MembersAdded { members } => {
            changes.extend(members.iter().map(|&user| joined(event, user, Role::Member)));
        }
        EventBody::MemberRemoved { user } => changes.push(Change::MemberGone { room, user: *user, seq }),
        EventBody::MemberLeft => changes.push(Change::MemberGone { room, user: sender, seq }),
        EventBody::Unknown { .. } => {}
    }
    changes.push(Change::Event { room, seq, bytes: bytes.to_vec(), changed_seq: seq });
    changes.push(Change::Head { room, seq, ordinal, active_ms: at_ms, member_count });
}

fn add_message(event: &Event<'_>, client_id: ClientId, text: &str, changes: &mut Vec<Change>) {
    let Event { room, seq, ordinal, at_ms, sender, .. } = *event;
    let row = SentRow { seq, ordinal, at_ms, text_hash: text_hash(text) };
    let text = preview(text).to_owned();
    changes.push(Change::Sent { room, sender, client_id, row });
    changes.push(Change::OwnSend { room, user: sender, seq, ordinal });
    changes.push(Change::Preview { room, sender, text, seq });
}

fn joined(event: &Event<'_>, user: UserId, role: Role) -> Change {
    Change::MemberJoined { room: event.room, user, role, seq: event.seq, ordinal: event.ordinal }
}
