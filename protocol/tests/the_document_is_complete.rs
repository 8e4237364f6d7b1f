//! `docs/protocol.md` has every frame, event, item and code with numbers, fields and tags as the code has them, and
//! its examples are frames.

mod common;

use std::fs;

use carillon_protocol::layout::{Direction, Field, ITEMS};
use carillon_protocol::{
    CloseCode, Decoded, ErrorCode, EventKind, Kind, SUBPROTOCOL_BINARY, SUBPROTOCOL_JSON, decode,
};
use common::FRAME_BYTES_MAX;
use common::raw::unhex;

fn document() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");
    fs::read_to_string(path).expect("docs/protocol.md is there")
}

/// What stands under a heading, up to the next.
fn section<'a>(document: &'a str, heading: &str) -> &'a str {
    let start = format!("\n### {heading}\n");
    let (_, rest) = document.split_once(&start).unwrap_or_else(|| panic!("no section `{heading}`"));
    rest.split("\n#").next().unwrap_or(rest)
}

/// The names and forms of the tables in a section.
fn rows(section: &str) -> Vec<(String, String)> {
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(cells)
        .map(|cells| (cells[1].trim_matches('`').to_owned(), cells[2].clone()))
        .collect()
}

/// The same of a table of fields. Lists and values of items say which item, and the document alone knows that.
fn assert_fields(section: &str, fields: &[Field]) {
    let rows = rows(section);
    let names: Vec<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, fields.iter().map(|field| field.name).collect::<Vec<_>>(), "in{section}");
    for ((name, form), field) in rows.iter().zip(fields) {
        let plain = form.trim_start_matches("optional ").split(", tag").next().unwrap_or_default();
        let item = ["Event", "Head", "RoomPage", "Member", "RoomEntry"]
            .iter()
            .find(|item| plain == **item || plain == format!("list of {item}"));
        let expected = match field.form.trim_start_matches("optional_") {
            "room" | "client_id" => "id".to_owned(),
            "users" => "list of user".to_owned(),
            "record" => (*item.expect(name)).to_owned(),
            "records" => format!("list of {}", item.expect(name)),
            form => form.to_owned(),
        };
        let expected = field.tag.map_or(expected.clone(), |tag| format!("optional {expected}, tag {tag}"));
        assert_eq!(*form, expected, "`{name}` in{section}");
    }
}

#[test]
fn every_frame() {
    let document = document();
    for kind in Kind::ALL {
        let arrow = match kind.direction() {
            Direction::ToGateway => "→",
            Direction::ToClient => "←",
            Direction::Both => "↔",
        };
        let section = section(&document, &format!("`{}` {:#04x} {arrow}", kind.name(), kind.number()));
        assert_fields(section, kind.fields());
        assert_eq!(section.contains("Skippable."), kind.skippable(), "{}", kind.name());
    }
    assert_eq!(document.matches("\n### `").count(), Kind::ALL.len(), "a frame that is not in the code");
}

#[test]
fn every_event() {
    let document = document();
    for kind in EventKind::ALL {
        assert_fields(section(&document, &format!("Event {}: `{}`", kind.0, kind.name())), kind.fields());
    }
    assert_eq!(
        document.matches("\n### Event ").count(),
        EventKind::ALL.len(),
        "an event that is not in the code"
    );
}

#[test]
fn every_item() {
    let document = document();
    for (name, fields) in ITEMS {
        assert_fields(section(&document, name), fields);
    }
}

#[test]
fn every_code() {
    let document = document();
    let error_codes = ErrorCode::ALL.iter().map(|(code, name, sentence)| (code.0, name, sentence));
    let close_codes = CloseCode::ALL.iter().map(|(code, name, sentence)| (code.0, name, sentence));
    for (heading, codes) in
        [("Error codes", error_codes.collect::<Vec<_>>()), ("Close codes", close_codes.collect::<Vec<_>>())]
    {
        let section = section(&document, heading);
        for (code, name, sentence) in &codes {
            let row = format!("\n| {code} | {name} | {sentence} |\n");
            assert!(section.contains(&row), "{heading}: {row}");
        }
        let rows =
            section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| code")).count();
        assert_eq!(rows, codes.len(), "{heading}: one that is not in the code");
    }
}

#[test]
fn the_subprotocols() {
    let document = document();
    for name in [SUBPROTOCOL_BINARY, SUBPROTOCOL_JSON] {
        assert!(document.contains(&format!("subprotocol `{name}`")), "{name}");
    }
}

/// A line of an example without its remark, which follows two spaces.
fn bytes_of(line: &str) -> Vec<u8> {
    let bytes = line.trim_start().split("  ").next().unwrap_or_default();
    unhex(&bytes.replace(' ', ""))
}

#[test]
fn the_examples() {
    let document = document();
    let examples: Vec<&str> =
        document.split("```hex\n").skip(1).map(|rest| rest.split("```").next().unwrap_or(rest)).collect();
    assert!(!examples.is_empty());
    for example in examples {
        let bytes: Vec<u8> = example.lines().flat_map(bytes_of).collect();
        let Ok(Decoded::Frame { frame, used }) = decode(&bytes, FRAME_BYTES_MAX) else {
            panic!("not a frame:\n{example}")
        };
        assert_eq!(used, bytes.len(), "{example}");
        assert!(example.lines().next().is_some_and(|line| line.contains(frame.name())), "{example}");
    }
}
