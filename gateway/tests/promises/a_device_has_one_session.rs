//! A new session of a device ends the one before, on whichever shard that is.

use carillon_protocol::{CloseCode, Frame};

use crate::harness::Node;

#[test]
fn the_older_one_is_told_and_closed() {
    // The system spreads connections over the shards: in twenty turns every pair is met.
    let node = Node::start();
    let room = node.client(1).create_room(&[2]);
    let mut current = node.client_on(2, "phone");
    let mut other = node.client_on(2, "laptop");
    for _ in 0..20 {
        let new = node.client_on(2, "phone");
        let last = current.hear_out().pop().unwrap();
        assert!(
            matches!(last, Frame::Error { request: 0, code, .. } if code.0 == CloseCode::REPLACED.0),
            "{last:?}"
        );
        current = new;
    }
    node.client(1).send(room, "to both");
    assert_eq!(current.message(), "to both");
    assert_eq!(other.message(), "to both");
    // Another user may call a device the same.
    node.client_on(3, "phone");
    assert!(current.so_far().is_empty());
}
