//! What a later version adds, this one passes over and reads the rest: fields, tags, frames, events, roles.

mod common;

use carillon_protocol::binary::{Malformed, SKIPPABLE, decode_event, encode_event};
use carillon_protocol::frame::{Head, Member, Role};
use carillon_protocol::{Decoded, Event, EventBody, Frame, Kind, RoomId, UserId, decode, encode, json};
use common::raw::{frame_of, sized, tagged, varint};
use common::{FRAME_BYTES_MAX, decoded, encoded, events, frames, ints};
use proptest::collection::vec;
use proptest::prelude::*;

const ROOM: RoomId = RoomId::from_bytes([7; 16]);

/// Optional fields with tags that no frame has yet.
fn new_fields() -> impl Strategy<Value = Vec<u8>> {
    let field = (ints(), vec(any::<u8>(), 0..80)).prop_map(|(tag, value)| tagged(tag.max(1000), &value));
    vec(field, 0..4).prop_map(|fields| fields.concat())
}

/// Kind and flags, and the body.
fn split(frame: &[u8]) -> (u8, u8, &[u8]) {
    let (_, length_len) = carillon_protocol::varint::read(&frame[2..]).unwrap_or_default();
    (frame[0], frame[1], &frame[2 + length_len..])
}

proptest! {
    #[test]
    fn a_frame_with_new_fields(frame in frames(), new in new_fields()) {
        let bytes = encoded(&frame);
        let (number, flags, body) = split(&bytes);
        let longer = frame_of(number, flags, &[body, &new].concat());
        prop_assert_eq!(decoded(&longer), frame);
    }

    #[test]
    fn a_frame_with_new_flags(frame in frames(), flags in any::<u8>()) {
        let mut bytes = encoded(&frame);
        bytes[1] |= flags;
        prop_assert_eq!(decoded(&bytes), frame);
    }

    #[test]
    fn an_event_with_new_fields(event in events(), new in new_fields()) {
        let mut bytes = Vec::new();
        encode_event(&event, &mut bytes);
        bytes.extend_from_slice(&new);
        prop_assert_eq!(decode_event(&bytes).unwrap(), event);
    }

    #[test]
    fn events_in_a_list_with_new_fields(events in vec((events(), new_fields()), 0..5)) {
        let mut body = [&[1][..], ROOM.as_bytes(), &[9], &varint(events.len() as u64)].concat();
        for (event, new) in &events {
            let mut item = Vec::new();
            encode_event(event, &mut item);
            body.extend(sized(&[&item[..], new].concat()));
        }
        let bytes = frame_of(Kind::Events.number(), 0, &body);
        let events = events.into_iter().map(|(event, _)| event).collect();
        prop_assert_eq!(decoded(&bytes), Frame::Events { request: 1, room: ROOM, head_seq: 9, events });
    }

    #[test]
    fn a_message_with_new_fields(new in new_fields()) {
        let body = [&[8; 16][..], &sized(b"hey"), &new].concat();
        let bytes = [&[7; 16][..], &[1, 1, 1, 1], &[1], &sized(&body)].concat();
        let Ok(Event { body: EventBody::Message { text, .. }, .. }) = decode_event(&bytes) else {
            panic!("not a message")
        };
        prop_assert_eq!(text, "hey");
    }

    #[test]
    fn heads_and_members_with_new_fields(new in new_fields()) {
        let item = sized(&[&ROOM.as_bytes()[..], &[5], &new].concat());
        let heads = [&[2][..], &item, &item].concat();
        let bytes = frame_of(Kind::Ping.number(), 0, &[&[1][..], &tagged(1, &heads)].concat());
        let head = Head { room: ROOM, seq: 5 };
        prop_assert_eq!(decoded(&bytes), Frame::Ping { stamp: 1, heads: vec![head, head] });

        let item = sized(&[&[3, 1, 5][..], &new].concat());
        let body = [&[1][..], ROOM.as_bytes(), &[1], &item, &[0]].concat();
        let bytes = frame_of(Kind::MemberList.number(), 0, &body);
        let owner = Member { user: UserId::new(3).unwrap_or(UserId::MAX), role: Role::Owner, read_seq: 5 };
        prop_assert_eq!(
            decoded(&bytes),
            Frame::MemberList { request: 1, room: ROOM, members: vec![owner], more: false }
        );
    }

    #[test]
    fn a_new_event(number in 5..=255u8, body in vec(any::<u8>(), 0..80), new in new_fields()) {
        let bytes = [&[7; 16][..], &[4, 3, 2, 1], &[number], &sized(&body), &new].concat();
        let event = decode_event(&bytes).unwrap();
        prop_assert_eq!((event.seq, event.ordinal, event.at_ms), (4, 3, 2));
        prop_assert_eq!(&event.body, &EventBody::Unknown { number: u64::from(number) });

        let mut again = Vec::new();
        encode_event(&event, &mut again);
        prop_assert_eq!(decode_event(&again).unwrap(), event);
    }

    #[test]
    fn a_new_frame_that_may_be_passed_over(body in vec(any::<u8>(), 0..80), next in frames()) {
        for number in (0..=255).filter(|number| Kind::from_number(*number).is_none()) {
            let mut bytes = frame_of(number, SKIPPABLE, &body);
            let used = bytes.len();
            for len in 0..used {
                prop_assert_eq!(decode(&bytes[..len], FRAME_BYTES_MAX), Ok(Decoded::Incomplete));
            }
            encode(&next, &mut bytes);
            prop_assert_eq!(decode(&bytes, FRAME_BYTES_MAX), Ok(Decoded::Skipped { used }));
            prop_assert_eq!(decoded(&bytes[used..]), next.clone());

            let must = frame_of(number, 0, &body);
            prop_assert_eq!(decode(&must, FRAME_BYTES_MAX), Err(Malformed::UnknownKind { number }));
        }
    }

    #[test]
    fn json_with_new_fields(frame in frames(), name in "new_[a-z]{0,8}", value in ints()) {
        let mut object: serde_json::Value = serde_json::from_str(&json::encode(&frame)).unwrap();
        object[name] = serde_json::json!([{ "deep": [value] }, null]);
        let text = object.to_string();
        prop_assert_eq!(json::decode(&text).unwrap(), frame);
    }
}

#[test]
fn a_new_role_is_a_member() {
    let body = [&[1][..], ROOM.as_bytes(), &[1], &sized(&[3, 9, 5]), &[0]].concat();
    let Frame::MemberList { members, .. } =
        decoded(&frame_of(Kind::MemberList.number(), 0, &body)).into_owned()
    else {
        panic!("not a member list")
    };
    assert_eq!(members[0].role, Role::Member);
    let text = json::encode(&Frame::MemberList { request: 1, room: ROOM, members, more: false });
    let later = text.replace("member\"", "moderator\"");
    assert!(later.contains("moderator"));
    assert!(json::decode(&later).is_ok());
}

#[test]
fn a_new_event_in_json_keeps_its_place() {
    let text = r#"{"kind":"event","room":"07070707-0707-0707-0707-070707070707","seq":4,"ordinal":3,"at_ms":2,
        "sender":1,"event":"painted","colour":"red"}"#;
    let Ok(Frame::Event(event)) = json::decode(text) else { panic!("not an event") };
    assert_eq!(event.seq, 4);
    assert_eq!(event.body, EventBody::Unknown { number: 255 });
}

#[test]
fn an_unknown_event_never_passes_for_a_known_one() {
    for number in [0, 1, 4, 255, 256, u64::MAX] {
        let event = Event {
            room: ROOM,
            seq: 1,
            ordinal: 0,
            at_ms: 0,
            sender: UserId::MAX,
            body: EventBody::Unknown { number },
        };
        let mut bytes = Vec::new();
        encode_event(&event, &mut bytes);
        assert_eq!(decode_event(&bytes).map(|event| event.body), Ok(EventBody::Unknown { number: 255 }));
        let text = json::encode(&Frame::Event(event));
        let Ok(Frame::Event(event)) = json::decode(&text) else { panic!("{text}") };
        assert_eq!(event.body, EventBody::Unknown { number: 255 });
    }
}
