//! Any text: a frame, or refused. A frame survives both forms.
#![no_main]

use carillon_protocol::{Decoded, decode, encode, json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(frame) = json::decode(text) else { return };
    assert_eq!(json::decode(&json::encode(&frame)).as_ref(), Ok(&frame));

    let mut bytes = Vec::new();
    encode(&frame, &mut bytes);
    let used = bytes.len();
    assert_eq!(decode(&bytes, used), Ok(Decoded::Frame { frame, used }));
});
