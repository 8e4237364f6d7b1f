//! While the CQL server is frozen or gone, a node goes on acknowledging and delivering; when it is back, the store has all of it.

use carillon_devservers::Cql;

use crate::harness::Node;

#[test]
fn frozen_killed_and_started_again() {
    let mut server = Cql::start().unwrap();
    let mut node = Node::start_at(&server.address(), |config| config.cql_timeout_ms = 500);
    let (mut sender, mut other) = (node.client(1), node.client(2));
    let room = sender.create_room(&[2]);
    other.event();
    let mut sent = 0;
    let mut talk = |count| {
        for _ in 0..count {
            sent += 1;
            assert_eq!(sender.send(room, &format!("message {sent}")), 1 + sent);
            assert_eq!(other.message(), format!("message {sent}"));
        }
    };
    talk(10);
    server.pause().unwrap();
    talk(50);
    server.resume().unwrap();
    talk(10);
    server.kill().unwrap();
    talk(50);
    server.restart().unwrap();
    talk(10);
    // Stopping brings all of it to the store, or the next start does; a start reads the room from there.
    node.restart();
    assert_eq!(node.client(2).history(room, 0).len(), 131);
    assert_eq!(node.client(2).entry(room).unwrap().unread, 130);
}
