//! Who may do what in a room: owners add and remove, members read and send, others learn nothing.

use carillon_protocol::frame::{Member, Role};
use carillon_protocol::{ErrorCode, Frame, RoomId};

use crate::harness::{Client, Node, client_id, room, user};

/// The code of each command about that room.
fn refusals(client: &mut Client, room: RoomId) -> Vec<ErrorCode> {
    let asks: [fn(u64, RoomId) -> Frame<'static>; 8] = [
        |request, room| Frame::Send { request, room, client_id: client_id(), text: "hello".into() },
        |request, room| Frame::Sync { request, room, after_seq: 0, limit: 0 },
        |request, room| Frame::History { request, room, from_seq: 1, limit: 0, at_ms: Some(1) },
        |request, room| Frame::MarkRead { request, room, seq: 1 },
        |request, room| Frame::Members { request, room, after_user: 0, limit: 0 },
        |request, room| Frame::AddMembers { request, room, members: vec![user(9)] },
        |request, room| Frame::RemoveMember { request, room, user: user(1) },
        |request, room| Frame::Leave { request, room },
    ];
    asks.iter().map(|ask| client.refused(|request| ask(request, room))).collect()
}

#[test]
fn who_is_not_in_a_room_cannot_tell_it_from_none() {
    let mut node = Node::start();
    let mut owner = node.client(1);
    let there = owner.create_room(&[2]);
    for _ in 0..2 {
        let mut stranger = node.client(3);
        assert_eq!(refusals(&mut stranger, there), [ErrorCode::NOT_A_MEMBER; 8]);
        assert_eq!(refusals(&mut stranger, room()), [ErrorCode::NOT_A_MEMBER; 8]);
        assert!(stranger.rooms().is_empty());
        stranger.say(&Frame::Typing { room: there, active: true, user: None });
        assert!(stranger.so_far().is_empty(), "typing is never answered");
        node.restart();
    }
    assert_eq!(node.client(1).history(there, 0).len(), 1);
}

#[test]
fn who_was_removed_or_left_is_a_stranger() {
    let node = Node::start();
    let mut owner = node.client(1);
    let room = owner.create_room(&[2, 3]);
    let (mut removed, mut left) = (node.client(2), node.client(3));
    assert_eq!(owner.remove(room, 2), 2);
    assert_eq!(left.leave(room), 3);
    assert_eq!(refusals(&mut removed, room), [ErrorCode::NOT_A_MEMBER; 8]);
    assert_eq!(refusals(&mut left, room), [ErrorCode::NOT_A_MEMBER; 8]);
    assert!(removed.rooms().is_empty() && left.rooms().is_empty());
    assert_eq!(owner.remove(room, 2), 3, "who is not a member need not be removed");
}

#[test]
fn only_owners_add_and_remove() {
    let node = Node::start();
    let mut owner = node.client(1);
    let room = owner.create_room(&[2, 3]);
    let mut member = node.client(2);
    let add = |request| Frame::AddMembers { request, room, members: vec![user(4)] };
    assert_eq!(member.refused(add), ErrorCode::FORBIDDEN);
    assert_eq!(
        member.refused(|request| Frame::RemoveMember { request, room, user: user(3) }),
        ErrorCode::FORBIDDEN
    );
    assert_eq!(
        owner.refused(|request| Frame::RemoveMember { request, room, user: user(1) }),
        ErrorCode::INVALID
    );
    assert_eq!(owner.add(room, 4), 2);
    assert_eq!(owner.add(room, 4), 2, "who is a member already is passed over");
}

#[test]
fn where_the_last_owner_has_left_every_member_may() {
    let mut node = Node::start();
    let mut owner = node.client(1);
    let room = owner.create_room(&[2, 3]);
    owner.leave(room);
    node.restart();
    let mut member = node.client(2);
    assert_eq!(member.add(room, 4), 3);
    assert_eq!(member.remove(room, 3), 4);
}

#[test]
fn members_are_listed_in_pages() {
    let mut node = Node::start();
    let room = node.client(1).create_room(&[5, 3, 4, 2]);
    for _ in 0..2 {
        let mut client = node.client(3);
        client.mark_read(room, 1);
        let (mut listed, mut after_user, mut goes_on) = (Vec::new(), 0, true);
        while goes_on {
            let answer = client.ask(|request| Frame::Members { request, room, after_user, limit: 2 });
            let Frame::MemberList { members, more, .. } = answer else { panic!("{answer:?}") };
            assert!(members.len() <= 2);
            listed.extend(members);
            after_user = listed.last().unwrap().user.get();
            goes_on = more;
        }
        let role = |number| if number == 1 { Role::Owner } else { Role::Member };
        let expected: Vec<_> =
            (1..=5).map(|number| Member { user: user(number), role: role(number), read_seq: 1 }).collect();
        assert_eq!(listed, expected);
        node.restart();
    }
}
