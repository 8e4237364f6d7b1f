//! P5: a client that does not read gets what it missed by asking, costs no more than its bound meanwhile, and is no trouble to
//! anyone else.

use carillon_protocol::{Event, Frame, RoomId};

use crate::harness::{Client, Node, client_id, until};

const OUTBOX_BYTES: usize = 65_536;
const TEXT_BYTES: usize = 8_192;
/// Enough to fill what the kernel takes for a connection as well.
const MESSAGES: u64 = 2_000;

fn node(inbox_limit: usize) -> Node {
    Node::start_with(|config| {
        config.outbox_bytes_max = OUTBOX_BYTES;
        config.frame_bytes_max = 32_768;
        config.inbox_limit = inbox_limit;
        config.ping_interval_ms = 100;
        config.room_events_kept = 16;
    })
}

fn send_many(sender: &mut Client, room: RoomId) {
    for _ in 0..MESSAGES / 20 {
        let asked: Vec<u64> = (0..20)
            .map(|_| {
                let text = "x".repeat(TEXT_BYTES).into();
                sender.start(|request| Frame::Send { request, room, client_id: client_id(), text })
            })
            .collect();
        for request in asked {
            assert!(matches!(sender.answer(request), Frame::Ack { .. }));
        }
        sender.aside.clear();
    }
}

/// What a client that goes by the rules has in the end: live events in order, and a sync where it was told to or sees a gap.
fn catch_up(client: &mut Client, room: RoomId, head_seq: u64) -> (Vec<Event<'static>>, u64) {
    let (mut events, mut lagged): (Vec<Event<'static>>, u64) = (Vec::new(), 0);
    while (events.len() as u64) < head_seq {
        match client.hear() {
            Frame::Event(event) if event.seq == events.len() as u64 + 1 => events.push(event),
            Frame::Event(event) => {
                assert!(event.seq <= events.len() as u64, "a gap that nobody named: {event:?}")
            }
            Frame::Lagged { room: of, from_seq } => {
                assert!(
                    of == room && from_seq <= events.len() as u64 + 1,
                    "what was missed begins at {from_seq}"
                );
                lagged += 1;
                events.extend(client.history(room, events.len() as u64));
            }
            _ => {}
        }
    }
    (events, lagged)
}

#[test]
fn in_a_small_and_in_a_large_room() {
    for inbox_limit in [64, 1] {
        let node = node(inbox_limit);
        let (mut sender, mut slow, mut reading) = (node.client(1), node.client(2), node.client(3));
        let room = sender.create_room(&[2, 3]);
        std::thread::scope(|threads| {
            let reading = threads.spawn(move || catch_up(&mut reading, room, MESSAGES + 1).0);
            send_many(&mut sender, room);
            until("the slow client is told", || node.count("lagged") > 0);
            let waiting = node.count("outbox_bytes");
            assert!(waiting <= 3 * OUTBOX_BYTES as u64, "{waiting} bytes wait for three clients");
            let history = sender.history(room, 0);
            assert_eq!(reading.join().unwrap(), history);
            let (events, lagged) = catch_up(&mut slow, room, MESSAGES + 1);
            assert!(lagged > 0);
            assert_eq!(events, history);
        });
    }
}

#[test]
fn who_neither_reads_nor_answers_is_closed() {
    let node = Node::start_with(|config| {
        config.outbox_bytes_max = OUTBOX_BYTES;
        config.frame_bytes_max = 32_768;
        config.ping_interval_ms = 100;
        config.idle_timeout_ms = 500;
        config.handshake_timeout_ms = 500;
    });
    let (mut sender, _slow) = (node.client(1), node.client(2));
    let room = sender.create_room(&[2]);
    send_many(&mut sender, room);
    until("it is closed", || {
        sender.so_far();
        node.closed("slow") + node.closed("idle") == 1
    });
    // Its memory is given back though it never reads a byte of the close.
    until("it is let go", || {
        sender.so_far();
        node.count("connections") == 1
    });
    assert_eq!(sender.history(room, 0).len() as u64, MESSAGES + 1);
}
