//! A room's home taking sends: a place in the room's order for each, and what is owed once they are durable.

use std::sync::Arc;

use carillon_gateway::cluster::view::NodeId;
use carillon_gateway::config::Config;
use carillon_gateway::connections::Key;
use carillon_gateway::home::{Found, Home, Loaded, Sealed};
use carillon_gateway::log::SettlesBy;
use carillon_gateway::route::{Place, Route};
use carillon_gateway::shard::message::{Origin, Request};
use carillon_protocol::Frame;
use carillon_protocol::frame::Role;
use carillon_storage::{MemberRow, Positions, RoomRow};

use crate::codec::{ROOM, TEXT, client_id, user};

const PARTITIONS: u16 = 64;
const NOW_MS: u64 = 1_790_000_000_000;
const FROM: Origin = Origin {
    place: Place { node: NodeId::ALONE, shard: 0 },
    ticket: 0,
    connection: Key { index: 0, generation: 0 },
    owed_bytes: 0,
};

/// The home of a room.
pub struct Sequencing {
    home: Home,
    members: u64,
    sent: u64,
    archived: Positions,
}

impl Sequencing {
    /// A room of so many members, in memory, with nothing sent yet.
    pub fn new(members: u64) -> Self {
        let route = Route::alone(PARTITIONS, 1);
        let archived = vec![0; usize::from(PARTITIONS)];
        let mut home = Home::new(Arc::new(Config::default()), route, 0, &archived, SettlesBy::Group);
        let rows = (1..=members).map(member).collect();
        let row = RoomRow { name: "bench".to_owned(), member_count: members, ..RoomRow::default() };
        // A question makes the home want the room; the answer to it does not matter.
        home.request(
            NOW_MS,
            Request {
                from: FROM,
                user: user(1),
                frame: Frame::Typing { room: ROOM, active: true, user: None },
            },
        );
        assert_eq!(home.wants.rooms, [(ROOM, 0)]);
        home.wants.rooms.clear();
        home.loaded(NOW_MS, ROOM, 0, Ok(Some(Loaded { row, members: rows, events: Vec::new() })));
        home.out.told.clear();
        Self { home, members, sent: 0, archived }
    }

    /// A turn: so many sends, by one member after the other, one append of them, and that is durable and archived. Says
    /// how many things are owed: a delivery and an acknowledgement for each.
    pub fn turn(&mut self, sends: u64) -> usize {
        for _ in 0..sends {
            self.sent += 1;
            let (request, user) = (self.sent, user(1 + self.sent % self.members));
            let frame = Frame::Send { request, room: ROOM, client_id: client_id(request), text: TEXT.into() };
            self.home.request(NOW_MS, Request { from: FROM, user, frame });
        }
        // A room that has more ids behind it than it keeps asks the store about each new one; the store has none of them.
        for (request, _) in std::mem::take(&mut self.home.wants.lookups) {
            self.home.found(NOW_MS, 0, request, Ok(Found::Sent(None)));
        }
        let mut appends = Vec::new();
        self.home.seal(1, |sealed| {
            if let Sealed::Append { lane, number, batches } = sealed {
                batches.iter().for_each(|batch| self.archived[usize::from(batch.partition)] = batch.position);
                appends.push((lane, number));
            }
        });
        let archived = &self.archived;
        let durable = |partition| archived[usize::from(partition)];
        let mut owed = 0;
        for (lane, number) in appends {
            owed += self.home.appended(lane, number, Ok(()), &durable).len();
        }
        self.home.archived(archived);
        owed
    }
}

fn member(number: u64) -> MemberRow {
    MemberRow {
        user: user(number),
        role: Role::Member,
        joined_seq: 0,
        joined_ordinal: 0,
        read_seq: 0,
        read_ordinal: 0,
        read_ms: 0,
        own_ordinal: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_send_owes_a_delivery_and_an_acknowledgement() {
        for members in [3, 1_000] {
            let mut sequencing = Sequencing::new(members);
            for _ in 0..100 {
                assert_eq!(sequencing.turn(64), 128);
            }
            assert!(sequencing.home.is_quiet());
        }
    }
}
