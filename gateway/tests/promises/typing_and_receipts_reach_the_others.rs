//! What is not kept: typing and receipts go to those they are for, and to nobody else.

use carillon_protocol::Frame;

use crate::harness::{Client, Node, user};

fn heard(client: &mut Client) -> Vec<Frame<'static>> {
    let mut heard = client.so_far();
    heard.retain(|frame| matches!(frame, Frame::Typing { .. } | Frame::Read { .. }));
    heard
}

#[test]
fn others_hear_who_types_and_the_typist_does_not() {
    let node = Node::start();
    let mut typist = node.client(1);
    let room = typist.create_room(&[2]);
    let mut others = [node.client(2), node.client(2)];
    let mut stranger = node.client(3);
    for active in [true, false] {
        typist.say(&Frame::Typing { room, active, user: None });
        for other in &mut others {
            let frame = loop {
                match other.hear() {
                    frame @ Frame::Typing { .. } => break frame,
                    _ => continue,
                }
            };
            assert_eq!(frame, Frame::Typing { room, active, user: Some(user(1)) });
        }
    }
    assert!(heard(&mut typist).is_empty());
    assert!(heard(&mut stranger).is_empty());
}

#[test]
fn receipts_go_to_everyone_in_a_room_that_is_not_too_large() {
    for (receipts_members_max, hears) in [(3, true), (2, false)] {
        let node = Node::start_with(|config| config.receipts_members_max = receipts_members_max);
        let mut reader = node.client(1);
        let room = reader.create_room(&[2, 3]);
        let (mut own, mut other) = (node.client(1), node.client(2));
        other.send(room, "one");
        other.send(room, "two");
        assert_eq!(reader.mark_read(room, 2), 2);
        let hear_read = |client: &mut Client| loop {
            if let frame @ Frame::Read { .. } = client.hear() {
                return frame;
            }
        };
        for device in [&mut own, &mut reader] {
            assert_eq!(hear_read(device), Frame::Read { room, user: user(1), seq: 2, unread: Some(1) });
        }
        if hears {
            assert_eq!(hear_read(&mut other), Frame::Read { room, user: user(1), seq: 2, unread: None });
        } else {
            // What comes later has come, so the receipt would have.
            reader.send(room, "three");
            while other.message() != "three" {}
            assert!(heard(&mut other).is_empty());
        }
    }
}
