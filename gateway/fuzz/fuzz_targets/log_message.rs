//! Any bytes as a message of the log in JetStream: reading it ends, stays inside, and never panics. Checksums are not
//! looked at here, so that what is behind them is reached (`Message::decode`).
#![no_main]

use carillon_gateway::log::jetstream::message::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    _ = Message::decode(bytes);
    if let Ok(message) = Message::read(bytes) {
        let records: Vec<_> = message.batches().map(|batch| batch.records).collect();
        assert_eq!(records.len(), message.batches as usize);
        let again = message.header.encode(records.iter().map(Vec::as_slice));
        assert_eq!(Message::decode(&again).map(|again| again.header), Ok(message.header));
    }
});
