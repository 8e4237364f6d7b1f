//! Any bytes as a batch's records: reading them ends, and a record that was read is written as it was.
#![no_main]

use carillon_gateway::log::records;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for record in records(bytes).flatten() {
        let mut again = Vec::new();
        record.encode(&mut again);
        assert_eq!(records(&again).next(), Some(Ok(record)));
    }
});
