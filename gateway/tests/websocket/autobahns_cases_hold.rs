//! The cases of the Autobahn suite, groups 1 to 7 and 10 (and 9, small), by their numbers: what a client sends, and what
//! the server makes of it. Each is also sent a byte at a time and in odd pieces, which Autobahn does in some.

use carillon_gateway::transport::websocket::Takes;

use crate::frames::{BINARY, CLOSE, FIN, Got, PING, PONG, TEXT, feed, frame};

const REFUSED: Got = Got::Violation(1002);
const NOT_UTF8: Got = Got::Violation(1007);

#[track_caller]
fn case(number: &str, frames: &[Vec<u8>], expected: &[Got]) {
    let stream = frames.concat();
    for pieces in [&[usize::MAX][..], &[1], &[1, 7, 997]] {
        assert_eq!(feed(Takes::Both, &stream, pieces), expected, "{number} in pieces of {pieces:?}");
    }
}

fn text(payload: &str) -> Got {
    Got::Text(payload.to_owned())
}

fn ping(payload: &[u8]) -> Got {
    Got::Ping(payload.to_vec())
}

fn hello() -> Vec<u8> {
    frame(FIN | TEXT, b"Hello, world!")
}

#[test]
fn group_1_framing() {
    for (number, len) in [0, 125, 126, 127, 128, 65_535, 65_536].into_iter().enumerate() {
        let number = number + 1;
        let stars = "*".repeat(len);
        case(&format!("1.1.{number}"), &[frame(FIN | TEXT, stars.as_bytes())], &[text(&stars)]);
        let bytes = vec![0xfe; len];
        case(&format!("1.2.{number}"), &[frame(FIN | BINARY, &bytes)], &[Got::Binary(bytes)]);
    }
}

#[test]
fn group_2_pings_and_pongs() {
    let (longest, not_text) = ([0xfe; 125], [0x00, 0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0x00, 0xff]);
    case("2.1", &[frame(FIN | PING, b"")], &[ping(b"")]);
    case("2.2", &[frame(FIN | PING, b"Hello, world!")], &[ping(b"Hello, world!")]);
    case("2.3", &[frame(FIN | PING, &not_text)], &[ping(&not_text)]);
    case("2.4", &[frame(FIN | PING, &longest)], &[ping(&longest)]);
    case("2.5", &[frame(FIN | PING, &[0xfe; 126])], &[REFUSED]);
    case("2.7", &[frame(FIN | PONG, b"")], &[]);
    case("2.8", &[frame(FIN | PONG, b"unsolicited")], &[]);
    case("2.9", &[frame(FIN | PONG, b"unsolicited"), frame(FIN | PING, b"ping")], &[ping(b"ping")]);
    let ten: Vec<Vec<u8>> = (0..10).map(|number| format!("payload-{number}").into_bytes()).collect();
    let (sent, expected): (Vec<_>, Vec<_>) = ten.iter().map(|it| (frame(FIN | PING, it), ping(it))).unzip();
    case("2.10", &sent, &expected);
}

#[test]
fn group_3_reserved_bits() {
    for (number, bits) in (1..=7_u8).map(|bits| (bits, bits << 4)) {
        let kind = [TEXT, TEXT, TEXT, TEXT, BINARY, PING, CLOSE][usize::from(number) - 1];
        let bad = frame(FIN | bits | kind, if kind == CLOSE { b"" } else { b"*" });
        case(&format!("3.{number}"), std::slice::from_ref(&bad), std::slice::from_ref(&REFUSED));
        case(
            &format!("3.{number} behind others"),
            &[hello(), bad, frame(FIN | PING, b"")],
            &[text("Hello, world!"), REFUSED],
        );
    }
}

#[test]
fn group_4_opcodes() {
    for (group, opcodes) in [("4.1", 3..=7_u8), ("4.2", 11..=15)] {
        for opcode in opcodes {
            case(group, &[frame(FIN | opcode, b"")], &[REFUSED]);
            case(
                group,
                &[hello(), frame(FIN | opcode, b"reserved"), frame(FIN | PING, b"")],
                &[text("Hello, world!"), REFUSED],
            );
        }
    }
}

#[test]
fn group_5_fragmentation() {
    let (one, two, both) = (b"fragment1", b"fragment2", text("fragment1fragment2"));
    case("5.1", &[frame(PING, one), frame(FIN, two)], &[REFUSED]);
    case("5.2", &[frame(PONG, one), frame(FIN, two)], &[REFUSED]);
    case("5.3", &[frame(TEXT, one), frame(FIN, two)], std::slice::from_ref(&both));
    case(
        "5.6",
        &[frame(TEXT, one), frame(FIN | PING, b"ping"), frame(FIN, two)],
        &[ping(b"ping"), both.clone()],
    );
    case("5.9", &[frame(FIN, b"no message"), hello()], &[REFUSED]);
    case("5.12", &[frame(0, b"no message"), hello()], &[REFUSED]);
    case("5.15", &[frame(TEXT, one), frame(FIN, two), frame(0, b"no message"), hello()], &[both, REFUSED]);
    case("5.16", &[frame(0, one), frame(TEXT, two), frame(FIN, b"")], &[REFUSED]);
    case("5.18", &[frame(TEXT, one), frame(FIN | TEXT, two)], &[REFUSED]);
    case(
        "5.19",
        &[
            frame(TEXT, b"1"),
            frame(0, b"2"),
            frame(FIN | PING, b"first"),
            frame(0, b"3"),
            frame(0, b"4"),
            frame(FIN | PING, b"second"),
            frame(FIN, b"5"),
        ],
        &[ping(b"first"), ping(b"second"), text("12345")],
    );
}

/// Sends a text as one frame, as two and as one for each byte.
#[track_caller]
fn text_case(number: &str, payload: &[u8], expected: &Got) {
    let expected = std::slice::from_ref(expected);
    case(number, &[frame(FIN | TEXT, payload)], expected);
    let (front, back) = payload.split_at(payload.len() / 2);
    case(number, &[frame(TEXT, front), frame(FIN, back)], expected);
    let mut frames = vec![frame(TEXT, b"")];
    frames.extend(payload.iter().map(|byte| frame(0, &[*byte])));
    frames.push(frame(FIN, b""));
    case(number, &frames, expected);
}

#[test]
fn group_6_text() {
    case("6.1.1", &[frame(FIN | TEXT, b"")], &[text("")]);
    case("6.1.2", &[frame(TEXT, b""), frame(0, b""), frame(FIN, b"")], &[text("")]);
    case("6.1.3", &[frame(TEXT, b""), frame(0, b"middle"), frame(FIN, b"")], &[text("middle")]);
    let good = [
        ("6.2", "Hello-µ@ßöäüàá-UTF-8!!"),
        ("6.5", "κόσμε"),
        ("6.6", "\u{0}\u{80}\u{800}\u{10000}"),
        ("6.7", "\u{7f}\u{7ff}\u{ffff}\u{10ffff}"),
        ("6.9", "\u{d7ff}\u{e000}\u{fffd}"),
        ("6.22", "\u{fffe}\u{ffff}\u{1fffe}\u{1ffff}\u{8fffe}\u{ffffe}\u{10fffe}\u{10ffff}"),
        ("6.23", "\u{fff9}\u{fffa}\u{fffb}\u{fffc}\u{fffd}"),
    ];
    for (number, payload) in good {
        text_case(number, payload.as_bytes(), &text(payload));
    }
    let bad: &[(&str, &[u8])] = &[
        ("6.3", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"),
        ("6.4", b"\xce\xba\xf4\x90\x80\x80edited"),
        ("6.8", b"\xf8\x88\x80\x80\x80"),
        ("6.8", b"\xfc\x84\x80\x80\x80\x80"),
        ("6.10", b"\xf7\xbf\xbf\xbf"),
        ("6.11", b"\xfb\xbf\xbf\xbf\xbf"),
        ("6.11", b"\xfd\xbf\xbf\xbf\xbf\xbf"),
        ("6.12", b"\x80\xbf\x80\xbf\x80"),
        ("6.13", b"\xc0 \xc1 \xc2 \xdf "),
        ("6.13", b"\xe0 \xe1 \xee \xef "),
        ("6.13", b"\xf0 \xf1 \xf6 \xf7 "),
        ("6.14", b"\xc0"),
        ("6.14", b"\xe0\x80"),
        ("6.14", b"\xf0\x80\x80"),
        ("6.14", b"\xdf"),
        ("6.14", b"\xef\xbf"),
        ("6.14", b"\xf7\xbf\xbf"),
        ("6.15", b"\xc0\xe0\x80\xf0\x80\x80\xf8\x80\x80\x80"),
        ("6.16", b"\xfe"),
        ("6.16", b"\xff"),
        ("6.17", b"\xc0\xaf"),
        ("6.17", b"\xe0\x80\xaf"),
        ("6.17", b"\xf0\x80\x80\xaf"),
        ("6.18", b"\xc1\xbf"),
        ("6.18", b"\xe0\x9f\xbf"),
        ("6.18", b"\xf0\x8f\xbf\xbf"),
        ("6.19", b"\xc0\x80"),
        ("6.19", b"\xe0\x80\x80"),
        ("6.19", b"\xf0\x80\x80\x80"),
        ("6.20", b"\xed\xa0\x80"),
        ("6.20", b"\xed\xaf\xbf"),
        ("6.20", b"\xed\xb0\x80"),
        ("6.20", b"\xed\xbf\xbf"),
        ("6.21", b"\xed\xa0\x80\xed\xb0\x80"),
        ("6.21", b"\xed\xaf\xbf\xed\xbf\xbf"),
    ];
    for (number, payload) in bad {
        text_case(number, payload, &NOT_UTF8);
    }
}

fn close(payload: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, payload)
}

fn close_with(code: u16, reason: &str) -> Vec<u8> {
    close(&[&code.to_be_bytes()[..], reason.as_bytes()].concat())
}

#[test]
fn group_7_closes() {
    let normal = Got::Close(Some(1000));
    case("7.1.1", &[hello(), close_with(1000, "")], &[text("Hello, world!"), normal.clone()]);
    case("7.1.2", &[close_with(1000, ""), close_with(1000, "")], std::slice::from_ref(&normal));
    case("7.1.3", &[close_with(1000, ""), frame(FIN | PING, b"")], std::slice::from_ref(&normal));
    case("7.1.4", &[close_with(1000, ""), hello()], std::slice::from_ref(&normal));
    let started = frame(TEXT, b"fragment1");
    case("7.1.5", &[started, close_with(1000, ""), frame(FIN, b"fragment2")], std::slice::from_ref(&normal));
    case("7.3.1", &[close(b"")], &[Got::Close(None)]);
    case("7.3.2", &[close(b"a")], &[REFUSED]);
    case("7.3.3", &[close_with(1000, "")], std::slice::from_ref(&normal));
    case("7.3.4", &[close_with(1000, "Hello World!")], std::slice::from_ref(&normal));
    case("7.3.5", &[close_with(1000, &"*".repeat(123))], std::slice::from_ref(&normal));
    case("7.3.6", &[close_with(1000, &"*".repeat(124))], &[REFUSED]);
    case("7.5.1", &[close(b"\x03\xe8\xce\xba\xed\xa0\x80edited")], &[NOT_UTF8]);
}

#[test]
fn group_7_close_codes_of_all_65536() {
    for code in 0..=u16::MAX {
        let may_be_sent = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
        let expected = if may_be_sent { Got::Close(Some(code)) } else { REFUSED };
        assert_eq!(
            feed(Takes::Both, &close_with(code, ""), &[usize::MAX]),
            [expected],
            "7.7, 7.9, 7.13: {code}"
        );
    }
}

#[test]
fn groups_9_and_10_large_messages_in_small_frames() {
    for frame_bytes in [64, 256, 1300, 4096, 65_536] {
        let payload = vec![b'*'; 65_536];
        let mut frames: Vec<Vec<u8>> = payload.chunks(frame_bytes).map(|chunk| frame(0, chunk)).collect();
        frames[0] = frame(BINARY, &payload[..frame_bytes]);
        frames.push(frame(FIN, b""));
        case(&format!("9.4, 10.1.1: {frame_bytes}"), &frames, &[Got::Binary(payload)]);
    }
}
