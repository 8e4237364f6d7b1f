//! Arbitrary frames and events, for tests of what holds for all of them.
#![allow(dead_code, missing_docs, unreachable_pub)]

pub mod raw;

use std::borrow::Cow;

use carillon_protocol::frame::{Head, Member, Role, RoomEntry, RoomPage};
use carillon_protocol::id::INT_MAX;
use carillon_protocol::{
    ClientId, Decoded, ErrorCode, Event, EventBody, Frame, RoomId, UserId, decode, encode,
};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

/// More than any frame of the tests.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

pub fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(frame, &mut bytes);
    bytes
}

/// The one frame that `bytes` are.
pub fn decoded(bytes: &[u8]) -> Frame<'_> {
    match decode(bytes, FRAME_BYTES_MAX) {
        Ok(Decoded::Frame { frame, used }) if used == bytes.len() => frame,
        other => panic!("not one whole frame: {other:?}"),
    }
}

/// Numbers of every length on the wire.
pub fn ints() -> impl Strategy<Value = u64> {
    prop_oneof![0..0x40u64, 0x40..0x4000u64, 0x4000..0x4000_0000u64, 0x4000_0000..=INT_MAX, Just(INT_MAX)]
}

pub fn users() -> impl Strategy<Value = UserId> {
    ints().prop_map(|id| UserId::new(id.max(1)).unwrap_or(UserId::MAX))
}

pub fn rooms() -> impl Strategy<Value = RoomId> {
    any::<[u8; 16]>().prop_map(RoomId::from_bytes)
}

pub fn client_ids() -> impl Strategy<Value = ClientId> {
    any::<[u8; 16]>().prop_map(ClientId::from_bytes)
}

/// Short and long, with whatever JSON escapes.
pub fn texts() -> impl Strategy<Value = Cow<'static, str>> {
    let any_char = prop_oneof![any::<char>(), prop::char::range('\0', '\u{7f}')];
    vec(any_char, 0..80).prop_map(|chars| Cow::Owned(chars.into_iter().collect()))
}

pub fn bodies() -> impl Strategy<Value = EventBody<'static>> {
    prop_oneof![
        (texts(), vec(users(), 0..5)).prop_map(|(name, members)| EventBody::RoomCreated { name, members }),
        (client_ids(), texts()).prop_map(|(client_id, text)| EventBody::Message { client_id, text }),
        vec(users(), 0..50).prop_map(|members| EventBody::MembersAdded { members }),
        users().prop_map(|user| EventBody::MemberRemoved { user }),
        Just(EventBody::MemberLeft),
        (5..=255u64).prop_map(|number| EventBody::Unknown { number }),
    ]
}

pub fn events() -> impl Strategy<Value = Event<'static>> {
    (rooms(), ints(), ints(), ints(), users(), bodies()).prop_map(
        |(room, seq, ordinal, at_ms, sender, body)| Event { room, seq, ordinal, at_ms, sender, body },
    )
}

fn pages() -> impl Strategy<Value = RoomPage> {
    (ints(), rooms()).prop_map(|(active_ms, room)| RoomPage { active_ms, room })
}

fn heads() -> impl Strategy<Value = Head> {
    (rooms(), ints()).prop_map(|(room, seq)| Head { room, seq })
}

fn members() -> impl Strategy<Value = Member> {
    let roles = prop_oneof![Just(Role::Member), Just(Role::Owner)];
    (users(), roles, ints()).prop_map(|(user, role, read_seq)| Member { user, role, read_seq })
}

fn room_entries() -> impl Strategy<Value = RoomEntry<'static>> {
    let numbers = (ints(), ints(), ints(), ints(), ints(), ints());
    (rooms(), texts(), numbers, of(users()), texts()).prop_map(
        |(room, name, numbers, preview_sender, preview)| {
            let (active_ms, head_seq, head_ordinal, read_seq, unread, member_count) = numbers;
            RoomEntry {
                room,
                name,
                active_ms,
                head_seq,
                head_ordinal,
                read_seq,
                unread,
                member_count,
                preview_sender,
                preview,
            }
        },
    )
}

/// Every kind of frame, each about as often.
pub fn frames() -> impl Strategy<Value = Frame<'static>> {
    prop_oneof![asked(), said(), listed()]
}

fn asked() -> BoxedStrategy<Frame<'static>> {
    let in_room = || (ints(), rooms());
    prop_oneof![
        (texts(), texts(), of(texts())).prop_map(|(token, device, agent)| Frame::Hello {
            token,
            device,
            agent
        }),
        (ints(), texts()).prop_map(|(request, token)| Frame::Refresh { request, token }),
        (in_room(), texts(), vec(users(), 0..9))
            .prop_map(|((request, room), name, members)| Frame::CreateRoom { request, room, name, members }),
        (in_room(), vec(users(), 0..9)).prop_map(|((request, room), members)| Frame::AddMembers {
            request,
            room,
            members
        }),
        (in_room(), users()).prop_map(|((request, room), user)| Frame::RemoveMember { request, room, user }),
        in_room().prop_map(|(request, room)| Frame::Leave { request, room }),
        (in_room(), client_ids(), texts()).prop_map(|((request, room), client_id, text)| Frame::Send {
            request,
            room,
            client_id,
            text
        }),
        (in_room(), ints(), ints()).prop_map(|((request, room), after_seq, limit)| Frame::Sync {
            request,
            room,
            after_seq,
            limit
        }),
        (ints(), ints(), ints(), of(pages())).prop_map(|(request, changed_since, limit, page)| {
            Frame::Rooms { request, changed_since, limit, page }
        }),
        (in_room(), ints(), ints()).prop_map(|((request, room), after_user, limit)| Frame::Members {
            request,
            room,
            after_user,
            limit
        }),
        (in_room(), ints()).prop_map(|((request, room), seq)| Frame::MarkRead { request, room, seq }),
        (in_room(), ints(), ints(), of(ints())).prop_map(|((request, room), from_seq, limit, at_ms)| {
            Frame::History { request, room, from_seq, limit, at_ms }
        }),
    ]
    .boxed()
}

fn said() -> BoxedStrategy<Frame<'static>> {
    prop_oneof![
        (rooms(), of(users()), any::<bool>()).prop_map(|(room, user, active)| Frame::Typing {
            room,
            user,
            active
        }),
        (ints(), vec(heads(), 0..9)).prop_map(|(stamp, heads)| Frame::Ping { stamp, heads }),
        ints().prop_map(|stamp| Frame::Pong { stamp }),
        (users(), ints(), ints(), ints(), ints(), ints()).prop_map(
            |(user, now_ms, ping_interval_ms, frame_bytes_max, text_bytes_max, expires_ms)| Frame::Welcome {
                user,
                now_ms,
                ping_interval_ms,
                frame_bytes_max,
                text_bytes_max,
                expires_ms
            }
        ),
        (ints(), ints(), ints(), ints()).prop_map(|(request, seq, ordinal, at_ms)| Frame::Ack {
            request,
            seq,
            ordinal,
            at_ms
        }),
        (ints(), any::<u16>(), texts(), of(ints())).prop_map(|(request, code, message, retry_after_ms)| {
            Frame::Error { request, code: ErrorCode(code), message, retry_after_ms }
        }),
        events().prop_map(Frame::Event),
        (rooms(), users(), ints(), of(ints())).prop_map(|(room, user, seq, unread)| Frame::Read {
            room,
            user,
            seq,
            unread
        }),
        (rooms(), ints()).prop_map(|(room, from_seq)| Frame::Lagged { room, from_seq }),
        (ints(), ints())
            .prop_map(|(reconnect_after_ms, jitter_ms)| Frame::GoAway { reconnect_after_ms, jitter_ms }),
    ]
    .boxed()
}

fn listed() -> BoxedStrategy<Frame<'static>> {
    prop_oneof![
        (ints(), rooms(), ints(), vec(events(), 0..9))
            .prop_map(|(request, room, head_seq, events)| Frame::Events { request, room, head_seq, events }),
        (ints(), rooms(), ints(), ints(), ints(), texts()).prop_map(
            |(request, room, head_seq, head_ordinal, from_seq, name)| Frame::Snapshot {
                request,
                room,
                head_seq,
                head_ordinal,
                from_seq,
                name
            }
        ),
        (ints(), ints(), vec(room_entries(), 0..9), of(pages()))
            .prop_map(|(request, cursor, rooms, next)| Frame::RoomList { request, cursor, rooms, next }),
        (ints(), rooms(), vec(members(), 0..9), any::<bool>())
            .prop_map(|(request, room, members, more)| Frame::MemberList { request, room, members, more }),
    ]
    .boxed()
}

/// Some room.
pub fn room() -> RoomId {
    RoomId::from_bytes([7; 16])
}
