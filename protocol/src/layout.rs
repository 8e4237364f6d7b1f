//! The protocol in three tables: every frame, every event and every item of a list, with their numbers and their
//! fields in the order in which they travel.
//!
//! What stands here never changes its number, place, form or tag. A later version adds: frames and events with
//! new numbers, and optional fields (`= tag`) at the end. `docs/protocol.md` says what the forms look like.

use crate::fields::{Item, ReadFields, WriteFields};
use crate::frame::{Head, Member, RoomEntry, RoomPage};
use crate::{Event, EventBody, Frame, RoomId, UserId, varint};

frames! {
    Hello = 0x01, "hello", ToGateway { token: text, device: text, agent: optional_text = 1 };
    CreateRoom = 0x02, "create_room", ToGateway { request: int, room: room, name: text, members: users };
    AddMembers = 0x03, "add_members", ToGateway { request: int, room: room, members: users };
    RemoveMember = 0x04, "remove_member", ToGateway { request: int, room: room, user: user };
    Leave = 0x05, "leave", ToGateway { request: int, room: room };
    Send = 0x06, "send", ToGateway { request: int, room: room, client_id: client_id, text: text };
    Sync = 0x07, "sync", ToGateway { request: int, room: room, after_seq: int, limit: int };
    Rooms = 0x08, "rooms", ToGateway {
        request: int, changed_since: int, limit: int, page: optional_record = 1
    };
    MarkRead = 0x09, "mark_read", ToGateway { request: int, room: room, seq: int };
    Typing = 0x0a, "typing", Both { room: room, active: bool, user: optional_user = 1 };
    Ping = 0x0b, "ping", Both { stamp: int, heads: optional_records = 1 };
    Pong = 0x0c, "pong", Both { stamp: int };
    Refresh = 0x0d, "refresh", ToGateway { request: int, token: text };
    Members = 0x0e, "members", ToGateway { request: int, room: room, after_user: int, limit: int };
    History = 0x0f, "history", ToGateway {
        request: int, room: room, from_seq: int, limit: int, at_ms: optional_int = 1
    };
    Welcome = 0x41, "welcome", ToClient {
        user: user, now_ms: int, ping_interval_ms: int, frame_bytes_max: int, text_bytes_max: int, expires_ms: int
    };
    Ack = 0x42, "ack", ToClient { request: int, seq: int, ordinal: int, at_ms: int };
    Error = 0x43, "error", ToClient {
        request: int, code: code, message: text, retry_after_ms: optional_int = 1
    };
    Event = 0x44, "event", ToClient (event);
    Events = 0x45, "events", ToClient { request: int, room: room, head_seq: int, events: records };
    Snapshot = 0x46, "snapshot", ToClient {
        request: int, room: room, head_seq: int, head_ordinal: int, from_seq: int, name: text
    };
    RoomList = 0x47, "room_list", ToClient {
        request: int, cursor: int, rooms: records, next: optional_record = 1
    };
    Read = 0x48, "read", ToClient { room: room, user: user, seq: int, unread: optional_int = 1 };
    Lagged = 0x4a, "lagged", ToClient { room: room, from_seq: int };
    GoAway = 0x4b, "go_away", ToClient { reconnect_after_ms: int, jitter_ms: int };
    MemberList = 0x4d, "member_list", ToClient { request: int, room: room, members: records, more: bool };
}

events! {
    ROOM_CREATED RoomCreated = 0, "room_created" { name: text, members: users };
    MESSAGE Message = 1, "message" { client_id: client_id, text: text };
    MEMBERS_ADDED MembersAdded = 2, "members_added" { members: users };
    MEMBER_REMOVED MemberRemoved = 3, "member_removed" { user: user };
    MEMBER_LEFT MemberLeft = 4, "member_left" {};
}

items! {
    Head in "heads" { room: room, seq: int };
    RoomPage in "page" { active_ms: int, room: room };
    Member in "members" { user: user, role: role, read_seq: int };
    RoomEntry<'a> in "rooms" {
        room: room, name: text, active_ms: int, head_seq: int, head_ordinal: int, read_seq: int, unread: int,
        member_count: int, preview: text, preview_sender: optional_user = 1
    };
}

/// Who sends a kind of frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Only the client.
    ToGateway,
    /// Only the gateway.
    ToClient,
    /// Either.
    Both,
}

/// A field of a frame, an event's body or an item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// How it travels.
    pub form: &'static str,
    /// Its tag, where it is optional.
    pub tag: Option<u64>,
}

/// The fewest bytes these fields take in binary.
const fn bytes_min(fields: &[Field]) -> usize {
    let (mut sum, mut index) = (0, 0);
    while index < fields.len() {
        sum += match (fields[index].tag, fields[index].form.as_bytes()) {
            (Some(_), _) => 0,
            (None, b"room" | b"client_id") => 16,
            (None, _) => 1,
        };
        index += 1;
    }
    sum
}

impl Kind {
    /// Its number.
    #[inline]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether a reader that does not know the kind may pass over it: what is not kept, and not missed when lost.
    #[inline]
    pub const fn skippable(self) -> bool {
        matches!(self, Kind::Typing | Kind::Read)
    }
}

/// What an event is: a byte of its binary form. An event of an unknown kind keeps its place.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EventKind(pub u8);

impl EventKind {
    /// No version gives an event this number.
    pub const UNKNOWN: EventKind = EventKind(255);

    /// Whether this version knows what such an event says.
    #[inline]
    pub const fn is_known(self) -> bool {
        (self.0 as usize) < Self::ALL.len()
    }

    /// The kind of an event that says it is unknown: never one that is known.
    pub(crate) const fn of_unknown(number: u64) -> EventKind {
        let kind = EventKind(if number < 255 { number as u8 } else { 255 });
        if kind.is_known() { Self::UNKNOWN } else { kind }
    }
}

/// What stands before an event's body: enough to put the event in its place without reading what it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventHeader {
    /// The room whose order this is.
    pub room: RoomId,
    /// Place in the room.
    pub seq: u64,
    /// Messages up to and including this event.
    pub ordinal: u64,
    /// When it was decided.
    pub at_ms: u64,
    /// Who caused it.
    pub sender: UserId,
    /// What it is.
    pub kind: EventKind,
}

impl EventHeader {
    #[inline]
    pub(crate) fn read<'a, R: ReadFields<'a>>(from: &mut R) -> Result<Self, R::Malformed> {
        Ok(Self {
            room: from.room("room")?,
            seq: from.int("seq")?,
            ordinal: from.int("ordinal")?,
            at_ms: from.int("at_ms")?,
            sender: from.user("sender")?,
            kind: from.event_kind("event")?,
        })
    }
}

impl<'a> Item<'a> for Event<'a> {
    const BYTES_MIN: usize = 16 + 4 + 1 + 1;

    #[inline]
    fn len_about(&self) -> usize {
        let numbers = [self.seq, self.ordinal, self.at_ms, self.sender.get()];
        let body = self.body.len_about();
        16 + numbers.map(varint::len).iter().sum::<usize>() + 1 + varint::len(body as u64) + body
    }

    #[inline]
    fn write<W: WriteFields>(&self, out: &mut W) {
        out.room("room", &self.room);
        out.int("seq", &self.seq);
        out.int("ordinal", &self.ordinal);
        out.int("at_ms", &self.at_ms);
        out.user("sender", &self.sender);
        out.event("event", self.body.kind(), self.body.len_about(), |out| self.body.write(out));
    }

    #[inline]
    fn read<R: ReadFields<'a>>(from: &mut R) -> Result<Self, R::Malformed> {
        let EventHeader { room, seq, ordinal, at_ms, sender, kind } = EventHeader::read(from)?;
        let body = from.event_body(kind, |from| EventBody::read(kind, from))?;
        from.end()?;
        Ok(Event { room, seq, ordinal, at_ms, sender, body })
    }
}

impl EventBody<'_> {
    /// How many bytes it takes in binary; where it has members, about.
    #[inline]
    fn len_about(&self) -> usize {
        match self {
            EventBody::Message { text, .. } => 16 + varint::len(text.len() as u64) + text.len(),
            EventBody::RoomCreated { name, members } => name.len() + 4 * members.len(),
            EventBody::MembersAdded { members } => 4 * members.len(),
            EventBody::MemberRemoved { .. } | EventBody::MemberLeft | EventBody::Unknown { .. } => 0,
        }
    }
}
