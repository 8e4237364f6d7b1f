//! Any bytes: an event, or refused. An event survives encoding, and its header says the same.
#![no_main]

use carillon_protocol::binary::{decode_event, encode_event, event_header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let header = event_header(bytes);
    let Ok(event) = decode_event(bytes) else { return };
    assert_eq!(
        header.map(|header| (header.room, header.seq, header.kind)),
        Ok((event.room, event.seq, event.body.kind()))
    );

    let mut again = Vec::new();
    encode_event(&event, &mut again);
    assert_eq!(decode_event(&again), Ok(event));
});
