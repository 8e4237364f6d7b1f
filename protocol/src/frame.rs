//! Frames: the sentences client and gateway exchange.
//!
//! A frame that asks something carries a `request` number of the client's choice (not 0); the answer
//! carries it back. `request` 0 in an [`Frame::Error`] means the connection itself.

use std::borrow::Cow;

use crate::{ClientId, ErrorCode, Event, RoomId, UserId};

/// One frame, in either direction. Texts borrow from the bytes they were decoded from.
///
/// In JSON each is an object with its name in `kind`; optional fields may be left out.
/// Fields stand in the order in which they travel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    // From client to gateway.
    /// Opens the session: the first frame of a connection. Answered by `welcome`, or by `error` and a close.
    Hello {
        /// A JWT whose `sub` is the user id.
        token: Cow<'a, str>,
        /// What the app calls this device: 1 to 64 bytes. A new session of the same device replaces the old.
        device: Cow<'a, str>,
        /// Name and version of the client, for the operators' eyes.
        agent: Option<Cow<'a, str>>,
    },
    /// A fresh token for the session that is open. Answered by `ack`.
    Refresh {
        /// The number the answer carries.
        request: u64,
        /// A JWT of the same user.
        token: Cow<'a, str>,
    },
    /// Creates a room with the sender as owner. Answered by `ack` (seq 1), also when retried.
    CreateRoom {
        /// The number the answer carries.
        request: u64,
        /// The id the room shall have: a new UUID.
        room: RoomId,
        /// What it is called; may be empty.
        name: Cow<'a, str>,
        /// Who else belongs to it from the start.
        members: Vec<UserId>,
    },
    /// Adds members; for owners. Users who are members already are passed over. Answered by `ack`.
    AddMembers {
        /// The number the answer carries.
        request: u64,
        /// To which room.
        room: RoomId,
        /// Who is added.
        members: Vec<UserId>,
    },
    /// Removes a member; for owners. Answered by `ack`.
    RemoveMember {
        /// The number the answer carries.
        request: u64,
        /// From which room.
        room: RoomId,
        /// Who is removed.
        user: UserId,
    },
    /// Leaves a room. Answered by `ack`.
    Leave {
        /// The number the answer carries.
        request: u64,
        /// Which room.
        room: RoomId,
    },
    /// Sends a message. Answered by `ack` once it is durable.
    Send {
        /// The number the answer carries.
        request: u64,
        /// To which room.
        room: RoomId,
        /// The client's name for this send; a retry repeats it.
        client_id: ClientId,
        /// What it says.
        text: Cow<'a, str>,
    },
    /// Asks for a room's events after a seq. Answered by `events`, or by `snapshot` where that is too far back.
    Sync {
        /// The number the answer carries.
        request: u64,
        /// Which room.
        room: RoomId,
        /// The last seq the client has; 0 for none.
        after_seq: u64,
        /// At most so many events; 0 leaves it to the gateway.
        limit: u64,
    },
    /// Asks for a room's events from a place or a moment on, however far back. Answered by `events`.
    History {
        /// The number the answer carries.
        request: u64,
        /// Which room.
        room: RoomId,
        /// The first seq that is wanted.
        from_seq: u64,
        /// At most so many events; 0 leaves it to the gateway.
        limit: u64,
        /// From the first event at or after this moment instead, in milliseconds since 1970 (UTC).
        at_ms: Option<u64>,
    },
    /// Asks for the user's rooms, most recently active first. Answered by `room_list`.
    Rooms {
        /// The number the answer carries.
        request: u64,
        /// Only rooms that changed since this cursor (of an earlier `room_list`); 0 for all.
        changed_since: u64,
        /// At most so many rooms; 0 leaves it to the gateway.
        limit: u64,
        /// Where the page before ended (`next` of its `room_list`).
        page: Option<RoomPage>,
    },
    /// Asks who belongs to a room, in order of user id. Answered by `member_list`.
    Members {
        /// The number the answer carries.
        request: u64,
        /// Which room.
        room: RoomId,
        /// Only users above this id; 0 from the start.
        after_user: u64,
        /// At most so many members; 0 leaves it to the gateway.
        limit: u64,
    },
    /// Moves the user's read marker to a seq; a marker never moves back. Answered by `ack` once durable.
    MarkRead {
        /// The number the answer carries.
        request: u64,
        /// Which room.
        room: RoomId,
        /// Everything up to here has been read.
        seq: u64,
    },

    // Both ways.
    /// Is typing, or stopped. From the client without `user`; from the gateway with it. Not answered.
    Typing {
        /// Which room.
        room: RoomId,
        /// Whether they type now.
        active: bool,
        /// Who; only from the gateway.
        user: Option<UserId>,
    },
    /// Are you there? Answered by `pong` with the same stamp. The gateway's pings carry the heads of rooms
    /// that moved since its last, so that a lost last event is noticed without another one.
    Ping {
        /// Anything.
        stamp: u64,
        /// Heads of rooms that moved lately.
        heads: Vec<Head>,
    },
    /// Here I am.
    Pong {
        /// The ping's.
        stamp: u64,
    },

    // From gateway to client.
    /// The session is open.
    Welcome {
        /// Who the token says you are.
        user: UserId,
        /// The gateway's clock, in milliseconds since 1970.
        now_ms: u64,
        /// The gateway pings so often; a client that hears nothing for twice as long should reconnect.
        ping_interval_ms: u64,
        /// The largest frame the gateway takes.
        frame_bytes_max: u64,
        /// The longest text a message may have.
        text_bytes_max: u64,
        /// When the token runs out, in milliseconds since 1970; a `refresh` before then keeps the session.
        expires_ms: u64,
    },
    /// What was asked is done and durable.
    Ack {
        /// The request's number.
        request: u64,
        /// The event's place in its room; for `mark_read` where the marker stands now; 0 where there is none.
        seq: u64,
        /// The event's ordinal (for `mark_read` the marker's).
        ordinal: u64,
        /// When it was decided, in milliseconds since 1970; 0 where there is no event.
        at_ms: u64,
    },
    /// What was asked could not be done.
    Error {
        /// The request's number; 0 when it concerns the connection.
        request: u64,
        /// What was wrong, and whether to come back.
        code: ErrorCode,
        /// The same for people, in English.
        message: Cow<'a, str>,
        /// Come back no sooner than this.
        retry_after_ms: Option<u64>,
    },
    /// Something happened in a room, just now.
    Event(Event<'a>),
    /// The answer to `sync`: events in order, starting right after the seq asked for.
    Events {
        /// The request's number.
        request: u64,
        /// Which room.
        room: RoomId,
        /// The room's last seq: ask on while the last event is before it.
        head_seq: u64,
        /// The events.
        events: Vec<Event<'a>>,
    },
    /// The answer to a `sync` from too far back: forget what you have of this room and start at `from_seq`.
    Snapshot {
        /// The request's number.
        request: u64,
        /// Which room.
        room: RoomId,
        /// The room's last seq.
        head_seq: u64,
        /// The room's last ordinal.
        head_ordinal: u64,
        /// `sync` with this as `after_seq` works.
        from_seq: u64,
        /// What the room is called.
        name: Cow<'a, str>,
    },
    /// The answer to `rooms`.
    RoomList {
        /// The request's number.
        request: u64,
        /// For the next session's `changed_since`. Take it from the first page.
        cursor: u64,
        /// The rooms.
        rooms: Vec<RoomEntry<'a>>,
        /// Where to go on, when there are more.
        next: Option<RoomPage>,
    },
    /// The answer to `members`.
    MemberList {
        /// The request's number.
        request: u64,
        /// Which room.
        room: RoomId,
        /// The members, in order of user id.
        members: Vec<Member>,
        /// Whether there are more.
        more: bool,
    },
    /// Somebody's read marker moved: another member's, or one's own on another device.
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
    /// You were too slow and what waited for you was dropped: `sync` this room after `from_seq - 1`.
    Lagged {
        /// Which room.
        room: RoomId,
        /// The first event that was dropped.
        from_seq: u64,
    },
    /// This node is leaving: reconnect after `reconnect_after_ms` and a random part of `jitter_ms`.
    GoAway {
        /// Wait at least this long.
        reconnect_after_ms: u64,
        /// And at most this much longer.
        jitter_ms: u64,
    },
}

impl Frame<'_> {
    /// Its name, as JSON and `docs/protocol.md` write it.
    pub const fn name(&self) -> &'static str {
        self.kind().name()
    }

    /// The number that ties question and answer; nothing for a frame that is neither.
    pub const fn request(&self) -> Option<u64> {
        match self {
            Frame::Refresh { request, .. }
            | Frame::CreateRoom { request, .. }
            | Frame::AddMembers { request, .. }
            | Frame::RemoveMember { request, .. }
            | Frame::Leave { request, .. }
            | Frame::Send { request, .. }
            | Frame::Sync { request, .. }
            | Frame::History { request, .. }
            | Frame::Rooms { request, .. }
            | Frame::Members { request, .. }
            | Frame::MarkRead { request, .. }
            | Frame::Ack { request, .. }
            | Frame::Error { request, .. }
            | Frame::Events { request, .. }
            | Frame::Snapshot { request, .. }
            | Frame::RoomList { request, .. }
            | Frame::MemberList { request, .. } => Some(*request),
            Frame::Hello { .. }
            | Frame::Typing { .. }
            | Frame::Ping { .. }
            | Frame::Pong { .. }
            | Frame::Welcome { .. }
            | Frame::Event(_)
            | Frame::Read { .. }
            | Frame::Lagged { .. }
            | Frame::GoAway { .. } => None,
        }
    }

    /// The same frame, owning its texts.
    pub fn into_owned(self) -> Frame<'static> {
        match self {
            Frame::Hello { token, device, agent } => {
                Frame::Hello { token: owned(token), device: owned(device), agent: agent.map(owned) }
            }
            Frame::Refresh { request, token } => Frame::Refresh { request, token: owned(token) },
            Frame::CreateRoom { request, room, name, members } => {
                Frame::CreateRoom { request, room, name: owned(name), members }
            }
            Frame::AddMembers { request, room, members } => Frame::AddMembers { request, room, members },
            Frame::RemoveMember { request, room, user } => Frame::RemoveMember { request, room, user },
            Frame::Leave { request, room } => Frame::Leave { request, room },
            Frame::Send { request, room, client_id, text } => {
                Frame::Send { request, room, client_id, text: owned(text) }
            }
            Frame::Sync { request, room, after_seq, limit } => {
                Frame::Sync { request, room, after_seq, limit }
            }
            Frame::History { request, room, from_seq, limit, at_ms } => {
                Frame::History { request, room, from_seq, limit, at_ms }
            }
            Frame::Rooms { request, changed_since, limit, page } => {
                Frame::Rooms { request, changed_since, limit, page }
            }
            Frame::Members { request, room, after_user, limit } => {
                Frame::Members { request, room, after_user, limit }
            }
            Frame::MarkRead { request, room, seq } => Frame::MarkRead { request, room, seq },
            Frame::Typing { room, active, user } => Frame::Typing { room, active, user },
            Frame::Ping { stamp, heads } => Frame::Ping { stamp, heads },
            Frame::Pong { stamp } => Frame::Pong { stamp },
            Frame::Welcome {
                user,
                now_ms,
                ping_interval_ms,
                frame_bytes_max,
                text_bytes_max,
                expires_ms,
            } => {
                Frame::Welcome { user, now_ms, ping_interval_ms, frame_bytes_max, text_bytes_max, expires_ms }
            }
            Frame::Ack { request, seq, ordinal, at_ms } => Frame::Ack { request, seq, ordinal, at_ms },
            Frame::Error { request, code, message, retry_after_ms } => {
                Frame::Error { request, code, message: owned(message), retry_after_ms }
            }
            Frame::Event(event) => Frame::Event(event.into_owned()),
            Frame::Events { request, room, head_seq, events } => Frame::Events {
                request,
                room,
                head_seq,
                events: events.into_iter().map(Event::into_owned).collect(),
            },
            Frame::Snapshot { request, room, head_seq, head_ordinal, from_seq, name } => {
                Frame::Snapshot { request, room, head_seq, head_ordinal, from_seq, name: owned(name) }
            }
            Frame::RoomList { request, cursor, rooms, next } => Frame::RoomList {
                request,
                cursor,
                rooms: rooms.into_iter().map(RoomEntry::into_owned).collect(),
                next,
            },
            Frame::MemberList { request, room, members, more } => {
                Frame::MemberList { request, room, members, more }
            }
            Frame::Read { room, user, seq, unread } => Frame::Read { room, user, seq, unread },
            Frame::Lagged { room, from_seq } => Frame::Lagged { room, from_seq },
            Frame::GoAway { reconnect_after_ms, jitter_ms } => {
                Frame::GoAway { reconnect_after_ms, jitter_ms }
            }
        }
    }
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

/// Where a room stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Which room.
    pub room: RoomId,
    /// Its last seq.
    pub seq: u64,
}

/// A place in the list of rooms: the last room of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoomPage {
    /// That room's `active_ms`.
    pub active_ms: u64,
    /// That room.
    pub room: RoomId,
}

/// A room as its member sees it in the list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoomEntry<'a> {
    /// Which room.
    pub room: RoomId,
    /// What it is called.
    pub name: Cow<'a, str>,
    /// When its last event happened.
    pub active_ms: u64,
    /// Its last seq.
    pub head_seq: u64,
    /// Its last ordinal.
    pub head_ordinal: u64,
    /// How far the asking user has read.
    pub read_seq: u64,
    /// Messages the asking user has not read; exact.
    pub unread: u64,
    /// How many members it has.
    pub member_count: u64,
    /// How its last message begins.
    pub preview: Cow<'a, str>,
    /// Who sent its last message; absent where there is none.
    pub preview_sender: Option<UserId>,
}

impl RoomEntry<'_> {
    /// The same entry, owning its texts.
    pub fn into_owned(self) -> RoomEntry<'static> {
        RoomEntry { name: owned(self.name), preview: owned(self.preview), ..self }
    }
}

/// A member of a room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Who.
    pub user: UserId,
    /// What they may do.
    pub role: Role,
    /// How far they have read.
    pub read_seq: u64,
}

/// What a member may do. One that a reader does not know is a [`Role::Member`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Role {
    /// Reads and sends.
    #[default]
    Member = 0,
    /// Adds and removes members too.
    Owner = 1,
}

impl Role {
    /// Every role of this version.
    pub const ALL: [Role; 2] = [Role::Member, Role::Owner];

    /// Its number in binary.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Member => "member",
            Role::Owner => "owner",
        }
    }

    /// The role with that number in binary.
    pub fn from_number(number: u8) -> Self {
        Self::ALL.into_iter().find(|role| role.number() == number).unwrap_or_default()
    }

    /// The role with that name in JSON.
    pub fn from_name(name: &str) -> Self {
        Self::ALL.into_iter().find(|role| role.name() == name).unwrap_or_default()
    }
}
