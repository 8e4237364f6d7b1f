//! Every field of every frame, event and item: missing, cut short, wrong, huge, twice. Each time the answer is an
//! error that names the field, in binary and in JSON.

mod common;

use carillon_protocol::binary::{Malformed, decode_event};
use carillon_protocol::layout::{Field, ITEMS};
use carillon_protocol::{EventKind, Kind, decode, json};
use common::FRAME_BYTES_MAX;
use common::raw::{frame, sized, tagged, varint};
use serde_json::{Value, json};

const TOO_BIG: u64 = 1 << 53;
const UUID: &str = "30313233-3435-3637-3839-616263646566";

/// How a field travels when all is well. Lists of items are empty; items have tests of their own.
fn good_bytes(field: &Field) -> Vec<u8> {
    match field.form {
        "int" | "optional_int" | "user" | "optional_user" | "code" | "role" | "bool" => vec![1],
        "room" | "client_id" => vec![7; 16],
        "text" => sized(b"hey"),
        "optional_text" => b"hey".to_vec(),
        "users" => vec![2, 1, 2],
        "records" | "optional_records" => vec![0],
        "optional_record" => [vec![1], vec![7; 16]].concat(),
        form => panic!("{form} is a form without a test"),
    }
}

/// Ways in which that goes wrong.
fn bad_bytes(field: &Field) -> Vec<Vec<u8>> {
    let huge_number = varint(TOO_BIG);
    let cut_number = vec![0xc0, 0, 0];
    let huge_length = varint((1 << 62) - 1);
    match field.form {
        "int" | "optional_int" => vec![vec![], huge_number, cut_number],
        "user" | "optional_user" => vec![vec![], vec![0], huge_number, cut_number],
        "code" => vec![vec![], varint(65536), cut_number],
        "role" => vec![vec![]],
        "bool" => vec![vec![], vec![2], vec![0xff]],
        "room" | "client_id" => vec![vec![], vec![7; 15]],
        "text" => {
            let surrogate = sized(&[0xed, 0xa0, 0x80]);
            vec![vec![], vec![4, b'h', b'e', b'y'], huge_length, sized(&[0xff]), surrogate]
        }
        "optional_text" => vec![vec![0xff], vec![b'h', 0xc3]],
        "users" => {
            vec![
                vec![],
                vec![2, 1],
                huge_length,
                vec![2, 1, 0],
                [vec![1], huge_number].concat(),
                vec![1, 0xc0],
            ]
        }
        "records" | "optional_records" => vec![vec![], vec![1], huge_length],
        "optional_record" => vec![vec![], vec![1], [vec![1], vec![7; 15]].concat()],
        form => panic!("{form} is a form without a test"),
    }
}

/// Fields one after the other, optional ones with their tags.
fn body(fields: &[(&Field, Vec<u8>)]) -> Vec<u8> {
    let bytes = |(field, value): &(&Field, Vec<u8>)| match field.tag {
        Some(tag) => tagged(tag, value),
        None => value.clone(),
    };
    fields.iter().flat_map(bytes).collect()
}

/// Bodies that end in a field gone wrong, and that field.
fn bad_bodies(fields: &'static [Field]) -> Vec<(&'static Field, Vec<u8>)> {
    let mut bodies = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        for bad in bad_bytes(field) {
            let good = fields[..index].iter().map(|field| (field, good_bytes(field)));
            bodies.push((field, body(&good.chain([(field, bad)]).collect::<Vec<_>>())));
        }
    }
    bodies
}

fn assert_names(field: &str, list: &str, bytes: &[u8], error: &Malformed) {
    let sentence = error.to_string();
    let names = [format!("`{field}`"), format!("`{list}.{field}`"), format!("`{list}`")];
    // An optional field of several parts names the part.
    let parts = matches!(field, "page" | "next").then_some("`page.");
    assert!(
        names.iter().any(|name| sentence.contains(name)) || parts.is_some_and(|part| sentence.contains(part)),
        "{bytes:02x?}: {sentence}, and not {field}"
    );
}

#[test]
fn in_the_bytes_of_a_frame() {
    for kind in Kind::ALL {
        for (field, body) in bad_bodies(kind.fields()) {
            let bytes = frame(*kind, &body);
            let error = decode(&bytes, FRAME_BYTES_MAX).expect_err(field.name);
            assert_names(field.name, "", &bytes, &error);
        }
    }
}

#[test]
fn in_the_bytes_of_an_optional_field_that_is_there_twice() {
    for kind in Kind::ALL {
        for field in kind.fields().iter().filter(|field| field.tag.is_some()) {
            let mut fields: Vec<_> = kind.fields().iter().map(|field| (field, good_bytes(field))).collect();
            fields.push((field, good_bytes(field)));
            let error = decode(&frame(*kind, &body(&fields)), FRAME_BYTES_MAX).expect_err(field.name);
            assert_eq!(error, Malformed::Repeated { field: field.name });
        }
    }
}

#[test]
fn in_the_bytes_behind_the_known_fields() {
    for kind in Kind::ALL.iter().filter(|kind| **kind != Kind::Event) {
        let good = body(&kind.fields().iter().map(|field| (field, good_bytes(field))).collect::<Vec<_>>());
        assert!(decode(&frame(*kind, &good), FRAME_BYTES_MAX).is_ok(), "{}", kind.name());
        for bad in [vec![0x40], vec![9], vec![9, 1], vec![9, 0xff], [vec![9], varint(TOO_BIG)].concat()] {
            let bytes = frame(*kind, &[&good[..], &bad].concat());
            let error = decode(&bytes, FRAME_BYTES_MAX).expect_err(kind.name());
            assert_eq!(error, Malformed::CutShort { field: "optional field" });
        }
    }
}

/// Frames with a list whose one item is `item`.
fn frame_with_item(name: &str, item: &[u8]) -> (&'static str, Vec<u8>) {
    let list = [&[1][..], &sized(item)].concat();
    let room = [7; 16];
    match name {
        "Head" => ("heads", frame(Kind::Ping, &[&[1][..], &tagged(1, &list)].concat())),
        "RoomPage" => ("page", frame(Kind::Rooms, &[&[1, 0, 0][..], &tagged(1, item)].concat())),
        "Member" => ("members", frame(Kind::MemberList, &[&[1][..], &room, &list, &[0]].concat())),
        "RoomEntry" => ("rooms", frame(Kind::RoomList, &[&[1, 1][..], &list].concat())),
        name => panic!("{name} is an item without a test"),
    }
}

#[test]
fn in_the_bytes_of_an_item() {
    for (name, fields) in ITEMS {
        for (field, item) in bad_bodies(fields) {
            let (list, bytes) = frame_with_item(name, &item);
            let error = decode(&bytes, FRAME_BYTES_MAX).expect_err(field.name);
            assert_names(field.name, list, &bytes, &error);
        }
    }
}

#[test]
fn in_the_bytes_of_an_event() {
    let header = [vec![7; 16], vec![1, 1, 1, 1]].concat();
    for kind in EventKind::ALL {
        for (field, body) in bad_bodies(kind.fields()) {
            let bytes = [header.clone(), vec![kind.0], sized(&body)].concat();
            let error = decode_event(&bytes).expect_err(field.name);
            assert_names(field.name, "", &bytes, &error);
        }
    }
    let whole = [header, vec![EventKind::MEMBER_LEFT.0, 0]].concat();
    assert!(decode_event(&whole).is_ok());
    for len in 0..whole.len() {
        let named = match len {
            0..16 => "room",
            16 => "seq",
            17 => "ordinal",
            18 => "at_ms",
            19 => "sender",
            20 => "event",
            _ => "body",
        };
        assert_eq!(decode_event(&whole[..len]), Err(Malformed::CutShort { field: named }));
    }
    for (at, field) in [(16, "seq"), (17, "ordinal"), (18, "at_ms"), (19, "sender")] {
        let huge = [&whole[..at], &varint(TOO_BIG), &whole[at + 1..]].concat();
        assert_eq!(
            decode_event(&huge),
            Err(Malformed::TooBig { field, value: TOO_BIG, max: TOO_BIG - 1 }),
            "{field}"
        );
    }
}

fn good_json(field: &Field) -> Value {
    match field.form {
        "int" | "optional_int" | "user" | "optional_user" | "code" => json!(1),
        "role" => json!("owner"),
        "bool" => json!(true),
        "room" | "client_id" => json!(UUID),
        "text" | "optional_text" => json!("hey"),
        "users" => json!([1, 2]),
        "records" | "optional_records" => json!([]),
        "optional_record" => json!({ "active_ms": 1, "room": UUID }),
        form => panic!("{form} is a form without a test"),
    }
}

fn bad_json(field: &Field) -> Vec<Value> {
    let wrong_for_all = [json!({ "a": 1 }), json!(-1), json!(1.5), json!(TOO_BIG), json!(u64::MAX)];
    let more = match field.form {
        "int" | "optional_int" => vec![json!("1"), json!([]), json!(true)],
        "user" | "optional_user" => vec![json!(0), json!("1")],
        "code" => vec![json!(65536), json!("BUSY")],
        "role" | "text" | "optional_text" => vec![json!(1), json!(["hey"])],
        "bool" => vec![json!(0), json!("true")],
        "room" | "client_id" => vec![json!("0"), json!(7), json!(format!("{UUID}0"))],
        "users" => vec![json!([0]), json!([TOO_BIG]), json!(["1"]), json!([[1]]), json!(1)],
        "records" | "optional_records" => vec![json!([1]), json!("x"), json!([null])],
        "optional_record" => vec![json!([]), json!("x"), json!(1)],
        form => panic!("{form} is a form without a test"),
    };
    wrong_for_all.into_iter().chain(more).collect()
}

/// Objects in which one field is missing or wrong, and that field.
fn bad_objects(base: Value, fields: &'static [Field]) -> Vec<(&'static Field, Value)> {
    let mut good = base;
    for field in fields {
        good[field.name] = good_json(field);
    }
    let mut objects = Vec::new();
    for field in fields {
        for bad in bad_json(field) {
            let mut object = good.clone();
            object[field.name] = bad;
            objects.push((field, object));
        }
        if field.tag.is_none() {
            let mut object = good.clone();
            object[field.name] = Value::Null;
            objects.push((field, object));
        }
    }
    objects
}

fn assert_json_names(field: &str, object: &Value) {
    let sentence = json::decode(&object.to_string()).expect_err(field).to_string();
    // A field of several parts names the part.
    let named = sentence.contains(&format!("`{field}`"))
        || sentence.contains(&format!(".{field}`"))
        || (matches!(field, "page" | "next") && sentence.contains("`page."));
    assert!(named, "{object}: {sentence}, and not {field}");
}

#[test]
fn in_the_json_of_a_frame() {
    for kind in Kind::ALL {
        for (field, object) in bad_objects(json!({ "kind": kind.name() }), kind.fields()) {
            assert_json_names(field.name, &object);
        }
    }
}

#[test]
fn in_the_json_of_an_event() {
    let header = json!({ "kind": "event", "room": UUID, "seq": 1, "ordinal": 1, "at_ms": 1, "sender": 1 });
    for kind in EventKind::ALL {
        let mut base = header.clone();
        base["event"] = json!(kind.name());
        for (field, object) in bad_objects(base.clone(), kind.fields()) {
            assert_json_names(field.name, &object);
        }
    }
    for field in ["room", "seq", "ordinal", "at_ms", "sender", "event"] {
        let mut object = header.clone();
        object["event"] = json!("member_left");
        assert!(json::decode(&object.to_string()).is_ok());
        object[field] = json!({});
        assert_json_names(field, &object);
    }
}

#[test]
fn in_the_json_of_an_item() {
    for (name, fields) in ITEMS {
        for (field, item) in bad_objects(json!({}), fields) {
            let object = match *name {
                "Head" => json!({ "kind": "ping", "stamp": 1, "heads": [item] }),
                "RoomPage" => {
                    json!({ "kind": "rooms", "request": 1, "changed_since": 0, "limit": 0, "page": item })
                }
                "Member" => {
                    json!({ "kind": "member_list", "request": 1, "room": UUID, "members": [item], "more": false })
                }
                _ => json!({ "kind": "room_list", "request": 1, "cursor": 1, "rooms": [item] }),
            };
            assert_json_names(field.name, &object);
        }
    }
}

#[test]
fn in_json_that_says_it_twice() {
    let error = json::decode(r#"{"kind":"pong","stamp":1,"stamp":2}"#).expect_err("stamp is there twice");
    assert_eq!(error, json::Malformed::Repeated { field: "stamp" });
}

#[test]
fn in_json_that_is_no_frame() {
    for text in ["", "[]", "1", "null", "{", r#"{"kind":"pong","stamp":1}}"#, "{\"kind\":\"pong\"\0}"] {
        assert!(matches!(json::decode(text), Err(json::Malformed::NotAnObject(_))), "{text}");
    }
    assert_eq!(json::decode("{}"), Err(json::Malformed::Missing { field: "kind" }));
    assert_eq!(json::decode(r#"{"kind":"shout"}"#), Err(json::Malformed::UnknownKind("shout".into())));
}
