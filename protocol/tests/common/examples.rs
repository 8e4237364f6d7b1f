//! One frame of each sort, for the golden vectors.
#![allow(dead_code, missing_docs, unreachable_pub)]

use carillon_protocol::frame::{Head, Member, Role, RoomEntry, RoomPage};
use carillon_protocol::id::INT_MAX;
use carillon_protocol::{ClientId, ErrorCode, Event, EventBody, Frame, RoomId, UserId};

const ROOM: RoomId = RoomId::from_bytes(*b"\x01\x8f\x6d\x2e\x4c\x5a\x7b\x3c\x8d\x9e\xaf\xb0\xc1\xd2\xe3\xf4");
const OTHER_ROOM: RoomId =
    RoomId::from_bytes(*b"\x01\x8f\x6d\x2e\x4c\x5a\x7b\x3c\x8d\x9e\xaf\xb0\xc1\xd2\xe3\xf5");
const CLIENT_ID: ClientId =
    ClientId::from_bytes(*b"\xa1\xa2\xa3\xa4\xa5\xa6\x47\xa8\xa9\xaa\xab\xac\xad\xae\xaf\xb0");
const AT_MS: u64 = 1_790_000_000_000;

fn user(id: u64) -> UserId {
    UserId::new(id).unwrap_or(UserId::MAX)
}

pub fn frames() -> Vec<(&'static str, Frame<'static>)> {
    let mut all = from_the_client();
    all.extend(either_way());
    all.extend(from_the_gateway());
    all
}

fn from_the_client() -> Vec<(&'static str, Frame<'static>)> {
    let page = RoomPage { active_ms: AT_MS, room: ROOM };
    vec![
        ("hello", Frame::Hello { token: "eyJ.e30.c2ln".into(), device: "phone".into(), agent: None }),
        (
            "hello with agent",
            Frame::Hello {
                token: "eyJ.e30.c2ln".into(),
                device: "phone".into(),
                agent: Some("bells/1.0".into()),
            },
        ),
        ("refresh", Frame::Refresh { request: 1, token: "eyJ.e30.c2ln".into() }),
        (
            "create_room",
            Frame::CreateRoom {
                request: 2,
                room: ROOM,
                name: "Bells".into(),
                members: vec![user(7), user(300)],
            },
        ),
        (
            "create_room without name and members",
            Frame::CreateRoom { request: 2, room: ROOM, name: "".into(), members: vec![] },
        ),
        ("add_members", Frame::AddMembers { request: 3, room: ROOM, members: vec![user(8)] }),
        ("remove_member", Frame::RemoveMember { request: 4, room: ROOM, user: user(8) }),
        ("leave", Frame::Leave { request: 5, room: ROOM }),
        ("send", Frame::Send { request: 6, room: ROOM, client_id: CLIENT_ID, text: "ding".into() }),
        (
            "send with a body of 64 bytes",
            Frame::Send {
                request: 6,
                room: ROOM,
                client_id: CLIENT_ID,
                text: "ding dong ding dong ding dong".into(),
            },
        ),
        (
            "send with everything JSON escapes",
            Frame::Send {
                request: 6,
                room: ROOM,
                client_id: CLIENT_ID,
                text: "\"quoted\" \\ / \u{0} \u{8}\u{c}\n\r\t\u{1f}\u{7f} é 日本 🔔 \u{2028}".into(),
            },
        ),
        ("sync", Frame::Sync { request: 7, room: ROOM, after_seq: 0, limit: 0 }),
        ("rooms", Frame::Rooms { request: 8, changed_since: 0, limit: 50, page: None }),
        ("rooms with page", Frame::Rooms { request: 8, changed_since: 0, limit: 50, page: Some(page) }),
        ("mark_read", Frame::MarkRead { request: 9, room: ROOM, seq: 64 }),
        ("members", Frame::Members { request: 10, room: ROOM, after_user: 0, limit: 100 }),
        ("history", Frame::History { request: 11, room: ROOM, from_seq: 1, limit: 100, at_ms: None }),
        (
            "history from a moment on",
            Frame::History { request: 11, room: ROOM, from_seq: 0, limit: 0, at_ms: Some(AT_MS) },
        ),
    ]
}

fn either_way() -> Vec<(&'static str, Frame<'static>)> {
    let heads = vec![Head { room: ROOM, seq: 12 }, Head { room: OTHER_ROOM, seq: 16_384 }];
    vec![
        ("typing from the client", Frame::Typing { room: ROOM, active: true, user: None }),
        ("typing from the gateway", Frame::Typing { room: ROOM, active: false, user: Some(user(7)) }),
        ("ping", Frame::Ping { stamp: AT_MS, heads: vec![] }),
        ("ping with heads", Frame::Ping { stamp: AT_MS, heads }),
        ("pong", Frame::Pong { stamp: AT_MS }),
    ]
}

fn from_the_gateway() -> Vec<(&'static str, Frame<'static>)> {
    vec![
        (
            "welcome",
            Frame::Welcome {
                user: user(42),
                now_ms: AT_MS,
                ping_interval_ms: 25_000,
                frame_bytes_max: 65_536,
                text_bytes_max: 16_384,
                expires_ms: AT_MS + 3_600_000,
            },
        ),
        ("ack", Frame::Ack { request: 6, seq: 3, ordinal: 2, at_ms: AT_MS }),
        (
            "error",
            Frame::Error {
                request: 6,
                code: ErrorCode::NOT_A_MEMBER,
                message: "There is no such room, or you are not in it.".into(),
                retry_after_ms: None,
            },
        ),
        (
            "error with retry_after_ms",
            Frame::Error {
                request: 6,
                code: ErrorCode::RATE_LIMITED,
                message: "Slow down.".into(),
                retry_after_ms: Some(1_500),
            },
        ),
        ("events, none", Frame::Events { request: 7, room: ROOM, head_seq: 0, events: vec![] }),
        (
            "events",
            Frame::Events {
                request: 7,
                room: ROOM,
                head_seq: 7,
                events: events().into_iter().map(|(_, event)| event).collect(),
            },
        ),
        (
            "snapshot",
            Frame::Snapshot {
                request: 7,
                room: ROOM,
                head_seq: 100_000,
                head_ordinal: 99_000,
                from_seq: 90_000,
                name: "Bells".into(),
            },
        ),
        ("room_list, none", Frame::RoomList { request: 8, cursor: 9, rooms: vec![], next: None }),
        (
            "room_list with next",
            Frame::RoomList {
                request: 8,
                cursor: 1_000_000,
                rooms: room_entries(),
                next: Some(RoomPage { active_ms: AT_MS - 1, room: OTHER_ROOM }),
            },
        ),
        (
            "member_list",
            Frame::MemberList {
                request: 10,
                room: ROOM,
                members: vec![
                    Member { user: user(7), role: Role::Member, read_seq: 0 },
                    Member { user: user(42), role: Role::Owner, read_seq: 12 },
                ],
                more: true,
            },
        ),
        ("read of another member", Frame::Read { room: ROOM, user: user(7), seq: 3, unread: None }),
        ("read of one's own", Frame::Read { room: ROOM, user: user(42), seq: 3, unread: Some(0) }),
        ("lagged", Frame::Lagged { room: ROOM, from_seq: 1_234_567_890 }),
        ("go_away", Frame::GoAway { reconnect_after_ms: 0, jitter_ms: 5_000 }),
    ]
}

fn room_entries() -> Vec<RoomEntry<'static>> {
    let entry = RoomEntry {
        room: ROOM,
        name: "Bells".into(),
        active_ms: AT_MS,
        head_seq: 12,
        head_ordinal: 9,
        read_seq: 10,
        unread: 2,
        member_count: 3,
        preview: "ding".into(),
        preview_sender: Some(user(7)),
    };
    let silent = RoomEntry {
        room: OTHER_ROOM,
        name: "".into(),
        active_ms: AT_MS - 1,
        head_seq: 1,
        head_ordinal: 0,
        read_seq: 0,
        unread: 0,
        member_count: 1,
        preview: "".into(),
        preview_sender: None,
    };
    vec![entry, silent]
}

pub fn events() -> Vec<(&'static str, Event<'static>)> {
    let event = |seq, ordinal, body| Event { room: ROOM, seq, ordinal, at_ms: AT_MS, sender: user(42), body };
    vec![
        (
            "room_created",
            event(1, 0, EventBody::RoomCreated { name: "Bells".into(), members: vec![user(7), user(300)] }),
        ),
        ("message", event(2, 1, EventBody::Message { client_id: CLIENT_ID, text: "ding".into() })),
        ("message without text", event(3, 2, EventBody::Message { client_id: CLIENT_ID, text: "".into() })),
        ("members_added", event(4, 2, EventBody::MembersAdded { members: vec![user(8), UserId::MAX] })),
        ("member_removed", event(5, 2, EventBody::MemberRemoved { user: user(8) })),
        ("member_left", event(6, 2, EventBody::MemberLeft)),
        ("an event of a later version", event(7, 2, EventBody::Unknown { number: 200 })),
    ]
}

/// Numbers around every length they can have.
pub const INTS: [u64; 9] = [0, 1, 63, 64, 16_383, 16_384, (1 << 30) - 1, 1 << 30, INT_MAX];
