//! Whatever is wrong with the bytes of a frame, the answer is the documented one: of a request its own, of anything else
//! an error and the end with the documented code. The frames are one of each sort, cut, flipped and blown up at every
//! byte; what each attempt must be answered with comes from the decoder, used alone.

use carillon_protocol::layout::Direction;
use carillon_protocol::{CloseCode, Decoded, ErrorCode, Frame, Malformed, decode};

use crate::examples;
use crate::harness::{Client, Node};
use crate::victims::{Victims, assert_ended, bytes_of, connect, quick_node, say_last, session};

/// The user whose client is broken.
const MALLORY: u64 = 66;
/// A number that a frame of the examples never carries.
const STAMP: u64 = 424_242;

#[test]
fn cut_short() {
    attempts(|bytes| (0..bytes.len()).map(|len| bytes[..len].to_vec()).collect());
}

#[test]
fn flipped() {
    attempts(|bytes| {
        let places = (0..bytes.len()).flat_map(|at| [0x01, 0x40, 0x80, 0xff].map(|bits| (at, bits)));
        places.map(|(at, bits)| changed(bytes, |bytes| bytes[at] ^= bits)).collect()
    });
}

#[test]
fn huge() {
    attempts(|bytes| {
        let places = (1..bytes.len())
            .flat_map(|at| [[0xff; 8], [0xc0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]].map(|number| (at, number)));
        places.map(|(at, number)| changed(bytes, |bytes| drop(bytes.splice(at..=at, number)))).collect()
    });
}

/// As a later version might: a field more, a kind more, that may be passed over or not.
#[test]
fn of_a_later_version() {
    attempts(|bytes| {
        let unknown_kind = |flags| changed(bytes, |bytes| (bytes[0], bytes[1]) = (0x3f, flags));
        vec![with_field_more(bytes), unknown_kind(0), unknown_kind(1), unknown_kind(0xff)]
    });
}

/// Frames that only the gateway sends.
#[test]
fn from_the_wrong_side() {
    attempts(|bytes| vec![bytes.to_vec()]);
}

/// Before hello, too.
#[test]
fn said_by_a_stranger() {
    let node = quick_node(|_| {});
    let mut victims = Victims::on(&node);
    for (name, frame) in examples::frames() {
        let bytes = bytes_of(&frame);
        println!("{name}");
        // What begins with a capital letter is taken for HTTP.
        if bytes[0].is_ascii_uppercase() {
            continue;
        }
        let heard = say_last(&mut connect(&node), &bytes);
        match frame {
            Frame::Hello { .. } => assert_ended(&heard, ErrorCode::TOKEN_INVALID, CloseCode::UNAUTHORIZED),
            _ => assert_ended(&heard, ErrorCode::UNEXPECTED, CloseCode::UNEXPECTED),
        }
    }
    victims.are_alone_and_well(&node);
}

/// Says every variant of every example in a session of its own.
fn attempts(variants: impl Fn(&[u8]) -> Vec<Vec<u8>>) {
    let node = quick_node(|_| {});
    let mut victims = Victims::on(&node);
    for (name, frame) in examples::frames() {
        for bytes in variants(&bytes_of(&frame)) {
            eprintln!("{name}: {bytes:02x?}");
            attempt(&node, &bytes);
        }
    }
    victims.are_alone_and_well(&node);
}

/// How bytes must be answered.
enum Answer {
    /// With the end, and these codes.
    End(ErrorCode, CloseCode),
    /// Each of these requests with an answer of its own.
    Requests(Vec<u64>),
    /// Not at all: they are only the beginning of something.
    None,
}

fn attempt(node: &Node, bytes: &[u8]) {
    match answer_to(bytes, node) {
        Answer::End(error, close) => {
            assert_ended(&say_last(&mut session(node, MALLORY), bytes), error, close)
        }
        Answer::Requests(requests) => {
            let mut client = node.client(MALLORY);
            say(&mut client, bytes);
            requests.into_iter().for_each(|request| drop(client.answer(request)));
            client.say(&Frame::Ping { stamp: STAMP, heads: vec![] });
            while client.hear_new().unwrap() != (Frame::Pong { stamp: STAMP }) {}
        }
        Answer::None => drop(say_last(&mut session(node, MALLORY), bytes)),
    }
}

fn answer_to(mut bytes: &[u8], node: &Node) -> Answer {
    let mut requests = Vec::new();
    while !bytes.is_empty() {
        match decode(bytes, node.config().frame_bytes_max) {
            Err(Malformed::TooLarge { .. }) => {
                return Answer::End(ErrorCode::TOO_LARGE, CloseCode::TOO_LARGE);
            }
            Err(_) => return Answer::End(ErrorCode::MALFORMED, CloseCode::MALFORMED),
            Ok(Decoded::Incomplete) => return Answer::None,
            Ok(Decoded::Skipped { used }) => bytes = &bytes[used..],
            Ok(Decoded::Frame { frame, used }) => {
                let for_us = frame.kind().direction() != Direction::ToClient;
                match frame {
                    _ if !for_us => return Answer::End(ErrorCode::UNEXPECTED, CloseCode::UNEXPECTED),
                    Frame::Hello { .. } => return Answer::End(ErrorCode::UNEXPECTED, CloseCode::UNEXPECTED),
                    frame if frame.request() == Some(0) => {
                        return Answer::End(ErrorCode::INVALID, CloseCode::UNEXPECTED);
                    }
                    frame => requests.extend(frame.request()),
                }
                bytes = &bytes[used..];
            }
        }
    }
    Answer::Requests(requests)
}

fn say(client: &mut Client, bytes: &[u8]) {
    std::io::Write::write_all(&mut client.stream, bytes).unwrap();
}

fn changed(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    change(&mut bytes);
    bytes
}

/// The same frame with an optional field that no version knows.
fn with_field_more(bytes: &[u8]) -> Vec<u8> {
    let (_, length_len) = carillon_protocol::varint::read(&bytes[2..]).unwrap();
    let body = [&bytes[2 + length_len..], &[0x3f, 2, 0xfe, 0xff]].concat();
    let mut out = bytes[..2].to_vec();
    carillon_protocol::varint::write(&mut out, body.len() as u64);
    [out, body].concat()
}
