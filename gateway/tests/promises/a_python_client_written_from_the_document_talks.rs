//! The client in `protocol/tests/python`, written from `docs/protocol.md` alone, logs in as two users of a real node, sends, syncs
//! and marks as read.

use std::process::Command;

use crate::harness::Node;

#[test]
fn over_raw_tcp() {
    let node = Node::start();
    let client = concat!(env!("CARGO_MANIFEST_DIR"), "/../protocol/tests/python/client.py");
    let output = Command::new("python3")
        .args([client, "scenario", "--address", &node.address.to_string()])
        .args(["--token-a", &node.token(1), "--token-b", &node.token(2), "--user-b", "2"])
        .output()
        .expect("python3 can be run");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("all as promised"), "{said}");
}
