//! Each rule of RFC 6455 that a client can break, broken; and each liberty that it may take, taken.

use carillon_gateway::transport::websocket::Takes;

use crate::frames::{BINARY, CLOSE, FIN, Got, MESSAGE_BYTES_MAX, PING, PONG, TEXT, feed, feed_whole, frame};

fn text(text: &str) -> Got {
    Got::Text(text.to_owned())
}

#[track_caller]
fn gives(frames: &[Vec<u8>], expected: &[Got]) {
    let stream = frames.concat();
    assert_eq!(feed_whole(&stream), expected);
    assert_eq!(feed(Takes::Both, &stream, &[1]), expected, "byte by byte");
}

#[test]
fn messages_of_every_length_form() {
    for len in [0, 1, 125, 126, 127, 128, 65_535, 65_536, MESSAGE_BYTES_MAX] {
        let payload = vec![b'x'; len];
        gives(&[frame(FIN | BINARY, &payload)], &[Got::Binary(payload.clone())]);
        gives(&[frame(FIN | TEXT, &payload)], &[Got::Text(String::from_utf8(payload).unwrap())]);
    }
}

#[test]
fn fragments_are_joined_and_control_frames_come_between() {
    gives(
        &[
            frame(TEXT, b"one, "),
            frame(FIN | PING, b"!"),
            frame(0, b""),
            frame(FIN | PONG, b"unasked"),
            frame(0, b"two, "),
            frame(FIN, b"three"),
            frame(FIN | BINARY, b"four"),
        ],
        &[Got::Ping(b"!".to_vec()), text("one, two, three"), Got::Binary(b"four".to_vec())],
    );
    gives(&[frame(BINARY, b""), frame(FIN, b"")], &[Got::Binary(Vec::new())]);
}

#[test]
fn fragments_out_of_turn() {
    gives(&[frame(0, b"x")], &[Got::Violation(1002)]);
    gives(&[frame(FIN, b"x")], &[Got::Violation(1002)]);
    gives(&[frame(TEXT, b"x"), frame(TEXT, b"y")], &[Got::Violation(1002)]);
    gives(&[frame(TEXT, b"x"), frame(FIN | BINARY, b"y")], &[Got::Violation(1002)]);
    gives(&[frame(FIN | TEXT, b"x"), frame(FIN, b"y")], &[text("x"), Got::Violation(1002)]);
}

#[test]
fn reserved_bits_and_opcodes() {
    for bit in [0x10, 0x20, 0x40, 0x70] {
        gives(&[frame(FIN | bit | TEXT, b"")], &[Got::Violation(1002)]);
        gives(&[frame(FIN | bit | PING, b"")], &[Got::Violation(1002)]);
    }
    for opcode in (0x3..=0x7).chain(0xb..=0xf) {
        gives(&[frame(FIN | opcode, b"x")], &[Got::Violation(1002)]);
        gives(&[frame(TEXT, b"x"), frame(FIN | opcode, b"x")], &[Got::Violation(1002)]);
    }
}

#[test]
fn unmasked_frames() {
    gives(&[vec![FIN | TEXT, 1, b'x']], &[Got::Violation(1002)]);
    gives(&[vec![FIN | PING, 0]], &[Got::Violation(1002)]);
}

#[test]
fn control_frames_that_are_long_or_in_fragments() {
    gives(&[frame(FIN | PING, &[7; 125])], &[Got::Ping(vec![7; 125])]);
    for opcode in [PING, PONG, CLOSE] {
        gives(&[frame(FIN | opcode, &[0; 126])], &[Got::Violation(1002)]);
        gives(&[frame(opcode, b"")], &[Got::Violation(1002)]);
    }
}

#[test]
fn lengths_that_are_too_large_or_too_long() {
    let header_of =
        |first, second: u8, length: &[u8]| [&[first, 0x80 | second][..], length, &[0; 4]].concat();
    let header = |second, length: &[u8]| header_of(FIN | BINARY, second, length);
    gives(&[header(127, &[0x80, 0, 0, 0, 0, 0, 0, 1])], &[Got::Violation(1002)]);
    gives(&[header(126, &[0, 125])], &[Got::Violation(1002)]);
    gives(&[header(127, &[0, 0, 0, 0, 0, 0, 0xff, 0xff])], &[Got::Violation(1002)]);
    // From the header alone: nothing of the message has come.
    gives(&[header(127, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])], &[Got::Violation(1009)]);
    gives(&[frame(BINARY, &[0; 65_000]), header_of(FIN, 126, &[0x17, 0x70])], &[Got::Violation(1009)]);
}

#[test]
fn close_frames() {
    gives(&[frame(FIN | CLOSE, b""), frame(FIN | TEXT, b"late")], &[Got::Close(None)]);
    for code in
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999_u16]
    {
        let payload = [&code.to_be_bytes()[..], "¡adiós!".as_bytes()].concat();
        gives(&[frame(FIN | CLOSE, &payload)], &[Got::Close(Some(code))]);
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535_u16] {
        gives(&[frame(FIN | CLOSE, &code.to_be_bytes())], &[Got::Violation(1002)]);
    }
    gives(&[frame(FIN | CLOSE, &[3])], &[Got::Violation(1002)]);
    gives(&[frame(FIN | CLOSE, &[3, 232, 0xff])], &[Got::Violation(1007)]);
    gives(&[frame(TEXT, b"half"), frame(FIN | CLOSE, &[3, 232])], &[Got::Close(Some(1000))]);
}

#[test]
fn messages_of_the_kind_that_a_subprotocol_does_not_have() {
    assert_eq!(feed(Takes::Binary, &frame(FIN | TEXT, b"x"), &[99]), [Got::Violation(1003)]);
    assert_eq!(feed(Takes::Text, &frame(FIN | BINARY, b"x"), &[99]), [Got::Violation(1003)]);
    assert_eq!(feed(Takes::Binary, &frame(FIN | BINARY, b"x"), &[99]), [Got::Binary(b"x".to_vec())]);
}
