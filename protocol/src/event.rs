//! Events: what has a place in a room's order.

use std::borrow::Cow;

use crate::{ClientId, RoomId, UserId};

/// One place in a room's order. Its binary form is also what the log and the store keep, so an event is
/// encoded once in its life.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event<'a> {
    /// The room whose order this is.
    pub room: RoomId,
    /// Place in the room: 1, 2, 3, … without a hole.
    pub seq: u64,
    /// How many messages (what people read) the room has up to and including this event.
    pub ordinal: u64,
    /// When the home decided it, in milliseconds since 1970 (UTC). Never earlier than the event before it.
    pub at_ms: u64,
    /// Who caused it.
    pub sender: UserId,
    /// What happened.
    pub body: EventBody<'a>,
}

/// What happened. On the wire each has a number (`docs/protocol.md`), never reused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EventBody<'a> {
    /// The room began, always with seq 1. The sender is its first owner and is not among `members`.
    RoomCreated {
        /// What the room is called; may be empty.
        name: Cow<'a, str>,
        /// Who else belongs to it from the start.
        members: Vec<UserId>,
    },
    /// A message that people read: the only event that raises the ordinal.
    Message {
        /// The sender's name for this send.
        client_id: ClientId,
        /// What it says.
        text: Cow<'a, str>,
    },
    /// These users became members.
    MembersAdded {
        /// The new members, at least one.
        members: Vec<UserId>,
    },
    /// An owner removed this member.
    MemberRemoved {
        /// Who is no longer a member.
        user: UserId,
    },
    /// The sender left the room.
    MemberLeft,
    /// An event of a later version: it keeps its place, and a reader that cannot show it shows nothing.
    Unknown {
        /// The number of its kind.
        number: u64,
    },
}

impl Event<'_> {
    /// The same event, owning its texts.
    pub fn into_owned(self) -> Event<'static> {
        let body = match self.body {
            EventBody::RoomCreated { name, members } => {
                EventBody::RoomCreated { name: Cow::Owned(name.into_owned()), members }
            }
            EventBody::Message { client_id, text } => {
                EventBody::Message { client_id, text: Cow::Owned(text.into_owned()) }
            }
            EventBody::MembersAdded { members } => EventBody::MembersAdded { members },
            EventBody::MemberRemoved { user } => EventBody::MemberRemoved { user },
            EventBody::MemberLeft => EventBody::MemberLeft,
            EventBody::Unknown { number } => EventBody::Unknown { number },
        };
        Event { body, ..self }
    }

    /// Whether people read it, so that it counts as unread for everyone but its sender.
    pub fn is_message(&self) -> bool {
        matches!(self.body, EventBody::Message { .. })
    }
}
