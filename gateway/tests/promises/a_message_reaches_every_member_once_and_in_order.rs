//! P1 and P3: what is acknowledged reaches every member's every session, in one dense order, also across shards.

use crate::harness::Node;
use carillon_protocol::EventBody;

#[test]
fn in_a_small_room() {
    reaches_everyone(3, 64);
}

#[test]
fn in_a_large_room() {
    reaches_everyone(7, 4);
}

fn reaches_everyone(members: u64, inbox_limit: usize) {
    let node = Node::start_with(|config| config.inbox_limit = inbox_limit);
    // Two devices each, so that with two shards every pair of places is met.
    let mut clients: Vec<_> = (0..2 * members).map(|index| node.client(1 + index / 2)).collect();
    let room = clients[0].create_room(&(2..=members).collect::<Vec<_>>());
    for client in &mut clients {
        let event = client.event();
        assert_eq!((event.room, event.seq), (room, 1));
        assert!(matches!(event.body, EventBody::RoomCreated { .. }));
    }
    for turn in 0..20 {
        let sender = turn % clients.len();
        let seq = clients[sender].send(room, &format!("message {turn}"));
        assert_eq!(seq, 2 + turn as u64);
    }
    for client in &mut clients {
        for turn in 0..20 {
            let event = client.event();
            assert_eq!((event.seq, event.ordinal), (2 + turn, 1 + turn));
            let EventBody::Message { text, .. } = event.body else { panic!("{event:?}") };
            assert_eq!(text, format!("message {turn}"));
        }
    }
}
