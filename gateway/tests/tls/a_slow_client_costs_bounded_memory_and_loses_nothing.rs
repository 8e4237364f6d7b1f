//! P5 over TLS: what waits for a client that does not read is bounded, it is told from where to catch up, and does.

use carillon_protocol::Frame;

use crate::client::TlsNode;
use crate::harness::{client_id, until};

const OUTBOX_BYTES: usize = 65_536;
/// Enough to fill what the kernel takes for a connection as well.
const MESSAGES: u64 = 2_000;

#[test]
fn in_a_small_and_in_a_large_room() {
    for inbox_limit in [64, 1] {
        let node = TlsNode::start_with(|config| {
            config.outbox_bytes_max = OUTBOX_BYTES;
            config.frame_bytes_max = 32_768;
            config.inbox_limit = inbox_limit;
            config.room_events_kept = 16;
        });
        let (mut sender, mut slow) = (node.client(1), node.client(2));
        let room = sender.create_room(&[2]);
        for _ in 0..MESSAGES / 20 {
            let ask = |_| {
                let text = "x".repeat(8_192).into();
                sender.start(|request| Frame::Send { request, room, client_id: client_id(), text })
            };
            let asked: Vec<u64> = (0..20).map(ask).collect();
            for request in asked {
                assert!(matches!(sender.answer(request), Frame::Ack { .. }));
            }
            sender.aside.clear();
        }
        until("the slow client is told", || node.node.count("lagged") > 0);
        let waiting = node.node.count("outbox_bytes");
        assert!(waiting <= 2 * OUTBOX_BYTES as u64, "{waiting} bytes wait for two clients");
        let (mut events, mut lagged) = (Vec::new(), 0);
        while (events.len() as u64) < MESSAGES + 1 {
            match slow.hear() {
                Frame::Event(event) if event.seq == events.len() as u64 + 1 => events.push(event),
                Frame::Event(event) => assert!(event.seq <= events.len() as u64, "a gap that nobody named"),
                Frame::Lagged { .. } => {
                    lagged += 1;
                    events.extend(slow.history(room, events.len() as u64));
                }
                _ => {}
            }
        }
        assert!(lagged > 0);
        assert_eq!(events, sender.history(room, 0));
    }
}
