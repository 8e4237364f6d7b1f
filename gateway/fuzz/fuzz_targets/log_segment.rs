//! Any bytes as a segment: reading it ends, stays inside, and never panics. Checksums are not looked at here, so that
//! what is behind them is reached (`segment::frame_payload`).
#![no_main]

use carillon_gateway::log::file::segment::{Header, scan};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let header = Header::decode(bytes).unwrap_or(Header { partitions: 3, salt: 1, sequence: 1 });
    if let Ok(scan) = scan(bytes, &header) {
        assert!(scan.end <= bytes.len().max(32) as u64);
        assert_eq!(scan.last.len(), usize::from(header.partitions));
    }
});
