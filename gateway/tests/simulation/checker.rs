//! What has to be true, from the log alone: a model of every room, made of the records as they became durable, to which
//! everything that the nodes say is held.

use std::collections::{BTreeMap, BTreeSet};

use carillon_gateway::delivery::{Audience, Delivery};
use carillon_gateway::encoded::Class;
use carillon_gateway::log::{Batch, Record, records};
use carillon_protocol::{Decoded, Event, EventBody, Frame, RoomId, UserId, decode_event};

/// A room as the log has it.
#[derive(Default)]
pub struct Room {
    pub events: Vec<Event<'static>>,
    pub members: BTreeMap<UserId, Member>,
    /// Who got, or was to get, each event: its members with it, and who parted in it.
    audiences: Vec<BTreeSet<UserId>>,
    /// Texts, each once, and where.
    texts: BTreeMap<String, u64>,
    messages: u64,
    pub handed_out: BTreeSet<u64>,
}

/// A member as the log has them.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Member {
    pub joined_seq: u64,
    pub read_seq: u64,
    pub own_seq: u64,
}

#[derive(Default)]
pub struct Checker {
    pub rooms: BTreeMap<RoomId, Room>,
    /// The first thing that is not as it should be.
    pub fault: Option<String>,
}

impl Checker {
    pub fn fault(&mut self, what: impl FnOnce() -> String) {
        if self.fault.is_none() {
            self.fault = Some(what());
        }
    }

    /// A batch is durable.
    pub fn durable(&mut self, batch: &Batch) {
        for record in records(&batch.records) {
            match record {
                Ok(Record::Event { member_count, event }) => match decode_event(event) {
                    Ok(event) => self.event(event.into_owned(), member_count),
                    Err(error) => self.fault(|| format!("the log holds what is no event: {error}")),
                },
                Ok(Record::Read { room, user, seq, ordinal, .. }) => self.read(room, user, seq, ordinal),
                Err(error) => self.fault(|| format!("the log holds what is no record: {error}")),
            }
        }
    }

    fn event(&mut self, event: Event<'static>, member_count: u64) {
        let room = self.rooms.entry(event.room).or_default();
        let mut faults = Vec::new();
        let (seq, sender) = (event.seq, event.sender);
        if seq != room.events.len() as u64 + 1 {
            faults.push(format!("event {seq} follows event {}", room.events.len()));
        }
        if room.events.last().is_some_and(|last| last.at_ms > event.at_ms) {
            faults.push(format!("time runs backwards at event {seq}"));
        }
        let mut audience: BTreeSet<UserId> = room.members.keys().copied().collect();
        let joined = Member { joined_seq: seq, read_seq: seq, own_seq: 0 };
        match &event.body {
            EventBody::RoomCreated { members, .. } => {
                room.members.extend(members.iter().chain([&sender]).map(|&user| (user, joined)));
            }
            EventBody::Message { text, .. } => {
                room.messages += 1;
                if let Some(member) = room.members.get_mut(&sender) {
                    member.own_seq = seq;
                } else {
                    faults.push(format!("event {seq} is of somebody who is not in the room"));
                }
                if let Some(before) = room.texts.insert(text.to_string(), seq) {
                    faults.push(format!("\"{text}\" is there twice, at {before} and {seq}"));
                }
            }
            EventBody::MembersAdded { members } => {
                room.members.extend(members.iter().map(|&user| (user, joined)));
            }
            EventBody::MemberRemoved { user } => _ = room.members.remove(user),
            EventBody::MemberLeft => _ = room.members.remove(&sender),
            EventBody::Unknown { .. } => {}
        }
        if event.ordinal != room.messages {
            faults.push(format!("event {seq} has ordinal {}, not {}", event.ordinal, room.messages));
        }
        if member_count != room.members.len() as u64 {
            faults.push(format!("{member_count} members after event {seq}, not {}", room.members.len()));
        }
        audience.extend(room.members.keys());
        room.audiences.push(audience);
        room.events.push(event);
        let id = room.events[room.events.len() - 1].room;
        faults.into_iter().for_each(|fault| self.fault(|| format!("room {id}: {fault}")));
    }

    fn read(&mut self, id: RoomId, user: UserId, seq: u64, ordinal: u64) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return self.fault(|| format!("a marker in room {id}, which is not there"));
        };
        let exact = room.events.iter().filter(|event| event.seq <= seq && event.is_message()).count() as u64;
        let (is_there, head) = (seq <= room.events.len() as u64, room.events.len());
        if let Some(member) = room.members.get_mut(&user) {
            member.read_seq = member.read_seq.max(seq);
        }
        if !is_there || ordinal != exact {
            self.fault(|| {
                format!("room {id}: read up to {seq} of {head} with ordinal {ordinal}, not {exact}")
            });
        }
    }

    /// A home hands out frames. `is_again` where it does not know whether the home before has.
    pub fn handed_out(&mut self, delivery: &Delivery, is_again: bool) {
        let id = delivery.room;
        let room = self.rooms.entry(id).or_default();
        let mut faults = Vec::new();
        let mut frames = delivery.encoded.frames();
        while let Ok(Decoded::Frame { frame, used }) = carillon_protocol::decode(frames, usize::MAX) {
            frames = &frames[used..];
            match (&delivery.class, frame) {
                (Class::Events { .. }, Frame::Event(event)) => {
                    let place = event.seq as usize - 1;
                    if room.events.get(place) != Some(&event) {
                        faults.push(format!("event {} is handed out and not in the log", event.seq));
                    } else if let (Audience::Users(users), false) = (&delivery.audience, is_again)
                        && users.iter().copied().collect::<BTreeSet<_>>() != room.audiences[place]
                    {
                        faults.push(format!("event {} is handed out to others than its members", event.seq));
                    }
                    room.handed_out.insert(event.seq);
                }
                (Class::Ephemeral, Frame::Read { user, seq, .. }) => {
                    if room.members.get(&user).is_some_and(|member| member.read_seq < seq) {
                        faults.push(format!("{user} has read up to {seq}, which is not in the log"));
                    }
                }
                (_, frame) => faults.push(format!("a {} is handed out", frame.name())),
            }
        }
        faults.into_iter().for_each(|fault| self.fault(|| format!("room {id}: {fault}")));
    }

    /// A send was acknowledged with that seq and ordinal.
    pub fn acknowledged(&mut self, id: RoomId, sender: UserId, text: &str, seq: u64, ordinal: u64) {
        let event = self.rooms.get(&id).and_then(|room| room.events.get((seq as usize).wrapping_sub(1)));
        let is_it = event.is_some_and(|event| {
            event.sender == sender
                && event.ordinal == ordinal
                && matches!(&event.body, EventBody::Message { text: sent, .. } if sent == text)
        });
        if !is_it {
            self.fault(|| {
                format!("room {id}: \"{text}\" is acknowledged as event {seq}, which the log has not")
            });
        }
    }

    /// A page of history after a seq, of a room that stood at `head_seq`.
    pub fn page(&mut self, id: RoomId, after_seq: u64, head_seq: u64, events: &[Event<'_>]) {
        let all = self.rooms.get(&id).map_or(&[][..], |room| &room.events);
        let of_log = all.get(after_seq as usize..).unwrap_or_default();
        let is_it = head_seq <= all.len() as u64
            && events.len() <= of_log.len()
            && events.iter().zip(of_log).all(|(event, of_log)| event == of_log)
            && (!events.is_empty() || head_seq <= after_seq);
        if !is_it {
            let seqs: Vec<u64> = events.iter().map(|event| event.seq).collect();
            self.fault(|| {
                format!("room {id}: history after {after_seq} of {head_seq} is said to be {seqs:?}")
            });
        }
    }

    /// How many messages a member has not read, counted one by one.
    pub fn unread(&self, id: RoomId, user: UserId) -> Option<u64> {
        let room = self.rooms.get(&id)?;
        let Member { joined_seq, read_seq, own_seq } = *room.members.get(&user)?;
        let seen = joined_seq.max(read_seq).max(own_seq);
        Some(room.events.iter().filter(|event| event.seq > seen && event.is_message()).count() as u64)
    }
}
