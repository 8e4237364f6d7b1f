//! A user who is made a member of a large room while their session begins hears of it: neither the room's home nor the session
//! may take the other for somebody who will see to it.

use std::sync::Barrier;

use carillon_protocol::{Frame, RoomId, UserId};

use crate::harness::{Client, Node};

/// Whether the session is told of the room, by the event or by where the room stands; waits until it is.
fn hears_of(client: &mut Client, room: RoomId) {
    loop {
        match client.hear() {
            Frame::Event(event) if event.room == room => return,
            Frame::Ping { heads, .. } if heads.iter().any(|head| head.room == room) => return,
            _ => {}
        }
    }
}

#[test]
fn on_whichever_shards_the_room_the_user_and_the_session_are() {
    let node = Node::start_with(|config| {
        config.shards = 3;
        config.inbox_limit = 2;
    });
    let mut owner = node.client(1);
    let room = owner.create_room(&[2, 3]);
    for round in 0..20 {
        let users: Vec<u64> = (0..40).map(|index| 100 + 40 * round + index).collect();
        let mut arriving: Vec<_> = users.iter().map(|_| node.stranger()).collect();
        let both = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                both.wait();
                for (client, &user) in arriving.iter_mut().zip(&users) {
                    let (token, device) = (node.token(user).into(), "device".into());
                    client.say(&Frame::Hello { token, device, agent: None });
                }
            });
            both.wait();
            for &user in &users {
                let members = vec![UserId::new(user).unwrap()];
                owner.start(|request| Frame::AddMembers { request, room, members });
            }
        });
        arriving.iter_mut().for_each(|client| hears_of(client, room));
    }
}
