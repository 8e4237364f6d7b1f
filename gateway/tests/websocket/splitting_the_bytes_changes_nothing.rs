//! However the network cuts a stream, the same comes of it.

use carillon_gateway::transport::websocket::Takes;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::frames::{BINARY, CLOSE, FIN, PING, TEXT, feed, feed_whole, frame};

/// Frames as a client might send them, most of them allowed.
pub fn some_frames() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => Just(FIN | BINARY), 8 => Just(FIN | TEXT), 4 => Just(TEXT), 4 => Just(BINARY), 6 => Just(0), 6 => Just(FIN),
        3 => Just(FIN | PING), 1 => Just(FIN | CLOSE), 1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        4 => "[ -~]{0,20}".prop_map(String::into_bytes),
        4 => "\\PC{0,20}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..40),
        1 => (100..300_usize).prop_map(|len| vec![b'z'; len]),
    ];
    vec((first, payload).prop_map(|(first, payload)| frame(first, &payload)), 0..8)
        .prop_map(|frames| frames.concat())
}

#[test]
fn at_every_byte() {
    let long = vec![b'y'; 300];
    let stream = [
        frame(TEXT, "¿qué".as_bytes()),
        frame(FIN | PING, b"!"),
        frame(FIN, " tal?".as_bytes()),
        frame(FIN | BINARY, &long),
        frame(FIN | CLOSE, &[3, 232]),
    ]
    .concat();
    let whole = feed_whole(&stream);
    assert_eq!(whole.len(), 4);
    for cut in 1..stream.len() {
        assert_eq!(feed(Takes::Both, &stream, &[cut, usize::MAX]), whole, "cut at {cut}");
    }
}

proptest! {
    #[test]
    fn in_any_pieces(stream in some_frames(), pieces in vec(1..50_usize, 1..20)) {
        prop_assert_eq!(feed(Takes::Both, &stream, &pieces), feed_whole(&stream));
    }
}
