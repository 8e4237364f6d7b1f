//! Counters of unread messages in the database are, in the end, what the node says is unread: after messages, reads, leaving, a
//! restart, and a server that was killed meanwhile.

use std::thread::sleep;
use std::time::Duration;

use carillon_devservers::Cql;
use carillon_gateway::serve::cql_config;
use carillon_protocol::frame::RoomEntry;
use carillon_protocol::{ErrorCode, Frame, RoomId};
use carillon_storage::CqlStore;

use crate::harness::{Client, Node, user};

const USERS: u64 = 3;

fn counters(node: &Node) -> Vec<Vec<(RoomId, i64)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = CqlStore::open(cql_config(node.config()).unwrap()).await.unwrap();
        let mut counters = Vec::new();
        for number in 1..=USERS {
            counters.push(store.unread_counters(user(number)).await.unwrap());
        }
        counters
    })
}

fn told(node: &Node) -> Vec<Vec<(RoomId, i64)>> {
    let unread = |number| {
        let rooms = rooms(&mut node.client(number));
        let mut unread: Vec<_> = rooms.iter().map(|entry| (entry.room, entry.unread as i64)).collect();
        unread.retain(|(_, unread)| *unread != 0);
        unread.sort();
        unread
    };
    (1..=USERS).map(unread).collect()
}

/// The list of rooms, once the driver has found the server again.
fn rooms(client: &mut Client) -> Vec<RoomEntry<'static>> {
    loop {
        let ask = |request| Frame::Rooms { request, changed_since: 0, limit: 0, page: None };
        match client.ask(ask) {
            Frame::RoomList { rooms, .. } => return rooms.into_iter().map(RoomEntry::into_owned).collect(),
            Frame::Error { code: ErrorCode::UNAVAILABLE, .. } => sleep(Duration::from_millis(100)),
            other => panic!("no room list: {other:?}"),
        }
    }
}

/// Counting follows; it is waited for, not timed.
fn until_counted(node: &Node) {
    let expected = told(node);
    for _ in 0..600 {
        let mut found = counters(node);
        found.iter_mut().for_each(|counters| counters.sort());
        if found == expected {
            return;
        }
        sleep(Duration::from_millis(100));
    }
    panic!("counters {:?}, and not {expected:?}", counters(node));
}

#[test]
fn whatever_happens_to_the_server() {
    let mut server = Cql::start().unwrap();
    let mut node = Node::start_at(&server.address(), |config| {
        config.cql_timeout_ms = 1000;
        config.counters_members_max = 10;
        config.counters_interval_ms = 100;
    });
    let mut owner = node.client(1);
    let rooms = [owner.create_room(&[2, 3]), owner.create_room(&[2])];
    let talk = |node: &Node, count: u64| {
        let mut clients: Vec<_> = (1..=2).map(|number| node.client(number)).collect();
        for number in 0..count {
            for room in rooms {
                let seq = clients[(number % 7 % 2) as usize].send(room, "news");
                if number % 5 == 0 {
                    clients[(number % 2) as usize].mark_read(room, seq - number % 3);
                }
            }
        }
    };
    talk(&node, 30);
    until_counted(&node);
    talk(&node, 10);
    server.kill().unwrap();
    talk(&node, 20);
    server.restart().unwrap();
    node.client(3).leave(rooms[0]);
    talk(&node, 10);
    until_counted(&node);
    talk(&node, 10);
    node.restart();
    until_counted(&node);
}
