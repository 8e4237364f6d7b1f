//! What the tables give back.

use carillon_protocol::UserId;
use carillon_protocol::frame::Role;

/// A room's own row.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RoomRow {
    /// What it is called.
    pub name: String,
    /// Its last seq.
    pub head_seq: u64,
    /// Its last ordinal.
    pub head_ordinal: u64,
    /// When its last event happened, in milliseconds since 1970.
    pub active_ms: u64,
    /// How many members it has.
    pub member_count: u64,
    /// Who wrote its last message.
    pub preview_sender: Option<UserId>,
    /// How its last message begins.
    pub preview: String,
}

/// A user's membership in a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemberRow {
    /// Whose.
    pub user: UserId,
    /// What they may do.
    pub role: Role,
    /// The event with which they joined: what came before is not theirs to read.
    pub joined_seq: u64,
    /// The room's ordinal then.
    pub joined_ordinal: u64,
    /// How far they have read.
    pub read_seq: u64,
    /// The room's ordinal there.
    pub read_ordinal: u64,
    /// When their marker last moved, in milliseconds since 1970; 0 where it has not since they joined.
    pub read_ms: u64,
    /// The ordinal of their own last message.
    pub own_ordinal: u64,
}

impl MemberRow {
    /// Messages this member has not read, in a room with that last ordinal. Exact, so it cannot drift.
    pub fn unread(&self, head_ordinal: u64) -> u64 {
        head_ordinal.saturating_sub(self.read_ordinal.max(self.own_ordinal).max(self.joined_ordinal))
    }
}

/// An event as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredEvent {
    /// Its place in the room.
    pub seq: u64,
    /// Its binary form.
    pub bytes: Vec<u8>,
}

/// What became of a send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SentRow {
    /// The event's place.
    pub seq: u64,
    /// Its ordinal.
    pub ordinal: u64,
    /// When it was decided.
    pub at_ms: u64,
    /// A hash of what was said, to tell a retry from another message under the same id.
    pub text_hash: u64,
}
