//! Any bytes from a client: reading them ends, no message is over the limit, what is called text is text, and all of
//! that is the same however the network cuts the bytes.
#![no_main]

#[allow(dead_code, reason = "shared with the tests, which also write frames")]
#[path = "../../tests/websocket/frames.rs"]
mod frames;

use carillon_gateway::transport::websocket::Takes;
use frames::{Got, MESSAGE_BYTES_MAX, feed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, [u8; 3], &[u8])| {
    let (takes, pieces, stream) = input;
    let takes = [Takes::Both, Takes::Text, Takes::Binary][usize::from(takes) % 3];
    let got = feed(takes, stream, &[usize::MAX]);
    assert_eq!(feed(takes, stream, &pieces.map(usize::from)), got);
    for it in &got {
        match it {
            Got::Text(text) => assert!(takes != Takes::Binary && text.len() <= MESSAGE_BYTES_MAX),
            Got::Binary(bytes) => assert!(takes != Takes::Text && bytes.len() <= MESSAGE_BYTES_MAX),
            Got::Ping(payload) => assert!(payload.len() <= 125),
            Got::Close(_) | Got::Violation(_) => {}
        }
    }
});
