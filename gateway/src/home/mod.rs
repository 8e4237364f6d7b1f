//! Homes: the rooms of one shard's partitions, and the order of what happens in them.
//!
//! A home decides in memory, at once and alone; what it decided becomes durable in the turn's append, and only
//! then does anyone hear of it. It waits for nobody: what it needs from the store it says in [`Wants`], and goes on
//! with other rooms until the answer is there. It does no I/O and reads no clock.

pub mod lane;
pub mod ledger;
pub mod members;
mod moving;
pub mod reading;
pub mod recent;
pub mod room;
pub mod sent_ids;
pub mod users;

use std::collections::VecDeque;
use std::sync::Arc;

use carillon_protocol::frame::RoomEntry;
use carillon_protocol::{ClientId, ErrorCode, Frame, RoomId, UserId};
use carillon_storage::{MemberRow, Partition, Positions, RoomRow, SentRow};
use hashbrown::HashMap;

use crate::command::history::Moment;
use crate::command::sync::FromStore;
use crate::command::{self, Decided, Refusal, Turn};
use crate::config::Config;
use crate::delivery::Delivery;
use crate::encoded::Encoded;
use crate::log::{AppendError, Batch, SettlesBy};
use crate::route::Route;
use crate::shard::message::{Origin, Reply, Request};
use lane::{Lane, LaneId};
use ledger::{Ack, After, Ledger, Page, Read, Undo};
use room::{Head, Room};
use sent_ids::Known;

/// So many events more than it keeps and a busy room gives some back: a few at a time, because rooms that are as busy as
/// each other come to it at the same moment.
const TRIM_STEP: usize = 16;
/// Rooms looked at in one tick, so that a million of them do not stop a shard.
const VISITS_MAX: usize = 16_384;

/// The rooms of one shard's partitions.
pub struct Home {
    settings: Arc<Config>,
    route: Route,
    ledgers: HashMap<Partition, Ledger, foldhash::fast::RandomState>,
    rooms: HashMap<RoomId, Slot, foldhash::fast::RandomState>,
    /// Rooms in memory, in the order in which they are to be looked at, and when.
    visits: VecDeque<(u64, RoomId)>,
    lanes: HashMap<LaneId, Lane, foldhash::fast::RandomState>,
    settles_by: SettlesBy,
    /// Requests that wait for the store.
    waiting: usize,
    /// Rooms that requests are looked up for, and how many: these forget nothing meanwhile, so that what was not in the
    /// store then and is not in memory now was never sent.
    looking_up: HashMap<RoomId, usize, foldhash::fast::RandomState>,
    /// How many partitions were taken so far: what was read of the store before the last may be what another home has
    /// changed since.
    takes: u64,
    /// Partitions that are to be released once nothing of them is under way.
    releasing: Vec<Partition>,
    /// Events that the home before may not have delivered, until their rooms are in memory.
    undelivered: HashMap<RoomId, Vec<(u64, Encoded)>, foldhash::fast::RandomState>,
    /// What was decided since the last append began.
    deciding: Load,
    /// What it needs from the store; the shard takes it.
    pub wants: Wants,
    /// What goes out at once.
    pub out: Out,
    /// Memberships that the store does not know yet.
    pub users: users::Users,
}

/// A room, or those who wait for it to be read from the store, and as of which take (see [`Home::takes`]).
enum Slot {
    Loading(u64, Vec<Request<'static>>),
    Active(Box<Room>),
}

/// How much waits for the log.
#[derive(Default)]
struct Load {
    requests: usize,
    bytes: usize,
}

/// What a home needs from the store.
#[derive(Default)]
pub struct Wants {
    /// Rooms to read, and as of which take.
    pub rooms: Vec<(RoomId, u64)>,
    /// Requests that need one older thing each.
    pub lookups: Vec<(Request<'static>, Lookup)>,
    /// Requests that begin at a moment which memory does not reach back to: each takes many reads, and waits for nothing else.
    pub moments: Vec<(Request<'static>, Moment)>,
    /// Pages of events.
    pub pages: Vec<(Origin, FromStore)>,
}

/// One thing of a room that memory has no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// What became of a client id.
    Sent(RoomId, UserId, ClientId),
    /// The ordinal at an event.
    Ordinal(RoomId, u64),
}

/// What the store answered to a [`Lookup`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found {
    /// The id was used, and this became of it; or it was not.
    Sent(Option<SentRow>),
    /// The event's ordinal; nothing where there is no such event.
    Ordinal(Option<u64>),
}

/// What goes out of a home at once.
#[derive(Default)]
pub struct Out {
    /// Requests about partitions that are not this home's.
    pub moved: Vec<(Partition, Request<'static>)>,
    /// Requests of other nodes, which remember them, that cannot be decided here any more.
    pub moved_away: Vec<Origin>,
    /// Answers.
    pub replies: Vec<(Origin, Reply)>,
    /// Frames that need not be durable.
    pub told: Vec<Delivery>,
}

/// Whether a room is large, and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// Whether its events go to subscribers.
    pub is_large: bool,
    /// Its last durable seq.
    pub head_seq: u64,
}

/// A room as the store has it.
#[derive(Debug)]
pub struct Loaded {
    /// Its row.
    pub row: RoomRow,
    /// All its members.
    pub members: Vec<MemberRow>,
    /// Its last events, in order.
    pub events: Vec<carillon_storage::StoredEvent>,
}

impl Home {
    /// The home of one shard's partitions; their logs end at `last`, all of it archived. The log settles appends
    /// by `settles_by`.
    pub fn new(
        settings: Arc<Config>,
        route: Route,
        shard: u16,
        last: &Positions,
        settles_by: SettlesBy,
    ) -> Self {
        // In a cluster a home is told which it has taken.
        let all = if route.is_in_cluster() { 0 } else { route.partitions };
        let mine = (0..all).filter(|&partition| route.shard_of(partition) == shard);
        let ledger = |partition| (partition, Ledger::new(partition, last[usize::from(partition)]));
        let ledgers = mine.map(ledger).collect();
        Self {
            settings,
            route,
            ledgers,
            rooms: HashMap::default(),
            visits: VecDeque::new(),
            lanes: HashMap::default(),
            settles_by,
            waiting: 0,
            looking_up: HashMap::default(),
            takes: 0,
            releasing: Vec::new(),
            undelivered: HashMap::default(),
            deciding: Load::default(),
            wants: Wants::default(),
            out: Out::default(),
            users: users::Users::default(),
        }
    }

    /// Decides a request about a room, or lets it wait for the room.
    pub fn request(&mut self, now_ms: u64, request: Request<'_>) {
        let Some(id) = command::room_of(&request.frame) else { return };
        if self.route.is_in_cluster() {
            let partition = self.route.partition_of_room(id);
            if !self.has(partition) {
                return self.out.moved.push((partition, request.into_owned()));
            }
        }
        if self.is_settling(id) {
            return self.refuse(&request, Refusal::later(ErrorCode::UNAVAILABLE));
        }
        if self.is_full() {
            return self.refuse(&request, Refusal::later(ErrorCode::BUSY));
        }
        match self.rooms.get_mut(&id) {
            Some(Slot::Active(room)) => match lookup(room, &request) {
                Some(lookup) => self.look_up(request, lookup),
                None => self.decide(now_ms, id, request),
            },
            Some(Slot::Loading(_, queue)) => {
                queue.push(request.into_owned());
                self.waiting += 1;
            }
            None => {
                self.wants.rooms.push((id, self.takes));
                self.rooms.insert(id, Slot::Loading(self.takes, vec![request.into_owned()]));
                self.waiting += 1;
            }
        }
    }

    /// Whether as much waits for the store and the log as may. A turn that is larger than the log takes at once would
    /// be refused as a whole.
    fn is_full(&self) -> bool {
        let under_way: usize = self.lanes.values().map(Lane::requests).sum();
        self.waiting + self.deciding.requests + under_way >= self.settings.requests_waiting_max
            || self.deciding.bytes as u64 >= self.settings.log_segment_bytes / 4
    }

    /// A room that was wanted as of a take is read (there is none: `None`), or could not be. What was read before its
    /// partition was at another home and came back is of no use any more.
    pub fn loaded(&mut self, now_ms: u64, id: RoomId, take: u64, result: Result<Option<Loaded>, String>) {
        if !matches!(self.rooms.get(&id), Some(&Slot::Loading(wanted, _)) if wanted == take) {
            return;
        }
        let Some(Slot::Loading(_, queue)) = self.rooms.remove(&id) else { return };
        self.waiting -= queue.len();
        match result {
            Ok(loaded) => {
                if let Some(loaded) = loaded {
                    self.activate(now_ms, active(id, loaded, &self.settings, now_ms));
                    self.deliver_room_again(id);
                }
                for request in queue {
                    self.decide_or_create(now_ms, id, request);
                }
            }
            Err(_) => {
                for request in &queue {
                    self.refuse(request, Refusal::later(ErrorCode::UNAVAILABLE));
                }
            }
        }
    }

    /// What was looked up for a request, as of a take, is there, or could not be had; the request goes on.
    pub fn found(&mut self, now_ms: u64, take: u64, request: Request<'static>, found: Result<Found, String>) {
        self.waiting -= 1;
        let Some(id) = command::room_of(&request.frame) else { return };
        if take != self.takes {
            self.looked_up(id);
            // Another home may have decided meanwhile.
            return self.request(now_ms, request);
        }
        match found {
            Ok(found) if !self.is_settling(id) => self.go_on(now_ms, id, request, found),
            _ => self.refuse(&request, Refusal::later(ErrorCode::UNAVAILABLE)),
        }
        self.looked_up(id);
    }

    /// It was found out, or could not be, with which event a request's moment begins; the request goes on from there.
    pub fn placed(&mut self, now_ms: u64, mut request: Request<'static>, placed: Result<u64, String>) {
        self.waiting -= 1;
        match (placed, &mut request.frame) {
            (Ok(seq), Frame::History { from_seq, at_ms, .. }) => {
                (*from_seq, *at_ms) = (seq, None);
                self.request(now_ms, request);
            }
            _ => self.refuse(&request, Refusal::later(ErrorCode::UNAVAILABLE)),
        }
    }

    fn go_on(&mut self, now_ms: u64, id: RoomId, request: Request<'static>, found: Found) {
        let Some(Slot::Active(room)) = self.rooms.get_mut(&id) else {
            return self.request(now_ms, request);
        };
        match (found, &request.frame) {
            (Found::Sent(Some(row)), Frame::Send { client_id, .. }) => {
                room.sent.insert(request.user, *client_id, row);
            }
            (Found::Ordinal(Some(ordinal)), Frame::MarkRead { seq, .. }) => {
                room.looked_up = Some(Head { seq: *seq, ordinal, at_ms: 0 });
            }
            _ => {}
        }
        self.decide(now_ms, id, request);
    }

    /// Closes the turn: an append for each lane in which anything was decided and fewer than `appends_max` are under way.
    /// Where nothing has to be durable first, what is owed comes back at once.
    pub fn seal(&mut self, appends_max: usize, mut each: impl FnMut(Sealed)) {
        match self.settles_by {
            SettlesBy::Group => {
                if self.lanes.get(&0).is_none_or(|lane| lane.len() < appends_max) {
                    let requests = std::mem::take(&mut self.deciding).requests;
                    let pages = self.ledgers.values_mut().map(Ledger::seal);
                    close(self.lanes.entry(0).or_default(), 0, pages, requests, &mut each);
                }
            }
            SettlesBy::Partition => {
                for (&partition, ledger) in self.ledgers.iter_mut().filter(|(_, ledger)| ledger.has_any()) {
                    let first = self.takes << 32;
                    let lane = self.lanes.entry(partition).or_insert_with(|| Lane::starting_at(first));
                    // What is decided meanwhile makes the next append larger.
                    if lane.is_empty() {
                        let requests = std::mem::take(&mut ledger.requests);
                        self.deciding.requests = self.deciding.requests.saturating_sub(requests);
                        self.deciding.bytes = self.deciding.bytes.saturating_sub(ledger.bytes());
                        close(lane, partition, std::iter::once(ledger.seal()), requests, &mut each);
                    }
                }
                // Where all that was left were answers that waited for nothing.
                self.finish_releases();
            }
        }
    }

    /// An append came to something. If it is durable, and all before it in its lane: what it owes. Or it failed: then
    /// everyone who waits for it is told to come back, and what was decided is taken back once nothing of its lane is
    /// under way any more.
    pub fn appended(
        &mut self,
        id: LaneId,
        number: u64,
        result: Result<(), AppendError>,
        durable: &dyn Fn(Partition) -> u64,
    ) -> Vec<After> {
        let mut owed = Vec::new();
        let Some(lane) = self.lanes.get_mut(&id) else { return owed };
        lane.came_to(number, result);
        while let Some((appending, result)) = self.lanes.get_mut(&id).and_then(Lane::next_settled) {
            match result {
                Ok(()) => self.durable(appending.after, &mut owed),
                // An append of one partition has none before it under way: what is not next was overtaken by another home's.
                Err(AppendError::Deposed(partition) | AppendError::NotNext { partition, .. })
                    if self.settles_by == SettlesBy::Partition =>
                {
                    tracing::warn!(partition, "another node is the home of a partition now");
                    self.refuse_owed(appending.after, true);
                    self.drop_partition(partition, true);
                }
                Err(error) => {
                    tracing::error!(%error, "an append failed; its senders are told to try again");
                    self.take_back(id, appending.after, appending.undo);
                }
            }
        }
        if self.lanes.get(&id).is_some_and(|lane| lane.settling.is_some() && lane.is_empty()) {
            self.settle(id, durable);
        }
        self.finish_releases();
        owed
    }

    /// The lane of a partition's appends.
    fn lane_of(&self, partition: Partition) -> LaneId {
        match self.settles_by {
            SettlesBy::Group => 0,
            SettlesBy::Partition => partition,
        }
    }

    /// Whether an append failed of what the room belongs to, and not all of that is settled yet.
    fn is_settling(&self, room: RoomId) -> bool {
        let lane = self.lane_of(self.route.partition_of_room(room));
        self.lanes.get(&lane).is_some_and(|lane| lane.settling.is_some())
    }

    /// The archiver has come this far. Where that is further than this home's own appends, another node has been the home
    /// meanwhile: nobody may be told what this one takes for the room's end.
    pub fn archived(&mut self, positions: &Positions) {
        let mut overtaken = Vec::new();
        for ledger in self.ledgers.values_mut() {
            ledger.archived = positions[usize::from(ledger.partition)];
            if self.settles_by == SettlesBy::Partition && ledger.archived > ledger.position {
                overtaken.push(ledger.partition);
            }
        }
        for partition in overtaken {
            tracing::warn!(partition, "another node was the home of a partition for a while");
            self.drop_partition(partition, true);
        }
        self.users.archived(positions);
    }

    /// Visits rooms whose time has come: one that nobody touched for `room_idle_ms` and that the store has leaves memory, any
    /// other gives back what it need not keep. Each room is visited once in that time, so a tick looks at few of many.
    pub fn tidy(&mut self, now_ms: u64) {
        self.want_undelivered();
        for _ in 0..VISITS_MAX {
            let Some(&(due_ms, id)) = self.visits.front() else { break };
            if due_ms > now_ms {
                break;
            }
            self.visits.pop_front();
            self.visit(id, now_ms);
        }
        if self.rooms.capacity() > 4 * self.rooms.len().max(64) {
            self.rooms.shrink_to_fit();
            self.visits.shrink_to_fit();
        }
    }

    fn visit(&mut self, id: RoomId, now_ms: u64) {
        let Some(Slot::Active(room)) = self.rooms.get_mut(&id) else { return };
        if self.looking_up.contains_key(&id) {
            return self.visits.push_back((now_ms + self.settings.room_idle_ms, id));
        }
        let archived =
            self.ledgers.get(&self.route.partition_of_room(id)).map_or(0, |ledger| ledger.archived);
        room.trim(&self.settings, archived);
        let is_idle = now_ms.saturating_sub(room.touched_ms) >= self.settings.room_idle_ms;
        if is_idle && room.position <= archived {
            self.rooms.remove(&id);
        } else {
            self.visits.push_back((now_ms + self.settings.room_idle_ms, id));
        }
    }

    /// A room is in memory from now on.
    fn activate(&mut self, now_ms: u64, room: Room) {
        self.visits.push_back((now_ms + self.settings.room_idle_ms, room.id));
        self.rooms.insert(room.id, Slot::Active(Box::new(room)));
    }

    /// How a room stands for a user (`Some(None)`: they are not in it), if it is in memory; else the store knows.
    pub fn head(&self, id: RoomId, user: UserId) -> Option<Option<Standing>> {
        match self.rooms.get(&id) {
            Some(Slot::Active(room)) => Some(room.members.get(user).map(|row| entry(room, row))),
            _ => None,
        }
    }

    /// Whether a room is large and its last durable seq, for one of its members, if it is in memory.
    pub fn size(&self, id: RoomId, user: UserId) -> Option<Size> {
        match self.rooms.get(&id) {
            Some(Slot::Active(room)) => {
                let is_large = room.large && room.members.get(user).is_some();
                Some(Size { is_large, head_seq: room.durable.seq })
            }
            _ => None,
        }
    }

    /// A room's last durable seq, if it is in memory.
    pub fn durable_seq(&self, id: RoomId) -> Option<u64> {
        match self.rooms.get(&id) {
            Some(Slot::Active(room)) => Some(room.durable.seq),
            _ => None,
        }
    }

    /// Whether nothing waits and nothing is under way.
    pub fn is_quiet(&self) -> bool {
        self.waiting == 0 && self.lanes.values().all(Lane::is_empty)
    }

    /// How many rooms are in memory.
    pub fn rooms_active(&self) -> usize {
        self.rooms.len()
    }

    fn decide(&mut self, now_ms: u64, id: RoomId, request: Request<'_>) {
        let partition = self.route.partition_of_room(id);
        let (Some(Slot::Active(room)), Some(ledger)) =
            (self.rooms.get_mut(&id), self.ledgers.get_mut(&partition))
        else {
            return;
        };
        room.touched_ms = now_ms;
        let bytes = ledger.bytes();
        let decision =
            command::decide(room, &mut turn(now_ms, &self.settings, ledger, &request), &request.frame);
        self.deciding.bytes += ledger.bytes() - bytes;
        // Only now: what a request was looked up against may not be forgotten before it is decided.
        if room.recent.len() > self.settings.room_events_kept + TRIM_STEP
            && !self.looking_up.contains_key(&id)
        {
            room.trim(&self.settings, ledger.archived);
        }
        match decision {
            Ok(Decided::WhenDurable) => {
                ledger.requests += 1;
                self.deciding.requests += 1;
            }
            Ok(Decided::Told(None)) => {}
            Ok(Decided::Told(Some(delivery))) => self.out.told.push(delivery),
            Ok(Decided::Now(reply)) => self.out.replies.push((request.from, reply)),
            Ok(Decided::FromStore(page)) => self.wants.pages.push((request.from, page)),
            Ok(Decided::AtMoment(moment)) => {
                self.waiting += 1;
                self.wants.moments.push((request.into_owned(), moment));
            }
            Err(refusal) => self.refuse(&request, refusal),
        }
    }

    /// A request that waited for its room: decided like any other, unless the room is not there.
    fn decide_or_create(&mut self, now_ms: u64, id: RoomId, request: Request<'static>) {
        if self.rooms.contains_key(&id) {
            return self.request(now_ms, request);
        }
        let Frame::CreateRoom { name, members, .. } = &request.frame else {
            return self.refuse(&request, Refusal::not_a_member());
        };
        if self.is_settling(id) {
            return self.refuse(&request, Refusal::later(ErrorCode::UNAVAILABLE));
        }
        let Some(ledger) = self.ledgers.get_mut(&self.route.partition_of_room(id)) else { return };
        let mut turn = turn(now_ms, &self.settings, ledger, &request);
        match command::create_room::decide(id, &mut turn, name, members) {
            Ok(mut room) => {
                room.touched_ms = now_ms;
                self.activate(now_ms, room);
            }
            Err(refusal) => self.refuse(&request, refusal),
        }
    }

    fn look_up(&mut self, request: Request<'_>, lookup: Lookup) {
        self.waiting += 1;
        *self.looking_up.entry(lookup.room()).or_default() += 1;
        self.wants.lookups.push((request.into_owned(), lookup));
    }

    fn looked_up(&mut self, room: RoomId) {
        if let Some(count) = self.looking_up.get_mut(&room) {
            *count -= 1;
            if *count == 0 {
                self.looking_up.remove(&room);
            }
        }
    }

    fn refuse(&mut self, request: &Request<'_>, refusal: Refusal) {
        if let Some(number) = request.frame.request() {
            self.out.replies.push((request.from, Reply::Frame(refusal.frame(number))));
        }
    }

    /// Rooms move on to what is durable now; what follows from that is owed.
    fn durable(&mut self, decided: Vec<After>, owed: &mut Vec<After>) {
        owed.reserve(decided.len());
        for after in decided {
            match &after {
                After::Event { head, preview, delivery } => {
                    if let Some(Slot::Active(room)) = self.rooms.get_mut(&delivery.room) {
                        room.event_is_durable(*head, preview.as_ref());
                    }
                }
                After::Read(read) => {
                    self.read(read, owed);
                    continue;
                }
                _ => {}
            }
            owed.push(after);
        }
    }

    /// A read marker is durable.
    fn read(&mut self, read: &Read, owed: &mut Vec<After>) {
        if let Some(Slot::Active(room)) = self.rooms.get_mut(&read.room)
            && let Some(row) = room.read_is_durable(read)
        {
            return command::read::tell(room, read, &row, self.settings.receipts_members_max, owed);
        }
        // They part in what is under way: what they have read matters to nobody. Or the store had it before this home
        // heard of it, and the room has left memory.
        let Read { to, request, seq, ordinal, .. } = *read;
        owed.push(After::Ack(Ack { to, request, seq, ordinal, at_ms: 0 }));
    }

    /// Those who wait for what will not be are told to come back.
    fn take_back(&mut self, lane: LaneId, owed: Vec<After>, undo: Vec<Undo>) {
        let settling = self.lanes.entry(lane).or_default().settling.get_or_insert_default();
        settling.undo.extend(undo);
        settling.rooms.extend(owed.iter().filter_map(|after| match after {
            After::Event { delivery, .. } => Some(delivery.room),
            After::Read(read) => Some(read.room),
            _ => None,
        }));
        self.refuse_owed(owed, false);
    }

    /// Those who wait for what will not be are told to come back, or, where they are at a node that remembers what they
    /// asked, that another home decides now.
    fn refuse_owed(&mut self, owed: Vec<After>, has_moved: bool) {
        for after in owed {
            let (to, request) = match after {
                After::Event { .. } => continue,
                After::Read(read) => (read.to, read.request),
                After::Ack(ack) => (ack.to, ack.request),
                After::Answer { to, request, .. } => (to, request),
                After::Deliver(_) | After::Membership(_) | After::Subscribe(..) | After::Unsubscribe(..) => {
                    continue;
                }
            };
            if has_moved && to.ticket != 0 {
                self.out.moved_away.push(to);
                continue;
            }
            let refusal = Refusal::later(ErrorCode::UNAVAILABLE);
            self.out.replies.push((to, Reply::Frame(refusal.frame(request))));
        }
    }

    /// Nothing of a lane is under way any more: its ledgers and its rooms go back to what is durable, as if the rest had
    /// never been asked for.
    fn settle(&mut self, id: LaneId, durable: &dyn Fn(Partition) -> u64) {
        let (settles_by, deciding) = (self.settles_by, &mut self.deciding);
        let mine = self.ledgers.values_mut().filter(|ledger| match settles_by {
            SettlesBy::Group => true,
            SettlesBy::Partition => ledger.partition == id,
        });
        let abandon = |ledger: &mut Ledger| {
            deciding.requests = deciding.requests.saturating_sub(std::mem::take(&mut ledger.requests));
            deciding.bytes = deciding.bytes.saturating_sub(ledger.bytes());
            ledger.abandon(durable(ledger.partition))
        };
        let pages: Vec<Page> = mine.map(abandon).collect();
        pages.into_iter().for_each(|page| self.take_back(id, page.after, page.undo));
        let Some(settling) = self.lanes.get_mut(&id).and_then(|lane| lane.settling.take()) else { return };
        settling.undo.into_iter().rev().for_each(|undo| self.undo(undo));
        for id in settling.rooms {
            let position =
                self.ledgers.get(&self.route.partition_of_room(id)).map_or(0, |ledger| ledger.position);
            let Some(Slot::Active(room)) = self.rooms.get_mut(&id) else { continue };
            room.back_to_durable(position);
            if room.durable.seq == 0 {
                self.rooms.remove(&id);
            }
        }
    }

    fn undo(&mut self, undo: Undo) {
        let (Undo::Member { room: id, .. } | Undo::Large(id)) = undo;
        let Some(Slot::Active(room)) = self.rooms.get_mut(&id) else { return };
        match undo {
            Undo::Member { user, before, .. } => room.members.put_back(user, before),
            Undo::Large(_) => room.large = false,
        }
    }
}

/// What a turn hands on, of one lane.
pub enum Sealed {
    /// For the log.
    Append {
        /// The lane.
        lane: LaneId,
        /// Its append's number in the lane.
        number: u64,
        /// One or more, of a partition each.
        batches: Vec<Batch>,
    },
    /// Owed at once, because it waits for nothing.
    Owed(Vec<After>),
}

/// One append of what was decided; without any, what is owed waits for what is under way, or for nothing.
fn close(
    lane: &mut Lane,
    id: LaneId,
    pages: impl Iterator<Item = Page>,
    requests: usize,
    each: &mut impl FnMut(Sealed),
) {
    let (mut batches, mut after, mut undo) = (Vec::new(), Vec::new(), Vec::new());
    for page in pages {
        batches.extend(page.batch);
        after.extend(page.after);
        undo.extend(page.undo);
    }
    if !batches.is_empty() {
        let number = lane.begin(after, undo, requests);
        return each(Sealed::Append { lane: id, number, batches });
    }
    // Answers to repeated requests may be about what is still under way: they wait for it.
    match lane.last() {
        Some(last) => {
            last.after.extend(after);
            last.requests += requests;
        }
        None if after.is_empty() => {}
        None => each(Sealed::Owed(after)),
    }
}

fn turn<'a>(now_ms: u64, settings: &'a Config, ledger: &'a mut Ledger, request: &Request<'_>) -> Turn<'a> {
    let number = request.frame.request().unwrap_or(0);
    Turn { now_ms, settings, ledger, user: request.user, from: request.from, request: number }
}

impl Lookup {
    fn room(&self) -> RoomId {
        match self {
            Lookup::Sent(room, ..) | Lookup::Ordinal(room, _) => *room,
        }
    }
}

/// What a request needs that memory has no more. Who is not a member needs nothing.
fn lookup(room: &Room, request: &Request<'_>) -> Option<Lookup> {
    room.members.get(request.user)?;
    match &request.frame {
        Frame::Send { client_id, .. } if room.sent.get(request.user, *client_id) == Known::AskStore => {
            Some(Lookup::Sent(room.id, request.user, *client_id))
        }
        Frame::MarkRead { seq, .. } if room.ordinal_at(*seq).is_none() => {
            Some(Lookup::Ordinal(room.id, *seq))
        }
        _ => None,
    }
}

/// A room as it was read, ready to decide.
fn active(id: RoomId, loaded: Loaded, settings: &Config, now_ms: u64) -> Room {
    let mut room = Room::new(id, &loaded.row.name);
    room.head =
        Head { seq: loaded.row.head_seq, ordinal: loaded.row.head_ordinal, at_ms: loaded.row.active_ms };
    room.durable = room.head;
    room.touched_ms = now_ms;
    room.preview = loaded.row.preview_sender.map(|sender| (sender, loaded.row.preview.into()));
    for row in loaded.members {
        room.members.insert(row);
    }
    room.large = room.members.len() > settings.inbox_limit;
    room.remember(loaded.events, now_ms);
    room
}

/// How a room stands for one of its members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// As they see it in the list.
    pub entry: RoomEntry<'static>,
    /// When it last changed for them: an event, or their marker moved on another device.
    pub changed_ms: u64,
}

impl Standing {
    fn new(entry: RoomEntry<'static>, row: &MemberRow) -> Self {
        Self { changed_ms: entry.active_ms.max(row.read_ms), entry }
    }
}

/// How a room that is in memory stands for a member.
fn entry(room: &Room, row: &MemberRow) -> Standing {
    let entry = RoomEntry {
        room: room.id,
        name: room.name.to_string().into(),
        active_ms: room.durable.at_ms,
        head_seq: room.durable.seq,
        head_ordinal: room.durable.ordinal,
        read_seq: row.read_seq,
        unread: row.unread(room.durable.ordinal),
        member_count: room.members.len() as u64,
        preview_sender: room.preview.as_ref().map(|(sender, _)| *sender),
        preview: room.preview.as_ref().map_or(String::new(), |(_, text)| text.to_string()).into(),
    };
    Standing::new(entry, row)
}

/// The same for a room that only the store knows.
pub fn stored_entry(id: RoomId, room: RoomRow, row: &MemberRow) -> Standing {
    let entry = RoomEntry {
        room: id,
        unread: row.unread(room.head_ordinal),
        name: room.name.into(),
        active_ms: room.active_ms,
        head_seq: room.head_seq,
        head_ordinal: room.head_ordinal,
        read_seq: row.read_seq,
        member_count: room.member_count,
        preview_sender: room.preview_sender,
        preview: room.preview.into(),
    };
    Standing::new(entry, row)
}
