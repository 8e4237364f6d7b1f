//! What the app is told: events in order, and what travels beside them.

use carillon_protocol::{Event, RoomId, UserId};

/// Something the app should know.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Update {
    /// Something happened in a room. Within a room events come in seq order, each once, none left out.
    Event(Event<'static>),
    /// Too much happened while the client was away: forget what you have of this room; the next event follows
    /// `after_seq`. What is before it can be read with [`Room::history`](crate::Room::history).
    Reset {
        /// Which room.
        room: RoomId,
        /// What it is called.
        name: String,
        /// The next event's seq is this plus one.
        after_seq: u64,
    },
    /// The gateway says that the user is not in this room any more; no more events of it will come.
    Gone {
        /// Which room.
        room: RoomId,
    },
    /// A read marker moved: another member's, or one's own on another device. May be left out when the app is slow.
    Read {
        /// Which room.
        room: RoomId,
        /// Whose marker.
        user: UserId,
        /// Everything up to here has been read.
        seq: u64,
        /// What is left unread; only in one's own.
        unread: Option<u64>,
    },
    /// Somebody types, or stopped. May be left out when the app is slow.
    Typing {
        /// Which room.
        room: RoomId,
        /// Who.
        user: UserId,
        /// Whether they type now.
        active: bool,
    },
}

/// Whether the client is connected just now. The SDK reconnects by itself; an app shows this, or ignores it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectionState {
    /// A connection is being made.
    Connecting,
    /// The session is open.
    Open,
    /// The connection was lost; the next attempt comes in about this many milliseconds.
    Waiting {
        /// Until the next attempt.
        retry_in_ms: u64,
        /// What happened to the last.
        reason: String,
    },
    /// The client has ended and will not connect again.
    Closed(crate::Error),
}
