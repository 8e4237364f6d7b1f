//! Any bytes as a batch of messages from another node: reading them ends, and a message that was read is written as one that
//! reads the same.
#![no_main]

use carillon_gateway::cluster::wire;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for (to, message) in wire::messages(bytes).flatten() {
        let mut batch = Vec::new();
        wire::append(&mut batch, to, &message);
        let (to_again, again) =
            wire::messages(&batch).next().expect("one message").expect("it is as we wrote it");
        assert_eq!(to_again, to);
        assert_eq!(format!("{again:?}"), format!("{message:?}"));
    }
});
