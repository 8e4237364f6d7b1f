//! Gathering: sessions open, rooms are made, and everyone's stream begins.

use std::iter;

use anyhow::bail;
use carillon_protocol::Frame;
use hdrhistogram::Histogram;

use super::{Driving, LATENCY_MAX_US, Load, Measured, Room, Rooms, Timed};
use crate::check::Stream;
use crate::fleet::Fleet;
use crate::scenario::{add_members, create_room, room, user};

impl Driving {
    /// The worker's rooms, for sessions that are open already.
    pub fn gather(fleet: &mut Fleet, load: Load) -> anyhow::Result<Self> {
        let place = load.sessions.place()?;
        let streams = fleet.links.iter().map(|_| Stream::default()).collect();
        let rooms_of = vec![Vec::new(); fleet.links.len()];
        let (measured, timed) = (Measured::default(), Timed::new()?);
        let mut driving = Self { load, place, rooms: Vec::new(), rooms_of, streams, measured, timed };
        match driving.load.rooms {
            Rooms::Small { first, count, members } => driving.small_rooms(fleet, first, count, members)?,
            Rooms::One { users, senders } => driving.one_room(fleet, users, senders)?,
        }
        driving.slow_down(fleet);
        Ok(driving)
    }

    fn small_rooms(&mut self, fleet: &mut Fleet, first: u64, count: u64, members: u64) -> anyhow::Result<()> {
        let sessions = fleet.links.len() as u64;
        if members == 0 || sessions == 0 {
            bail!("rooms of {members} members out of {sessions} sessions: there has to be somebody");
        }
        for index in 0..count {
            // Each lap around the sessions takes another step between members, so that rooms differ.
            let step = 1 + index * members / sessions;
            let start = index * members;
            let mut clients: Vec<usize> =
                (0..members).map(|place| ((start + place * step) % sessions) as usize).collect();
            clients.sort_unstable();
            clients.dedup();
            let others = clients[1..]
                .iter()
                .map(|&client| user(self.load.user_of(client)))
                .collect::<Result<_, _>>()?;
            let id = room(self.load.run, first + index);
            fleet.links[clients[0]].say(&create_room(1 + index, id, others));
            fleet.mark(clients[0]);
            for &client in &clients {
                self.rooms_of[client].push(self.rooms.len());
                self.streams[client].expect(id, 1);
            }
            self.rooms.push(Room { id, senders: clients });
        }
        fleet.flush_marked();
        let wanted: usize = self.rooms.iter().map(|room| room.senders.len()).sum();
        let (mut created, mut heard) = (0, 0);
        fleet.until("rooms are created", |_, _, frame| {
            match frame {
                Frame::Ack { .. } => created += 1,
                Frame::Event(_) => heard += 1,
                _ => {}
            }
            created == count && heard == wanted
        })
    }

    /// The first sender makes the room and adds everyone; whoever has no senders joins a room that is made already.
    fn one_room(&mut self, fleet: &mut Fleet, users: u64, senders: u64) -> anyhow::Result<()> {
        let id = room(self.load.run, 0);
        let additions = add_members(id, 2..=users)?;
        let last_seq = 1 + additions.len() as u64;
        if senders > 0 {
            for request in iter::once(create_room(1, id, Vec::new())).chain(additions) {
                fleet.links[0].say(&request);
                answered(fleet)?;
            }
        }
        self.streams.iter_mut().for_each(|stream| stream.expect(id, last_seq));
        self.rooms_of.iter_mut().for_each(|rooms| rooms.push(0));
        self.rooms.push(Room { id, senders: (0..senders as usize).collect() });
        Ok(())
    }

    fn slow_down(&mut self, fleet: &mut Fleet) {
        self.load.slow_clients().for_each(|number| fleet.links[number].hold());
    }
}

impl Timed {
    /// Nothing counts yet.
    fn new() -> anyhow::Result<Self> {
        let latencies = || Histogram::new_with_max(LATENCY_MAX_US, 3);
        Ok(Self { due_us: 0..0, acks: latencies()?, deliveries: latencies()? })
    }
}

/// Waits for the answer to what the first client says.
fn answered(fleet: &mut Fleet) -> anyhow::Result<()> {
    fleet.flush(0)?;
    fleet.until("the room grows", |number, _, frame| number == 0 && matches!(frame, Frame::Ack { .. }))
}
