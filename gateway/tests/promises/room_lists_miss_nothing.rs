//! A user's rooms: most recently active first, page by page, and since a cursor.

use std::collections::HashSet;

use carillon_protocol::frame::{RoomEntry, RoomPage};
use carillon_protocol::{Frame, RoomId};

use crate::harness::{Client, Node, forgets_soon, now_ms};

struct Page {
    rooms: Vec<RoomEntry<'static>>,
    cursor: u64,
    next: Option<RoomPage>,
}

fn page(client: &mut Client, changed_since: u64, limit: u64, page: Option<RoomPage>) -> Page {
    match client.ask(|request| Frame::Rooms { request, changed_since, limit, page }) {
        Frame::RoomList { rooms, cursor, next, .. } => {
            Page { rooms: rooms.into_iter().map(RoomEntry::into_owned).collect(), cursor, next }
        }
        other => panic!("no room list: {other:?}"),
    }
}

fn all_pages(client: &mut Client, changed_since: u64, limit: u64) -> Vec<RoomId> {
    let (mut rooms, mut next) = (Vec::new(), None);
    loop {
        let page = page(client, changed_since, limit, next);
        assert!(page.rooms.len() <= limit as usize);
        rooms.extend(page.rooms.iter().map(|entry| entry.room));
        match page.next {
            Some(more) => next = Some(more),
            None => return rooms,
        }
    }
}

#[test]
fn in_order_of_activity_and_in_pages() {
    let mut node = Node::start();
    let mut client = node.client(1);
    let mut rooms: Vec<RoomId> = (0..10).map(|_| client.create_room(&[2])).collect();
    // Activity is told apart by the millisecond.
    for &room in &rooms {
        std::thread::sleep(std::time::Duration::from_millis(2));
        client.send(room, "hello");
    }
    rooms.reverse();
    for _ in 0..2 {
        let mut client = node.client(2);
        for limit in [1, 3, 10, 100] {
            assert_eq!(all_pages(&mut client, 0, limit), rooms);
        }
        let first = page(&mut client, 0, 1, None).rooms.remove(0);
        assert_eq!((&*first.name, &*first.preview, first.member_count), ("a room", "hello", 2));
        assert_eq!(first.preview_sender, Some(crate::harness::user(1)));
        node.restart();
    }
}

#[test]
fn what_is_not_archived_is_there_and_what_was_left_is_not() {
    let node = Node::start();
    let (mut owner, mut member) = (node.client(1), node.client(2));
    for _ in 0..30 {
        let room = owner.create_room(&[2]);
        assert!(member.entry(room).is_some());
        assert_eq!(owner.remove(room, 2), 2);
        assert!(member.entry(room).is_none());
        owner.add(room, 2);
        assert!(member.entry(room).is_some());
        member.leave(room);
        assert!(member.entry(room).is_none());
    }
    assert_eq!(owner.rooms().len(), 30);
}

#[test]
fn a_marker_that_moved_elsewhere_is_a_change() {
    let mut node = Node::start_with(forgets_soon);
    let mut client = node.client(1);
    let rooms: Vec<RoomId> = (0..3).map(|_| client.create_room(&[2])).collect();
    for _ in 0..5 {
        client.send(rooms[1], "hello");
    }
    // Before the marker moves and after everything else.
    std::thread::sleep(std::time::Duration::from_millis(5));
    let since = now_ms();
    assert!(all_pages(&mut node.client(2), since, 100).is_empty());
    node.client(2).mark_read(rooms[1], 4);
    for _ in 0..2 {
        assert_eq!(all_pages(&mut node.client(2), since, 100), [rooms[1]]);
        assert!(all_pages(&mut node.client(1), since, 100).is_empty(), "the others' lists show nothing new");
        node.forget_rooms();
        assert_eq!(all_pages(&mut node.client(2), since, 100), [rooms[1]]);
        node.restart();
    }
}

#[test]
fn a_cursor_leads_to_every_room_that_changed_since() {
    let mut node = Node::start();
    let mut client = node.client(1);
    let rooms: Vec<RoomId> = (0..5).map(|_| client.create_room(&[2])).collect();
    let Page { cursor, .. } = page(&mut client, 0, 0, None);
    node.client(2).send(rooms[3], "hello");
    let new = node.client(2).create_room(&[1]);
    node.restart();
    let changed: HashSet<RoomId> = all_pages(&mut node.client(1), cursor, 100).into_iter().collect();
    assert!(changed.contains(&rooms[3]) && changed.contains(&new));
    // A cursor from now on: everything before is a minute older than it by then.
    assert!(all_pages(&mut node.client(1), cursor + 3_600_000, 100).is_empty());
}
