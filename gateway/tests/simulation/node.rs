//! A node: its shards with their homes and their requests on the way, its links, its side of the log, and what decides which
//! partitions it takes and releases (`cluster/homes.rs`, as a list of what happens next).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use carillon_gateway::cluster::link::{Link, Output, Refused};
use carillon_gateway::cluster::view::{NodeId, View};
use carillon_gateway::cluster::{Target, wire};
use carillon_gateway::command::{Refusal, room_of};
use carillon_gateway::config::Config;
use carillon_gateway::connections::Key;
use carillon_gateway::home::ledger::{After, Gone};
use carillon_gateway::home::{Found, Home, Loaded, Sealed, reading};
use carillon_gateway::log::{AppendError, Partition, Positions, SettlesBy, TakenOver};
use carillon_gateway::route::{Place, Route};
use carillon_gateway::shard::away::{Away, Wait, Waiting};
use carillon_gateway::shard::message::{Message, Origin, Reply, Request};
use carillon_protocol::{ClientId, Decoded, ErrorCode, Frame, RoomId, UserId};
use futures_util::future::LocalBoxFuture;
use tokio::sync::mpsc;

use super::client::What;
use super::world::{Asked, Happening, LEASE_MS, LINK, PARTITIONS, Without, World};
use super::writer::{ATTEMPT_MS, Act, Append, Command, Heard, Writer};

/// How long a new home waits for the one before to release.
const HAND_OVER_MS: u64 = 250;
/// How long until what another took is taken again.
const TAKE_AGAIN_MS: u64 = 60;
/// How long requests wait until they are routed again.
const TRY_AGAIN_MS: u64 = 25;
/// What became durable so long ago counts as delivered: longer than the store takes for a room.
const DELIVERED_AFTER_MS: u64 = 400;
const DELIVERED_AFTER_MS_WHERE_SLOW: u64 = 3_000;
/// A node that cannot leave in order goes after so long.
const LEAVE_WITHIN_MS: u64 = 1_500;

/// What comes to a node, to be done in its next turn.
pub enum Mail {
    Client {
        client: usize,
        session: u32,
        shard: u16,
        user: UserId,
        frame: Frame<'static>,
    },
    Datagram(NodeId, Bytes),
    /// A link has something to do.
    LinkTime(NodeId),
    Heard(Partition, u64, Heard),
    /// Where the partitions end, asked for a take.
    Ends(Partition, u64, Positions),
    Read(u16, Done),
    Archived(Arc<Positions>),
    View(u64, Arc<View>),
    TryAgain(u16, Partition),
    /// A take begins, if the home before has not said anything.
    TakeNow(Partition, u64),
    /// Where the partitions end is asked again, if nobody said.
    LookAgain(Partition, u64),
    Tick,
}

/// A store's answer.
pub enum Done {
    Room(RoomId, u64, Result<Option<Loaded>, String>),
    Found(u64, Vec<(Request<'static>, Result<Found, String>)>),
    Page(Origin, Reply),
}

/// What is being read of a store.
pub struct Reading {
    node: usize,
    life: u32,
    shard: u16,
    future: LocalBoxFuture<'static, Done>,
}

pub struct SimShard {
    pub home: Home,
    pub away: Away,
    looking_up: bool,
    /// As of which take each room was wanted last.
    wanted: BTreeMap<RoomId, u64>,
}

#[derive(Default)]
enum State {
    #[default]
    Elsewhere,
    Taking(u64, Phase),
    Here,
    Leaving,
}

enum Phase {
    Waiting,
    Asking,
    Looking(TakenOver),
    Archiving(TakenOver, Positions),
}

struct SimLink {
    link: Link,
    armed_ms: Option<u64>,
    /// What it does not take yet.
    queue: VecDeque<Vec<u8>>,
}

pub struct Node {
    pub name: Box<str>,
    pub index: usize,
    pub archive: usize,
    pub is_up: bool,
    pub life: u32,
    pub id: NodeId,
    pub stopped_until: u64,
    pub cut_until: u64,
    pub leaving_since: Option<u64>,
    pub heard_of_ms: u64,
    pub inbox: VecDeque<Mail>,
    pub is_woken: bool,
    pub route: Route,
    pub shards: Vec<SimShard>,
    view: Arc<View>,
    view_number: u64,
    states: Vec<State>,
    attempts: u64,
    writers: Vec<Writer>,
    /// The last position known of each partition.
    last: Positions,
    /// The same at each of the last ticks, of those it was the home of.
    noted: VecDeque<(u64, Positions)>,
    gone: (mpsc::UnboundedSender<Gone>, mpsc::UnboundedReceiver<Gone>),
    links: BTreeMap<NodeId, SimLink>,
    links_made: u64,
    outgoing: BTreeMap<NodeId, Vec<u8>>,
    shard_count: u16,
}

impl Node {
    pub fn new(index: usize, shard_count: u16, archive: usize) -> Self {
        let id = NodeId::ALONE;
        Self {
            name: format!("node {index}").into(),
            index,
            archive,
            is_up: false,
            life: 0,
            id,
            stopped_until: 0,
            cut_until: 0,
            leaving_since: None,
            heard_of_ms: 0,
            inbox: VecDeque::new(),
            is_woken: false,
            route: Route::in_cluster(PARTITIONS, shard_count, id),
            shards: Vec::new(),
            view: Arc::new(View::new([], PARTITIONS)),
            view_number: 0,
            states: Vec::new(),
            attempts: 0,
            writers: Vec::new(),
            last: Vec::new(),
            noted: VecDeque::new(),
            gone: mpsc::unbounded_channel(),
            links: BTreeMap::new(),
            links_made: 0,
            outgoing: BTreeMap::new(),
            shard_count,
        }
    }

    /// A new process of it: nothing is left of the one before.
    pub fn start(&mut self, id: NodeId, settings: Arc<Config>, now_ms: u64) {
        let (life, cut_until) = (self.life + 1, self.cut_until);
        *self = Self::new(self.index, self.shard_count, self.archive);
        (self.life, self.cut_until, self.is_up, self.id, self.heard_of_ms) =
            (life, cut_until, true, id, now_ms);
        self.route = Route::in_cluster(PARTITIONS, self.shard_count, id);
        self.states = (0..PARTITIONS).map(|_| State::Elsewhere).collect();
        self.writers = (0..PARTITIONS).map(|partition| Writer::new(id, partition)).collect();
        self.last = vec![0; usize::from(PARTITIONS)];
        let shard = |shard| SimShard {
            home: Home::new(
                Arc::clone(&settings),
                self.route.clone(),
                shard,
                &self.last,
                SettlesBy::Partition,
            ),
            away: Away::default(),
            looking_up: false,
            wanted: BTreeMap::new(),
        };
        self.shards = (0..self.shard_count).map(shard).collect();
    }

    /// Somebody saw this position.
    pub fn saw(&mut self, partition: Partition, position: u64) {
        let last = &mut self.last[usize::from(partition)];
        *last = position.max(*last);
    }

    /// Whether it is on its way out, and has nothing left or takes too long.
    pub fn has_left(&self, now_ms: u64) -> bool {
        let has_none = self.states.iter().all(|state| matches!(state, State::Elsewhere));
        let since_ms = self.leaving_since.map(|since| now_ms - since);
        since_ms.is_some_and(|since_ms| since_ms > LEAVE_WITHIN_MS || (has_none && since_ms > 150))
    }

    /// What keeps it from being at rest in a cluster that `view` is right about.
    pub fn left_to_do(&self, view: &View) -> Option<String> {
        if self.leaving_since.is_some() {
            return Some("it is leaving".into());
        }
        if *self.view != *view {
            return Some("its view is wrong".into());
        }
        for (partition, state) in (0..).zip(&self.states) {
            let is_mine = view.home_of(partition) == Some(self.id);
            let shard = &self.shards[usize::from(self.route.shard_of(partition))];
            match state {
                State::Here if is_mine && shard.home.has(partition) => {}
                State::Elsewhere if !is_mine => {}
                State::Here => return Some(format!("partition {partition} is there")),
                State::Elsewhere => return Some(format!("partition {partition} is not there")),
                State::Taking(..) => return Some(format!("it takes partition {partition}")),
                State::Leaving => return Some(format!("it leaves partition {partition}")),
            }
        }
        let is_busy = self.shards.iter().find_map(|shard| match (&shard.home, &shard.away) {
            (home, _) if !home.is_quiet() => Some("a home waits for something"),
            (_, away) if !away.is_quiet() => Some("requests are on their way"),
            _ => None,
        });
        is_busy.map(Into::into)
    }

    fn place(&self, shard: u16) -> Place {
        Place { node: self.id, shard }
    }
}

/// A turn.
impl World {
    pub fn turn(&mut self, n: usize) {
        self.look_at_lease(n);
        while let Some(mail) = self.nodes[n].inbox.pop_front() {
            self.mail(n, mail);
        }
        for shard in 0..self.nodes[n].shard_count {
            self.hand_out(n, shard);
            self.start_reading(n, shard);
            self.seal(n, shard);
        }
        self.hear_gone(n);
        self.log_acts(n, Vec::new());
        self.pump(n);
    }

    fn look_at_lease(&mut self, n: usize) {
        let now_ms = self.now_ms;
        let node = &mut self.nodes[n];
        if !self.has_lease || now_ms - node.heard_of_ms <= LEASE_MS {
            return;
        }
        for shard in node.shards.iter_mut().filter(|shard| !shard.home.is_idle()) {
            self.counts.suspended += 1;
            shard.home.suspend();
        }
    }

    fn mail(&mut self, n: usize, mail: Mail) {
        match mail {
            Mail::Client { client, session, shard, user, frame } => {
                let place = self.nodes[n].place(shard);
                let connection = Key { index: client as u32, generation: session };
                let from = Origin { place, ticket: 0, connection, owed_bytes: 0 };
                self.route(n, shard, Request { from, user, frame });
            }
            Mail::Datagram(from, bytes) => {
                self.link(n, from);
                let now_ms = self.now_ms;
                if let Some(link) = self.nodes[n].links.get_mut(&from) {
                    link.link.on_datagram(now_ms, &bytes).unwrap();
                }
                self.take_from_link(n, from);
            }
            Mail::LinkTime(peer) => {
                if let Some(link) = self.nodes[n].links.get_mut(&peer) {
                    link.armed_ms = None;
                }
            }
            Mail::Heard(partition, number, heard) => {
                let mut acts = Vec::new();
                let node = &mut self.nodes[n];
                let place = usize::from(partition);
                let state = &node.states[place];
                let is_wanted = |by| matches!(state, State::Taking(attempt, _) if *attempt == by);
                node.writers[place].heard(number, heard, is_wanted, &mut acts);
                let acts = acts.into_iter().map(|act| (partition, act)).collect();
                self.log_acts(n, acts);
            }
            Mail::Ends(partition, attempt, ends) => self.ends(n, partition, attempt, &ends),
            Mail::Read(shard, done) => self.done(n, shard, done),
            Mail::Archived(positions) => {
                self.nodes[n].shards.iter_mut().for_each(|shard| shard.home.archived(&positions));
                (0..PARTITIONS).for_each(|partition| self.try_took(n, partition));
            }
            Mail::View(number, view) => {
                if number >= self.nodes[n].view_number {
                    self.nodes[n].view_number = number;
                    self.follow(n, view);
                }
            }
            Mail::TryAgain(shard, partition) => self.try_again(n, shard, partition),
            Mail::TakeNow(partition, attempt) => self.begin_take(n, partition, Some(attempt)),
            Mail::LookAgain(partition, attempt) => self.look_at_ends(n, partition, attempt),
            Mail::Tick => self.tick(n),
        }
    }

    fn tick(&mut self, n: usize) {
        let (now_ms, life) = (self.now_ms, self.nodes[n].life);
        self.after(40, Happening::Mail(n, life, Mail::Tick));
        for shard in 0..self.nodes[n].shard_count {
            let sim = &mut self.nodes[n].shards[usize::from(shard)];
            sim.home.tidy(now_ms);
            for (_, message) in sim.away.take_late(now_ms) {
                if let Message::Request(request) = message {
                    self.refuse_later(n, &request, ErrorCode::UNAVAILABLE);
                }
            }
        }
        let delivered_after_ms =
            if self.is_store_slow { DELIVERED_AFTER_MS_WHERE_SLOW } else { DELIVERED_AFTER_MS };
        let node = &mut self.nodes[n];
        let here = node.last.iter().zip(&node.states);
        let here = here.map(|(&last, state)| if matches!(state, State::Here) { last } else { 0 });
        node.noted.push_back((now_ms, here.collect()));
        while let Some((at_ms, positions)) = node.noted.front()
            && at_ms + delivered_after_ms <= now_ms
        {
            for (partition, &position) in positions.iter().enumerate() {
                if matches!(node.states[partition], State::Here) {
                    let delivered = &mut node.writers[partition].delivered;
                    *delivered = position.max(*delivered);
                }
            }
            node.noted.pop_front();
        }
    }

    fn shard(&mut self, n: usize, shard: u16) -> &mut SimShard {
        &mut self.nodes[n].shards[usize::from(shard)]
    }
}

/// Requests, to wherever their home is: as `shard/serve.rs` and `shard/away.rs` have it.
impl World {
    fn route(&mut self, n: usize, shard: u16, request: Request<'static>) {
        let Some(room) = room_of(&request.frame) else { return };
        let partition = self.nodes[n].route.partition_of_room(room);
        let home = self.nodes[n].route.home_of(partition);
        let since_ms = self.now_ms;
        if self.shard(n, shard).away.is_waiting_for(partition) {
            self.wait(n, shard, partition, Waiting { since_ms, request });
        } else if self.nodes[n].route.is_here(home) {
            self.home_request(n, home.shard, request);
        } else {
            self.request_away(n, shard, home, partition, Waiting { since_ms, request });
        }
    }

    fn home_request(&mut self, n: usize, shard: u16, mut request: Request<'static>) {
        if self.without == Without::ClientIds
            && let Frame::Send { client_id, .. } = &mut request.frame
        {
            self.counts.repeated += 1;
            *client_id = ClientId::from_bytes(u128::from(self.counts.repeated).to_be_bytes());
        }
        let now_ms = self.now_ms;
        self.shard(n, shard).home.request(now_ms, request);
    }

    fn request_away(&mut self, n: usize, shard: u16, home: Place, partition: Partition, waiting: Waiting) {
        let request = self.shard(n, shard).away.sent(home.node, partition, waiting);
        self.send(n, home, Message::Request(request));
    }

    fn wait(&mut self, n: usize, shard: u16, partition: Partition, waiting: Waiting) {
        let now_ms = self.now_ms;
        match self.shard(n, shard).away.wait(now_ms, partition, waiting) {
            Wait::First => {
                let life = self.nodes[n].life;
                self.after(TRY_AGAIN_MS, Happening::Mail(n, life, Mail::TryAgain(shard, partition)));
            }
            Wait::Behind => {}
            Wait::Refused(request, code) => self.refuse_later(n, &request, code),
        }
    }

    fn refuse_later(&mut self, n: usize, request: &Request<'_>, code: ErrorCode) {
        if let Some(number) = request.frame.request() {
            self.reply(n, request.from, Reply::Frame(Refusal::later(code).frame(number)));
        }
    }

    fn try_again(&mut self, n: usize, shard: u16, partition: Partition) {
        for waiting in self.shard(n, shard).away.take_waiting(partition) {
            let home = self.nodes[n].route.home_of(partition);
            if self.shard(n, shard).away.is_waiting_for(partition) {
                self.wait(n, shard, partition, waiting);
            } else if home.node != self.nodes[n].id {
                self.request_away(n, shard, home, partition, waiting);
            } else {
                let mut request = waiting.request;
                request.from.ticket = 0;
                self.home_request(n, home.shard, request);
            }
        }
    }

    fn not_mine(&mut self, n: usize, shard: u16, partition: Partition, message: Message) {
        let home = self.nodes[n].route.home_of(partition);
        if home.node == self.nodes[n].id {
            let now_ms = self.now_ms;
            let kept = self.shard(n, shard).away.expect(now_ms, partition, message);
            if let Some(Message::Request(request)) = kept {
                self.refuse_later(n, &request, ErrorCode::BUSY);
            }
            return;
        }
        match message {
            Message::Request(request) if request.from.ticket != 0 => {
                self.counts.moved += 1;
                self.send(n, request.from.place, Message::MovedAway(request.from));
            }
            Message::Request(request) => {
                let place = request.from.place;
                self.send(n, place, Message::Moved(request));
            }
            other => self.send(n, home, other),
        }
    }

    fn peer_lost(&mut self, n: usize, peer: NodeId) {
        for shard in 0..self.nodes[n].shard_count {
            for (partition, waiting) in self.shard(n, shard).away.lost(peer) {
                self.wait(n, shard, partition, waiting);
            }
        }
        self.nodes[n].outgoing.remove(&peer);
    }

    fn tidy_expected(&mut self, n: usize, rehomed: &[Partition]) {
        for &partition in rehomed {
            if self.nodes[n].route.home_of(partition).node == self.nodes[n].id {
                continue;
            }
            for shard in 0..self.nodes[n].shard_count {
                for message in self.shard(n, shard).away.take_expected(partition) {
                    self.not_mine(n, shard, partition, message);
                }
            }
        }
    }

    /// A message for a shard: done at once where it is of this node.
    fn send(&mut self, n: usize, to: Place, message: Message) {
        if to.node == self.nodes[n].id {
            return self.message(n, to.shard, message);
        }
        let batch = self.nodes[n].outgoing.entry(to.node).or_default();
        wire::append(batch, Target::Shard(to.shard), &message);
    }

    fn message(&mut self, n: usize, shard: u16, message: Message) {
        match message {
            Message::Request(request) => self.home_request(n, shard, request),
            Message::Reply(to, reply) => {
                if self.shard(n, shard).away.answered(to.ticket) {
                    self.tell(to, reply);
                }
            }
            Message::Moved(request) => {
                let Some(room) = room_of(&request.frame) else { return };
                let partition = self.nodes[n].route.partition_of_room(room);
                self.wait(n, shard, partition, Waiting { since_ms: self.now_ms, request });
            }
            Message::MovedAway(origin) => {
                for (partition, waiting) in self.shard(n, shard).away.moved(origin.ticket) {
                    self.wait(n, shard, partition, waiting);
                }
            }
            Message::Released(_, partition) => {
                if matches!(self.nodes[n].states[usize::from(partition)], State::Taking(_, Phase::Waiting)) {
                    self.begin_take(n, partition, None);
                }
            }
            other => panic!("{other:?} is not simulated"),
        }
    }

    /// An answer, to whoever asked.
    fn reply(&mut self, n: usize, to: Origin, reply: Reply) {
        self.send(n, to.place, Message::Reply(to, reply));
    }

    /// To the client, over its connection.
    fn tell(&mut self, to: Origin, reply: Reply) {
        let frame = match reply {
            Reply::Frame(frame) => frame,
            Reply::Bytes(bytes) => match carillon_protocol::decode(&bytes, usize::MAX) {
                Ok(Decoded::Frame { frame, .. }) => frame.into_owned(),
                _ => panic!("an answer that is no frame"),
            },
        };
        let (client, session) = (to.connection.index as usize, to.connection.generation);
        let ms = self.random.between(1, 5);
        self.after(ms, Happening::Told { client, session, frame });
    }
}

/// What goes in and out of homes: as `shard.rs`, `shard/owed.rs` and `shard/tasks.rs` have it. Whatever comes out of a table
/// in an order that differs from run to run is put into one that does not.
impl World {
    fn hand_out(&mut self, n: usize, shard: u16) {
        let out = std::mem::take(&mut self.shard(n, shard).home.out);
        let mut replies = out.replies;
        replies.sort_by_key(|(to, _)| (to.place.node, to.connection.index, to.connection.generation));
        for (to, reply) in replies {
            self.say(n, to, reply);
        }
        let mut told = out.told;
        told.sort_by_key(|delivery| delivery.room);
        for delivery in told {
            self.counts.again += 1;
            self.checker.handed_out(&delivery, true);
        }
        let mut moved = out.moved;
        moved.sort_by_key(|(partition, request)| (*partition, room_of(&request.frame)));
        for (partition, request) in moved {
            self.not_mine(n, shard, partition, Message::Request(request));
        }
        let mut moved_away = out.moved_away;
        moved_away.sort_by_key(|origin| (origin.place.node, origin.place.shard, origin.ticket));
        for origin in moved_away {
            self.counts.moved += 1;
            self.send(n, origin.place, Message::MovedAway(origin));
        }
    }

    fn start_reading(&mut self, n: usize, shard: u16) {
        let (kept, store) =
            (self.settings.room_events_kept, self.archives[self.nodes[n].archive].store.clone());
        let sim = self.shard(n, shard);
        let mut rooms = std::mem::take(&mut sim.home.wants.rooms);
        rooms.sort_unstable();
        let pages = std::mem::take(&mut sim.home.wants.pages);
        assert!(sim.home.wants.moments.is_empty(), "nobody here asks by date");
        sim.wanted.extend(rooms.iter().copied());
        let mut futures: Vec<LocalBoxFuture<'static, Done>> = Vec::new();
        for (room, take) in rooms {
            let store = Arc::clone(&store);
            futures.push(Box::pin(
                async move { Done::Room(room, take, reading::room(store, room, kept).await) },
            ));
        }
        for (to, page) in pages {
            let store = Arc::clone(&store);
            futures.push(Box::pin(async move {
                let refused = |_| Reply::Frame(Refusal::later(ErrorCode::UNAVAILABLE).frame(page.request));
                Done::Page(to, reading::page(store, page).await.unwrap_or_else(refused))
            }));
        }
        if !sim.looking_up && !sim.home.wants.lookups.is_empty() {
            sim.looking_up = true;
            let (lookups, take) = (std::mem::take(&mut sim.home.wants.lookups), sim.home.takes());
            futures.push(Box::pin(async move { Done::Found(take, reading::look_up(store, lookups).await) }));
        }
        let life = self.nodes[n].life;
        for future in futures {
            let number = self.readings.last_key_value().map_or(0, |(number, _)| number + 1);
            self.readings.insert(number, Reading { node: n, life, shard, future });
            self.after(0, Happening::Reading(number));
        }
    }

    /// A step of what is being read.
    pub fn read_on(&mut self, number: u64) {
        let Some(mut reading) = self.readings.remove(&number) else { return };
        let waker = futures_util::task::noop_waker();
        let ms = match self.is_store_slow && self.has_faults() && self.random.chance(50) {
            true => self.random.between(50, 700),
            false => self.random.below(10),
        };
        match reading.future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => {
                self.readings.insert(number, reading);
                self.after(ms, Happening::Reading(number));
            }
            Poll::Ready(mut done) => {
                if self.has_faults() && !self.is_store_slow && self.random.chance(3) {
                    done = failed(done);
                }
                let Reading { node, life, shard, .. } = reading;
                self.after(ms, Happening::Mail(node, life, Mail::Read(shard, done)));
            }
        }
    }

    fn done(&mut self, n: usize, shard: u16, done: Done) {
        let (now_ms, without) = (self.now_ms, self.without);
        let sim = &mut self.nodes[n].shards[usize::from(shard)];
        match done {
            Done::Room(room, take, result) => {
                self.counts.rooms_read += 1;
                let wanted = sim.wanted.get(&room).copied().unwrap_or(take);
                self.counts.read_in_vain += u64::from(take != wanted);
                let take = if without == Without::Takes { wanted } else { take };
                sim.home.loaded(now_ms, room, take, result);
            }
            Done::Found(take, found) => {
                sim.looking_up = false;
                let take = if without == Without::Takes { sim.home.takes() } else { take };
                for (request, found) in found {
                    self.counts.lookups += 1;
                    sim.home.found(now_ms, take, request, found);
                }
            }
            Done::Page(to, reply) => self.say(n, to, reply),
        }
    }

    fn seal(&mut self, n: usize, shard: u16) {
        let mut appends = Vec::new();
        let mut at_once = Vec::new();
        self.shard(n, shard).home.seal(16, |sealed| match sealed {
            Sealed::Append { lane, number, batches } => appends.push((lane, number, batches)),
            Sealed::Owed(after) => at_once.push(after),
        });
        appends.sort_by_key(|(lane, ..)| *lane);
        for (lane, number, batches) in appends {
            for batch in batches {
                let partition = batch.partition;
                let append = Append { shard, lane, number, batch };
                self.nodes[n].writers[usize::from(partition)].send(Command::Append(append));
            }
            if self.without == Without::Durability {
                let owed = self.shard(n, shard).home.appended(lane, number, Ok(()), &|_| 0);
                self.pay(n, owed);
            }
        }
        at_once.sort_by_key(|after| after.iter().find_map(whose));
        for owed in at_once {
            self.counts.repeated += owed.iter().filter(|after| matches!(after, After::Ack(_))).count() as u64;
            self.pay(n, owed);
        }
    }

    fn pay(&mut self, n: usize, owed: Vec<After>) {
        let mut answers = Vec::new();
        for after in owed {
            match after {
                After::Event { delivery, .. } | After::Deliver(delivery) => {
                    self.checker.handed_out(&delivery, false);
                }
                After::Ack(ack) => answers.push((ack.to, ack.reply())),
                After::Answer { to, reply, .. } => answers.push((to, reply)),
                After::Read(_) | After::Membership(_) | After::Subscribe(..) | After::Unsubscribe(..) => {}
            }
        }
        for (to, reply) in answers {
            self.say(n, to, reply);
        }
    }

    /// A home answers: what it says has to be so.
    fn say(&mut self, n: usize, to: Origin, reply: Reply) {
        let frame = match &reply {
            Reply::Frame(frame) => frame.clone(),
            Reply::Bytes(bytes) => match carillon_protocol::decode(bytes, usize::MAX) {
                Ok(Decoded::Frame { frame, .. }) => frame.into_owned(),
                _ => panic!("an answer that is no frame"),
            },
        };
        let asked = frame.request().and_then(|request| self.asked.get(&request)).cloned();
        let Some((user, what)) = asked else { panic!("an answer to nothing: {frame:?}") };
        match (&what, &frame) {
            (What::Send { room, text, .. }, Frame::Ack { seq, ordinal, .. }) => {
                self.checker.acknowledged(*room, user, text, *seq, *ordinal);
            }
            (
                What::Create { room, .. }
                | What::Add { room, .. }
                | What::Remove { room, .. }
                | What::Read { room, .. },
                Frame::Ack { seq, .. },
            ) => {
                let known = self.checker.rooms.get(room);
                let head = known.map_or(0, |known| known.events.len() as u64);
                let member = known.and_then(|known| known.members.get(&user));
                let is_read = matches!(what, What::Read { .. });
                let has_not_read = is_read && member.is_some_and(|member| member.read_seq < *seq);
                if *seq > head || has_not_read {
                    self.checker.fault(|| format!("{what:?} is acknowledged with {seq}; the log has {head}"));
                }
            }
            // A home that was deposed and has not learned of it may still say so.
            (_, Frame::Error { request, code, .. }) if !code.come_back() && !self.is_home(n, &what) => {
                self.counts.refused_by_stale += 1;
                self.refused_by_stale.insert(*request);
            }
            (What::Sync { after_seq, .. }, Frame::Events { room, head_seq, events, .. }) => {
                self.checker.page(*room, *after_seq.min(head_seq), *head_seq, events);
            }
            _ => {}
        }
        self.reply(n, to, reply);
    }
}

impl World {
    /// Whether what was asked is for this node to decide: the last word in the partition's log is its own.
    fn is_home(&self, n: usize, what: &What) -> bool {
        let partition = self.nodes[n].route.partition_of_room(what.room());
        self.log.end(partition, 0).is_some_and(|end| end.author.node == self.nodes[n].id)
    }
}

/// A store that is away.
fn failed(done: Done) -> Done {
    let away = || "the store is away".to_owned();
    match done {
        Done::Room(room, take, _) => Done::Room(room, take, Err(away())),
        Done::Found(take, found) => {
            Done::Found(take, found.into_iter().map(|(request, _)| (request, Err(away()))).collect())
        }
        page @ Done::Page(..) => page,
    }
}

/// Whose answer is owed.
fn whose(after: &After) -> Option<(u32, u64)> {
    match after {
        After::Ack(ack) => Some((ack.to.connection.index, ack.request)),
        After::Answer { to, request, .. } => Some((to.connection.index, *request)),
        _ => None,
    }
}

/// The log.
impl World {
    /// Does what writers want done, until they want nothing.
    fn log_acts(&mut self, n: usize, mut acts: Vec<(Partition, Act)>) {
        loop {
            for (partition, act) in std::mem::take(&mut acts) {
                self.log_act(n, partition, act);
            }
            for partition in 0..PARTITIONS {
                let mut more = Vec::new();
                self.nodes[n].writers[usize::from(partition)].go_on(&mut more);
                acts.extend(more.into_iter().map(|act| (partition, act)));
            }
            if acts.is_empty() {
                return;
            }
        }
    }

    fn log_act(&mut self, n: usize, partition: Partition, act: Act) {
        let life = self.nodes[n].life;
        match act {
            Act::Publish { number, expected, message } => {
                self.ask_log(n, partition, number, Asked::Publish { expected, message });
            }
            Act::AskEnd { number } => self.ask_log(n, partition, number, Asked::End),
            Act::Wake { number, after_ms } => {
                let mail = Mail::Heard(partition, number, Heard::Nothing);
                self.after(after_ms, Happening::Mail(n, life, mail));
            }
            Act::WasAmbiguous => self.counts.ambiguous += 1,
            Act::Appended(append, result) => self.appended(n, append, result),
            Act::Taken(attempt, over) => {
                self.counts.takes += 1;
                self.nodes[n].saw(partition, over.position);
                self.nodes[n].states[usize::from(partition)] = State::Taking(attempt, Phase::Looking(over));
                self.look_at_ends(n, partition, attempt);
            }
        }
    }

    fn appended(&mut self, n: usize, append: Append, result: Result<(), AppendError>) {
        let Append { shard, lane, number, batch } = append;
        if result.is_ok() {
            self.nodes[n].saw(batch.partition, batch.position);
        }
        self.counts.deposed += u64::from(matches!(result, Err(AppendError::Deposed(_))));
        if self.without == Without::Durability {
            return;
        }
        let last = self.nodes[n].last.clone();
        let owed = self
            .shard(n, shard)
            .home
            .appended(lane, number, result, &|partition| last[usize::from(partition)]);
        self.pay(n, owed);
        self.hear_gone(n);
        self.wake(n);
    }
}

/// Which partitions are whose: as `cluster/homes.rs` has it.
impl World {
    fn follow(&mut self, n: usize, view: Arc<View>) {
        let before = std::mem::replace(&mut self.nodes[n].view, Arc::clone(&view));
        let gone: Vec<NodeId> =
            before.nodes().iter().map(|node| node.id).filter(|&id| view.node(id).is_none()).collect();
        self.nodes[n].route.follow(&view);
        for peer in gone {
            self.forget_link(n, peer);
            self.peer_lost(n, peer);
        }
        let me = self.nodes[n].id;
        for peer in view.nodes().iter().map(|node| node.id).filter(|&id| id != me) {
            self.link(n, peer);
        }
        let rehomed: Vec<Partition> =
            (0..PARTITIONS).filter(|&it| before.home_of(it) != view.home_of(it)).collect();
        self.tidy_expected(n, &rehomed);
        for partition in rehomed {
            self.head_for(n, partition, &before);
        }
    }

    fn head_for(&mut self, n: usize, partition: Partition, before: &View) {
        let (me, view) = (self.nodes[n].id, Arc::clone(&self.nodes[n].view));
        let is_mine = view.home_of(partition) == Some(me);
        match &self.nodes[n].states[usize::from(partition)] {
            State::Elsewhere if is_mine => {
                let others = || view.nodes().iter().filter(|node| node.id != me).cloned();
                let before = match before.nodes().is_empty() {
                    true => View::new(others(), PARTITIONS).home_of(partition),
                    false => before.home_of(partition),
                };
                let before = before.filter(|&node| node != me && view.node(node).is_some());
                self.start_taking(n, partition, before.is_some(), 0);
            }
            State::Elsewhere => self.tell_released(n, partition),
            State::Taking(..) if !is_mine => {
                self.nodes[n].states[usize::from(partition)] = State::Elsewhere;
                self.nodes[n].writers[usize::from(partition)].send(Command::Release);
                self.tell_released(n, partition);
            }
            State::Here if !is_mine => {
                self.nodes[n].states[usize::from(partition)] = State::Leaving;
                let shard = self.nodes[n].route.shard_of(partition);
                self.shard(n, shard).home.release(partition);
            }
            _ => {}
        }
    }

    fn start_taking(&mut self, n: usize, partition: Partition, is_handed_over: bool, after_ms: u64) {
        let node = &mut self.nodes[n];
        node.attempts += 1;
        let (attempt, life) = (node.attempts, node.life);
        node.states[usize::from(partition)] = State::Taking(attempt, Phase::Waiting);
        let after_ms = if is_handed_over { HAND_OVER_MS } else { after_ms };
        self.after(after_ms, Happening::Mail(n, life, Mail::TakeNow(partition, attempt)));
    }

    fn begin_take(&mut self, n: usize, partition: Partition, which: Option<u64>) {
        let node = &mut self.nodes[n];
        let State::Taking(attempt, phase @ Phase::Waiting) = &mut node.states[usize::from(partition)] else {
            return;
        };
        if which.is_none_or(|which| which == *attempt) {
            *phase = Phase::Asking;
            node.writers[usize::from(partition)].send(Command::Take(*attempt));
        }
    }

    /// Asks where everything ends, until there is an answer.
    fn look_at_ends(&mut self, n: usize, partition: Partition, attempt: u64) {
        let state = &self.nodes[n].states[usize::from(partition)];
        if matches!(state, State::Taking(known, Phase::Looking(_)) if *known == attempt) {
            let life = self.nodes[n].life;
            self.ask_log(n, partition, attempt, Asked::Ends);
            self.after(ATTEMPT_MS, Happening::Mail(n, life, Mail::LookAgain(partition, attempt)));
        }
    }

    /// What users of this partition became members of before it was taken is to be in the store, like all of the partition.
    fn ends(&mut self, n: usize, partition: Partition, attempt: u64, ends: &Positions) {
        (0..).zip(ends).for_each(|(partition, &end)| self.nodes[n].saw(partition, end));
        let node = &mut self.nodes[n];
        if let State::Taking(known, phase) = &mut node.states[usize::from(partition)]
            && *known == attempt
            && let Phase::Looking(over) = phase
        {
            *phase = Phase::Archiving(*over, node.last.clone());
        }
        self.try_took(n, partition);
    }

    fn try_took(&mut self, n: usize, partition: Partition) {
        let applied = self.archives[self.nodes[n].archive].applied.clone();
        let node = &mut self.nodes[n];
        let State::Taking(_, Phase::Archiving(over, ends)) = &node.states[usize::from(partition)] else {
            return;
        };
        if applied.iter().zip(ends).any(|(applied, end)| applied < end) {
            return;
        }
        let over = *over;
        node.states[usize::from(partition)] = State::Here;
        let undelivered = self.log.batches(partition, over.delivered.min(over.position), over.position);
        let (gone, shard) = (node.gone.0.clone(), node.route.shard_of(partition));
        let sim = &mut node.shards[usize::from(shard)];
        sim.home.take(partition, over.position, gone);
        sim.home.deliver_again(&undelivered);
        for message in sim.away.take_expected(partition) {
            self.message(n, shard, message);
        }
    }

    fn hear_gone(&mut self, n: usize) {
        let mut gone = Vec::new();
        while let Ok(one) = self.nodes[n].gone.1.try_recv() {
            gone.push(one);
        }
        gone.sort_by_key(|gone| gone.partition);
        for Gone { partition, is_deposed } in gone {
            self.counts.released += u64::from(!is_deposed);
            self.nodes[n].writers[usize::from(partition)].send(Command::Release);
            self.nodes[n].states[usize::from(partition)] = State::Elsewhere;
            if self.nodes[n].view.home_of(partition) == Some(self.nodes[n].id) {
                self.start_taking(n, partition, false, if is_deposed { TAKE_AGAIN_MS } else { 0 });
            } else {
                self.tell_released(n, partition);
            }
        }
    }

    fn tell_released(&mut self, n: usize, partition: Partition) {
        let me = self.nodes[n].id;
        if let Some(home) = self.nodes[n].view.home_of(partition).filter(|&home| home != me) {
            self.send(n, Place { node: home, shard: 0 }, Message::Released(me, partition));
        }
    }
}

/// Links: as `cluster/mesh.rs` has it.
impl World {
    fn link(&mut self, n: usize, peer: NodeId) {
        let node = &mut self.nodes[n];
        if peer == node.id || node.links.contains_key(&peer) {
            return;
        }
        node.links_made += 1;
        let link = Link::new(node.id, peer, node.links_made << 16, LINK);
        node.links.insert(peer, SimLink { link, armed_ms: None, queue: VecDeque::new() });
    }

    fn forget_link(&mut self, n: usize, peer: NodeId) {
        if self.nodes[n].links.remove(&peer).is_some() {
            self.counts.links_lost += 1;
        }
    }

    /// Takes what a link has for this node.
    fn take_from_link(&mut self, n: usize, peer: NodeId) {
        while let Some(link) = self.nodes[n].links.get_mut(&peer)
            && let Some(output) = link.link.next()
        {
            match output {
                Output::Opened => {}
                Output::Lost => {
                    link.queue.clear();
                    self.counts.links_lost += 1;
                    self.peer_lost(n, peer);
                }
                Output::Batch(batch) => {
                    link.link.taken();
                    for message in wire::messages(&batch) {
                        let (target, message) = message.unwrap();
                        let Target::Shard(shard) = target else { panic!("{target:?} is not simulated") };
                        self.message(n, shard, message);
                    }
                }
            }
        }
    }

    /// Sends what there is to send.
    fn pump(&mut self, n: usize) {
        for (peer, batch) in std::mem::take(&mut self.nodes[n].outgoing) {
            self.link(n, peer);
            if let Some(link) = self.nodes[n].links.get_mut(&peer) {
                link.queue.push_back(batch);
            }
        }
        let peers: BTreeSet<NodeId> = self.nodes[n].links.keys().copied().collect();
        for peer in peers {
            self.take_from_link(n, peer);
            self.pump_link(n, peer);
        }
        if !self.nodes[n].outgoing.is_empty() {
            self.wake(n);
        }
    }

    fn pump_link(&mut self, n: usize, peer: NodeId) {
        let (now_ms, life) = (self.now_ms, self.nodes[n].life);
        let Some(link) = self.nodes[n].links.get_mut(&peer) else { return };
        while let Some(batch) = link.queue.pop_front() {
            if let Err(Refused::Full(batch) | Refused::TooLarge(batch)) = link.link.send(batch.into()) {
                link.queue.push_front(batch.to_vec());
                break;
            }
        }
        let mut datagrams = Vec::new();
        while let Some(datagram) = link.link.datagram_out(now_ms) {
            datagrams.push(datagram);
        }
        let has_given_up = link.link.has_given_up();
        if let Some(at_ms) = link.link.timeout_ms()
            && link.armed_ms.is_none_or(|armed| at_ms < armed)
        {
            link.armed_ms = Some(at_ms);
            self.after(at_ms.saturating_sub(now_ms).max(1), Happening::Mail(n, life, Mail::LinkTime(peer)));
        }
        for datagram in datagrams {
            self.send_datagram(n, peer, datagram.into());
        }
        if has_given_up {
            self.take_from_link(n, peer);
        }
    }
}
