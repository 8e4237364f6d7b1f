//! All rooms' orders together, and the bounded queue of updates that leaves for the app.
//!
//! An app that does not take its updates stops the flow here: events stay where they are, at the gateway, and are
//! asked for again when there is space. Typing and read markers are dropped then. Answers to requests pass by.

use std::collections::{HashMap, VecDeque};

use carillon_protocol::frame::{Head, RoomEntry};
use carillon_protocol::{Event, EventBody, RoomId, UserId};

use crate::Update;
use crate::ordering::RoomOrder;

/// Questions to the gateway that may be open at a time; the other rooms wait their turn.
const ASKED_MAX: usize = 8;
/// Events that may wait for the first room list; later ones are missed and asked for.
const EARLY_MAX: usize = 1024;

/// What the app gets to see, in order.
#[derive(Debug)]
pub(crate) struct Feed {
    rooms: HashMap<RoomId, Room>,
    /// Rooms in which something waits, is missing or asked for; each once, served in turn.
    unsettled: VecDeque<RoomId>,
    asked: usize,
    updates: VecDeque<Update>,
    updates_max: usize,
    /// Nobody listens: updates vanish.
    is_muted: bool,
    /// Where the app said it was, for the first list.
    positions: HashMap<RoomId, u64>,
    /// Until the first list nobody knows where a room begins for us: events wait here.
    early: Option<Vec<Event<'static>>>,
}

#[derive(Debug)]
struct Room {
    order: RoomOrder,
    is_queued: bool,
    /// The app was told nothing of it yet, so there is nothing to forget.
    is_new: bool,
}

impl Feed {
    /// A feed whose queue holds about `updates_max` updates, of rooms the app knows up to `positions`.
    pub(crate) fn new(updates_max: usize, positions: HashMap<RoomId, u64>) -> Self {
        Self {
            rooms: HashMap::new(),
            unsettled: VecDeque::new(),
            asked: 0,
            updates: VecDeque::new(),
            updates_max,
            is_muted: false,
            positions,
            early: Some(Vec::new()),
        }
    }

    /// From now on nobody takes updates.
    pub(crate) fn mute(&mut self) {
        self.is_muted = true;
        self.updates.clear();
    }

    /// Whether nobody takes updates.
    pub(crate) fn is_muted(&self) -> bool {
        self.is_muted
    }

    /// Whether an update waits for the app.
    pub(crate) fn has_update(&self) -> bool {
        !self.updates.is_empty()
    }

    /// The next update for the app.
    pub(crate) fn next_update(&mut self) -> Option<Update> {
        self.updates.pop_front()
    }

    /// A live event.
    pub(crate) fn event(&mut self, event: Event<'static>, me: UserId) {
        if let Some(early) = &mut self.early {
            if early.len() < EARLY_MAX {
                early.push(event);
            }
            return;
        }
        let id = event.room;
        let before = if begins_for(&event, me) { event.seq - 1 } else { 0 };
        let room = self.room(id, before);
        if event.seq > room.order.delivered_seq() + 1 && room.is_new {
            room.order.ask_at_once();
        }
        room.order.arrived(event);
    }

    /// Where rooms stand, by a ping.
    pub(crate) fn heads(&mut self, heads: &[Head]) {
        if self.early.is_none() {
            heads.iter().for_each(|head| self.room(head.room, 0).order.heard_of(head.seq));
        }
    }

    /// The gateway dropped what waited for us.
    pub(crate) fn lagged(&mut self, id: RoomId, from_seq: u64) {
        if self.early.is_none() {
            let room = self.room(id, 0);
            room.order.heard_of(from_seq);
            room.order.ask_at_once();
        }
    }

    /// Where a room stands, by the list: of the first list the app starts there (or where it said it was), of a later
    /// one it gets what it missed.
    pub(crate) fn listed(&mut self, entry: &RoomEntry<'_>) {
        let start = match &self.early {
            Some(early) => {
                let of_room = early.iter().filter(|event| event.room == entry.room);
                let first_live = of_room.map(|event| event.seq - 1).min().unwrap_or(u64::MAX);
                let position = self.positions.get(&entry.room).copied();
                position.unwrap_or(entry.head_seq.min(first_live))
            }
            None => 0,
        };
        let room = self.room(entry.room, start);
        room.order.heard_of(entry.head_seq);
        room.order.ask_at_once();
    }

    /// The list is complete.
    pub(crate) fn list_ended(&mut self, me: UserId) {
        self.positions = HashMap::new();
        for event in self.early.take().unwrap_or_default() {
            self.event(event, me);
        }
    }

    /// The answer to a question of [`Feed::settle`].
    pub(crate) fn answered(&mut self, id: RoomId, head_seq: u64, events: Vec<Event<'static>>, now_ms: u64) {
        let Some(room) = self.asked_room(id) else { return };
        let has = room.order.delivered_seq();
        let brought_something = events.iter().any(|event| event.seq > has);
        room.order.heard_of(head_seq);
        events.into_iter().for_each(|event| room.order.arrived(event));
        room.order.answered(brought_something, now_ms);
    }

    /// The answer was that it starts later.
    pub(crate) fn snapshot(&mut self, id: RoomId, head_seq: u64, from_seq: u64, name: String, now_ms: u64) {
        let Some(room) = self.asked_room(id) else { return };
        let skips = from_seq > room.order.delivered_seq();
        room.order.heard_of(head_seq);
        room.order.skip_to(from_seq);
        room.order.answered(skips, now_ms);
        let after_seq = room.order.delivered_seq();
        if skips && !room.is_new {
            self.push(Update::Reset { room: id, name, after_seq });
        }
    }

    /// There was no answer; ask again a little later.
    pub(crate) fn unanswered(&mut self, id: RoomId, now_ms: u64) {
        self.answered(id, 0, Vec::new(), now_ms);
    }

    /// The user is not in that room.
    pub(crate) fn gone(&mut self, id: RoomId) {
        self.asked = self.asked.saturating_sub(1);
        if self.rooms.remove(&id).is_some_and(|room| !room.is_new) {
            self.push(Update::Gone { room: id });
        }
    }

    /// Something that may be left out.
    pub(crate) fn ephemeral(&mut self, update: Update) {
        if !self.is_full() {
            self.push(update);
        }
    }

    /// The connection is gone, and with it the answers.
    pub(crate) fn disconnected(&mut self) {
        self.asked = 0;
        for id in &self.unsettled {
            if let Some(room) = self.rooms.get_mut(id) {
                room.order.disconnected();
            }
        }
    }

    /// Hands on what is in order, and returns what to ask the gateway: rooms and the seqs after which.
    pub(crate) fn settle(&mut self, me: UserId, may_ask: bool, now_ms: u64) -> Vec<(RoomId, u64)> {
        let mut questions = Vec::new();
        for _ in 0..self.unsettled.len() {
            let Some(id) = self.unsettled.pop_front() else { break };
            self.hand_on(id, me);
            let is_full = self.is_full();
            let Some(room) = self.rooms.get_mut(&id) else { continue };
            if may_ask
                && !is_full
                && self.asked < ASKED_MAX
                && let Some(after_seq) = room.order.ask(now_ms)
            {
                self.asked += 1;
                questions.push((id, after_seq));
            }
            room.is_queued = !room.order.is_settled();
            if room.is_queued {
                self.unsettled.push_back(id);
            }
        }
        questions
    }

    /// When [`Feed::settle`] has something to ask; not while there is no space for the answer.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        if self.is_full() || self.asked >= ASKED_MAX {
            return None;
        }
        let rooms = self.unsettled.iter().filter_map(|id| self.rooms.get(id));
        rooms.filter_map(|room| room.order.deadline_ms()).min()
    }

    fn hand_on(&mut self, id: RoomId, me: UserId) {
        while !self.is_full() {
            let Some(room) = self.rooms.get_mut(&id) else { return };
            let Some(event) = room.order.release() else { return };
            room.is_new = false;
            let is_end = ends_for(&event, me);
            self.push(Update::Event(event));
            if is_end {
                self.rooms.remove(&id);
                self.push(Update::Gone { room: id });
            }
        }
    }

    fn is_full(&self) -> bool {
        self.updates.len() >= self.updates_max
    }

    fn push(&mut self, update: Update) {
        if !self.is_muted {
            self.updates.push_back(update);
        }
    }

    /// The room, queued to be looked at; one that is not known yet starts after `seq`.
    fn room(&mut self, id: RoomId, seq: u64) -> &mut Room {
        let new = || Room { order: RoomOrder::after(seq), is_queued: false, is_new: seq == 0 };
        let room = self.rooms.entry(id).or_insert_with(new);
        if !room.is_queued {
            room.is_queued = true;
            self.unsettled.push_back(id);
        }
        room
    }

    /// The room a question was about, if it is still followed.
    fn asked_room(&mut self, id: RoomId) -> Option<&mut Room> {
        self.asked = self.asked.saturating_sub(1);
        self.rooms.contains_key(&id).then(|| self.room(id, 0))
    }
}

/// Whether the room has no events before this one that are for `me`.
fn begins_for(event: &Event<'_>, me: UserId) -> bool {
    match &event.body {
        EventBody::RoomCreated { .. } => true,
        EventBody::MembersAdded { members } => members.contains(&me),
        _ => false,
    }
}

/// Whether the room has no events after this one that are for `me`.
fn ends_for(event: &Event<'_>, me: UserId) -> bool {
    match event.body {
        EventBody::MemberRemoved { user } => user == me,
        EventBody::MemberLeft => event.sender == me,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
