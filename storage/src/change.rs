//! What the archiver writes: each change sets some columns of one row and may be repeated.
//!
//! Each names the place in its room's order that made it. A store may go by that alone: of two changes of the same columns
//! the one with the greater place counts, in whatever order they come.

use carillon_protocol::frame::Role;
use carillon_protocol::{ClientId, RoomId, UserId};

/// An idempotent upsert of some columns of one row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A room exists, and what it is called.
    Room {
        /// Which.
        room: RoomId,
        /// Its name.
        name: String,
        /// The event that named it so.
        seq: u64,
    },
    /// Where a room stands.
    Head {
        /// Which.
        room: RoomId,
        /// Its last seq.
        seq: u64,
        /// Its last ordinal.
        ordinal: u64,
        /// When its last event happened.
        active_ms: u64,
        /// How many members it has now.
        member_count: u64,
    },
    /// What the room list shows of a room's last message.
    Preview {
        /// Which.
        room: RoomId,
        /// Who wrote it.
        sender: UserId,
        /// How it begins.
        text: String,
        /// Its place.
        seq: u64,
    },
    /// An event, in its binary form.
    Event {
        /// Whose order.
        room: RoomId,
        /// Its place.
        seq: u64,
        /// Its bytes.
        bytes: Vec<u8>,
        /// The event that made it what it is now: itself, or the one that edited it.
        changed_seq: u64,
    },
    /// A user became a member. Sets the read marker to where the room stood then.
    MemberJoined {
        /// Of which room.
        room: RoomId,
        /// Who.
        user: UserId,
        /// What they may do.
        role: Role,
        /// The event with which they joined.
        seq: u64,
        /// The room's ordinal then: what came before does not count as unread.
        ordinal: u64,
    },
    /// A user is no longer a member: their row, markers included, is gone.
    MemberGone {
        /// Of which room.
        room: RoomId,
        /// Who.
        user: UserId,
        /// The event with which they went.
        seq: u64,
    },
    /// A member's read marker moved.
    ReadMarker {
        /// In which room.
        room: RoomId,
        /// Whose.
        user: UserId,
        /// Everything up to this event has been read.
        seq: u64,
        /// The room's ordinal there.
        ordinal: u64,
        /// When it moved.
        at_ms: u64,
    },
    /// A member sent a message: what is unread for them starts after it.
    OwnSend {
        /// In which room.
        room: RoomId,
        /// Who.
        user: UserId,
        /// Its place.
        seq: u64,
        /// Its ordinal.
        ordinal: u64,
    },
    /// A client id was used.
    Sent {
        /// In which room.
        room: RoomId,
        /// By whom.
        sender: UserId,
        /// The id.
        client_id: ClientId,
        /// What became of it.
        row: crate::SentRow,
    },
}
