//! `vectors/` holds what every implementation produces, accepts and refuses; this one does.
//!
//! After a change that is meant to show there, write them anew and read the difference:
//! `cargo test -p carillon-protocol --test the_golden_vectors_hold -- --ignored`.

mod common;
#[path = "common/examples.rs"]
mod examples;

use std::fs;
use std::path::PathBuf;

use carillon_protocol::binary::SKIPPABLE;
use carillon_protocol::layout::Direction;
use carillon_protocol::{Decoded, EventKind, Frame, Kind, decode, json};
use common::raw::{frame, frame_of, hex, sized, tagged, unhex, varint};
use common::{decoded, encoded};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What the refusing reader of `malformed.json` takes.
const FRAME_BYTES_MAX: usize = 65_536;

/// A frame in both forms.
#[derive(Serialize, Deserialize)]
struct Vector {
    name: String,
    direction: String,
    hex: String,
    json: Box<RawValue>,
}

/// Bytes of a later version, and what is understood of them; nothing where the frame is passed over.
#[derive(Serialize, Deserialize)]
struct LaterVector {
    name: String,
    hex: String,
    json: Option<Box<RawValue>>,
}

/// Bytes that are refused.
#[derive(PartialEq, Eq, Debug, Serialize, Deserialize)]
struct MalformedVector {
    name: String,
    hex: String,
    why: String,
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(file)
}

fn load<T: for<'de> Deserialize<'de>>(file: &str) -> Vec<T> {
    let text = fs::read_to_string(path(file)).expect("the vectors are there");
    serde_json::from_str(&text).expect("a list of vectors")
}

fn raw(frame: &Frame<'_>) -> Box<RawValue> {
    RawValue::from_string(json::encode(frame)).expect("JSON")
}

#[test]
fn both_ways() {
    for file in ["frames.json", "events.json", "ints.json"] {
        for vector in load::<Vector>(file) {
            let bytes = unhex(&vector.hex);
            let from_json = json::decode(vector.json.get()).unwrap();
            assert_eq!(decoded(&bytes), from_json, "{}", vector.name);
            assert_eq!(hex(&encoded(&from_json)), vector.hex, "{}", vector.name);
            assert_eq!(json::encode(&from_json), vector.json.get(), "{}", vector.name);
        }
    }
}

#[test]
fn for_every_kind_of_frame_and_event() {
    let vectors: Vec<Vector> = load("frames.json").into_iter().chain(load("events.json")).collect();
    let frames: Vec<Frame<'_>> =
        vectors.iter().map(|vector| json::decode(vector.json.get()).unwrap()).collect();
    for kind in Kind::ALL {
        assert!(frames.iter().any(|frame| frame.kind() == *kind), "no vector of {}", kind.name());
    }
    for kind in EventKind::ALL {
        let is_of_kind =
            |frame: &Frame<'_>| matches!(frame, Frame::Event(event) if event.body.kind() == *kind);
        assert!(frames.iter().any(is_of_kind), "no vector of {}", kind.name());
    }
}

#[test]
fn of_a_later_version() {
    for vector in load::<LaterVector>("later.json") {
        let bytes = unhex(&vector.hex);
        let understood = match decode(&bytes, FRAME_BYTES_MAX).unwrap() {
            Decoded::Frame { frame, used } if used == bytes.len() => Some(json::encode(&frame)),
            Decoded::Skipped { used } if used == bytes.len() => None,
            other => panic!("{}: {other:?}", vector.name),
        };
        assert_eq!(understood.as_deref(), vector.json.as_ref().map(|json| json.get()), "{}", vector.name);
    }
}

#[test]
fn of_what_is_refused() {
    for vector in load::<MalformedVector>("malformed.json") {
        let error = decode(&unhex(&vector.hex), FRAME_BYTES_MAX).expect_err(&vector.name);
        assert_eq!(error.to_string(), vector.why, "{}", vector.name);
    }
}

#[test]
#[ignore = "writes the vectors anew"]
fn write_anew() {
    save(
        "frames.json",
        &examples::frames().iter().map(|(name, frame)| vector(name, frame)).collect::<Vec<_>>(),
    );
    let events = examples::events();
    let events = events.into_iter().map(|(name, event)| vector(name, &Frame::Event(event)));
    save("events.json", &events.collect::<Vec<_>>());
    let ints = examples::INTS.iter().map(|int| vector(&int.to_string(), &Frame::Pong { stamp: *int }));
    save("ints.json", &ints.collect::<Vec<_>>());
    save("later.json", &later().iter().map(|(name, bytes)| later_vector(name, bytes)).collect::<Vec<_>>());
    save(
        "malformed.json",
        &malformed().iter().map(|(name, bytes)| malformed_vector(name, bytes)).collect::<Vec<_>>(),
    );
}

fn save<T: Serialize>(file: &str, vectors: &[T]) {
    let text = serde_json::to_string_pretty(vectors).expect("JSON");
    fs::write(path(file), text + "\n").expect("a folder that can be written");
}

fn vector(name: &str, frame: &Frame<'_>) -> Vector {
    let direction = match frame.kind().direction() {
        Direction::ToGateway => "to gateway",
        Direction::ToClient => "to client",
        Direction::Both => "both",
    };
    Vector {
        name: name.to_owned(),
        direction: direction.to_owned(),
        hex: hex(&encoded(frame)),
        json: raw(frame),
    }
}

fn later_vector(name: &str, bytes: &[u8]) -> LaterVector {
    let json = match decode(bytes, FRAME_BYTES_MAX).expect(name) {
        Decoded::Frame { frame, .. } => Some(raw(&frame)),
        _ => None,
    };
    LaterVector { name: name.to_owned(), hex: hex(bytes), json }
}

fn malformed_vector(name: &str, bytes: &[u8]) -> MalformedVector {
    let why = decode(bytes, FRAME_BYTES_MAX).expect_err(name).to_string();
    MalformedVector { name: name.to_owned(), hex: hex(bytes), why }
}

const ROOM: [u8; 16] = [7; 16];
/// Room, seq, ordinal, at_ms and sender of some event.
const EVENT: [u8; 20] = [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 1, 0, 2, 3];

fn later() -> Vec<(&'static str, Vec<u8>)> {
    let new_field = tagged(1_000, b"new");
    let member_left = [&EVENT[..], &[4, 0]].concat();
    vec![
        ("a frame with a new optional field", frame(Kind::Pong, &[&[5][..], &new_field].concat())),
        (
            "a new optional field before a known one",
            frame(Kind::Error, &[&[1, 0x40, 100, 0][..], &new_field, &tagged(1, &[9])].concat()),
        ),
        ("an optional value with a new optional field in it", {
            let page = [&[9][..], &ROOM, &new_field].concat();
            frame(Kind::Rooms, &[&[1, 0, 0][..], &tagged(1, &page)].concat())
        }),
        ("flags that mean nothing yet", frame_of(Kind::Pong.number(), 0xfe, &[5])),
        ("numbers and lengths longer than they need be", {
            vec![Kind::Pong.number(), 0, 0x40, 8, 0xc0, 0, 0, 0, 0, 0, 0, 5]
        }),
        ("a frame that may be passed over", frame_of(0x3f, SKIPPABLE, b"whatever")),
        ("a frame that may be passed over and says nothing", frame_of(0xff, SKIPPABLE, &[])),
        ("an event with a new optional field", frame(Kind::Event, &[&member_left[..], &new_field].concat())),
        (
            "an event whose body has a new optional field",
            frame(Kind::Event, &[&EVENT[..], &[4], &sized(&new_field)].concat()),
        ),
        ("an event of a new kind", frame(Kind::Event, &[&EVENT[..], &[77], &sized(b"whatever")].concat())),
        ("a listed event with a new optional field", {
            let item = sized(&[&member_left[..], &new_field].concat());
            frame(Kind::Events, &[&[1][..], &ROOM, &[1, 1], &item].concat())
        }),
        ("a room entry with a new optional field", {
            let entry = [&ROOM[..], &[0, 1, 1, 0, 0, 0, 1, 0], &new_field].concat();
            frame(Kind::RoomList, &[&[1, 1, 1][..], &sized(&entry)].concat())
        }),
        ("a member with a new role and a new optional field", {
            let member = [&[3, 9, 5][..], &new_field].concat();
            frame(Kind::MemberList, &[&[1][..], &ROOM, &[1], &sized(&member), &[0]].concat())
        }),
        ("a head with a new optional field", {
            let head = [&ROOM[..], &[5], &new_field].concat();
            frame(Kind::Ping, &[&[1][..], &tagged(1, &[&[1][..], &sized(&head)].concat())].concat())
        }),
    ]
}

fn malformed() -> Vec<(&'static str, Vec<u8>)> {
    let too_big = varint(1 << 53);
    vec![
        ("an unknown frame that may not be passed over", frame_of(0x3f, 0, &[])),
        ("a length above what the reader takes", [&[0x0c, 0][..], &varint(65_536)].concat()),
        ("a length of 2^62 - 1", [&[0x0c, 0][..], &[0xff; 8]].concat()),
        ("a body without its fields", frame(Kind::Pong, &[])),
        ("a number cut short", frame(Kind::Pong, &[0x40])),
        ("a number above 2^53 - 1", frame(Kind::Pong, &too_big)),
        ("an id cut short", frame(Kind::Leave, &[&[1][..], &ROOM[..15]].concat())),
        ("a text longer than the body", frame(Kind::Refresh, &[1, 4, b'a', b'b', b'c'])),
        ("a text of 2^62 - 1 bytes", frame(Kind::Refresh, &[&[1][..], &[0xff; 8]].concat())),
        ("a text that is not UTF-8", frame(Kind::Refresh, &[1, 1, 0xff])),
        ("a text with half a surrogate pair", frame(Kind::Refresh, &[1, 3, 0xed, 0xa0, 0x80])),
        (
            "an optional text that is not UTF-8",
            frame(Kind::Hello, &[&[0, 0][..], &tagged(1, &[0xc3])].concat()),
        ),
        ("a user 0", frame(Kind::RemoveMember, &[&[1][..], &ROOM, &[0]].concat())),
        ("a user above 2^53 - 1", frame(Kind::RemoveMember, &[&[1][..], &ROOM, &too_big].concat())),
        ("a truth value of 2", frame(Kind::Typing, &[&ROOM[..], &[2]].concat())),
        ("a code above 65535", frame(Kind::Error, &[&[1][..], &varint(65_536), &[0]].concat())),
        ("more list items than bytes", frame(Kind::AddMembers, &[&[1][..], &ROOM, &[3, 1, 2]].concat())),
        ("2^62 - 1 list items", frame(Kind::AddMembers, &[&[1][..], &ROOM, &[0xff; 8]].concat())),
        ("a list with a user 0", frame(Kind::AddMembers, &[&[1][..], &ROOM, &[2, 1, 0]].concat())),
        ("an item longer than its list", {
            frame(Kind::MemberList, &[&[1][..], &ROOM, &[1, 9, 3, 1, 5, 0]].concat())
        }),
        ("an item shorter than its fields", {
            frame(Kind::MemberList, &[&[1][..], &ROOM, &[1, 2, 3, 1, 5, 0]].concat())
        }),
        ("an optional field without length", frame(Kind::Pong, &[5, 9])),
        ("an optional field longer than the body", frame(Kind::Pong, &[5, 9, 2, 0])),
        ("an optional field twice", {
            let user = tagged(1, &[3]);
            frame(Kind::Typing, &[&ROOM[..], &[1], &user, &user].concat())
        }),
        ("an optional number without bytes", {
            frame(Kind::Error, &[&[1, 1, 0][..], &tagged(1, &[])].concat())
        }),
        ("an optional value with half an optional field", {
            frame(Kind::Error, &[&[1, 1, 0][..], &tagged(1, &[5, 9])].concat())
        }),
        ("an event whose body is longer than the event", frame(Kind::Event, &[&EVENT[..], &[4, 1]].concat())),
        ("an event from user 0", {
            let mut event = [&EVENT[..], &[4, 0]].concat();
            event[19] = 0;
            frame(Kind::Event, &event)
        }),
        (
            "a message without its client id",
            frame(Kind::Event, &[&EVENT[..], &[1], &sized(&[7; 15])].concat()),
        ),
    ]
}
