//! Any bytes: a frame, the start of one, or refused. A frame survives encoding, and its JSON says the same.
#![no_main]

use carillon_protocol::{Decoded, decode, encode, json};
use libfuzzer_sys::fuzz_target;

const FRAME_BYTES_MAX: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let mut rest = bytes;
    while let Ok(Decoded::Frame { frame, used }) = decode(rest, FRAME_BYTES_MAX) {
        let mut again = Vec::new();
        encode(&frame, &mut again);
        let len = again.len();
        assert_eq!(decode(&again, FRAME_BYTES_MAX), Ok(Decoded::Frame { frame: frame.clone(), used: len }));
        assert_eq!(json::decode(&json::encode(&frame)).as_ref(), Ok(&frame));
        rest = &rest[used..];
    }
});
