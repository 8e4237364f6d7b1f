//! What this shard has under way at other nodes, and what waits for a home that is moving.
//!
//! A request that goes to another node is kept until its answer is there: when its home moves or its node dies, it goes to
//! whoever is the home then, in the order in which the requests came. Decisions are idempotent where that matters (a
//! send by its client id), so a request that was decided before its answer was lost is not decided twice. A client sees
//! that it takes longer.

use std::collections::{BTreeMap, VecDeque};

use carillon_protocol::frame::Head;
use carillon_protocol::{CloseCode, ErrorCode, RoomId, UserId};
use carillon_storage::Partition;
use hashbrown::HashMap;

use super::Shard;
use super::ask::TRY_AGAIN_AFTER;
use super::message::{Answer, Message, Question, Reply, Request, RollCall, Taken};
use super::tasks::Done;
use crate::cluster::view::NodeId;
use crate::command::Refusal;
use crate::connections::Key;
use crate::route::Place;

/// How long a request may wait for its home to be reached; past it its client is told to come back.
const WAIT_MS: u64 = 10_000;
/// Requests that may wait for homes in a shard; a further one is told to come back.
const WAITING_MAX: usize = 65_536;

/// Requests at other nodes, and those that wait for a home: the rules, without the shard that keeps to them. It routes a
/// request, or answers it, as these say.
#[derive(Default)]
pub struct Away {
    last_ticket: u64,
    sent: BTreeMap<u64, Sent>,
    /// To be routed again soon: their home was not where they went.
    waiting: HashMap<Partition, VecDeque<Waiting>>,
    /// For partitions that this node is about to take.
    expected: HashMap<Partition, VecDeque<(u64, Message)>>,
    /// How many wait in both.
    count: usize,
}

struct Sent {
    node: NodeId,
    partition: Partition,
    waiting: Waiting,
}

/// A request on its way to its home.
#[derive(Debug)]
pub struct Waiting {
    /// Since when.
    pub since_ms: u64,
    /// What is asked.
    pub request: Request<'static>,
}

/// How a request waits.
#[derive(Debug)]
pub enum Wait {
    /// As the first of its partition: all of them are to be routed again in [`TRY_AGAIN_AFTER`].
    First,
    /// Behind others.
    Behind,
    /// Not at all: too many do, or it has for too long. It is refused with this code.
    Refused(Request<'static>, ErrorCode),
}

impl Away {
    /// Whether no request is under way or waits to be. (What waits for partitions that this node was to take may wait for
    /// ever, when it leaves instead.)
    pub fn is_quiet(&self) -> bool {
        self.sent.is_empty() && self.waiting.is_empty()
    }

    /// A request goes to another node, and is remembered until its answer is there. This is how it goes.
    pub fn sent(&mut self, node: NodeId, partition: Partition, mut waiting: Waiting) -> Request<'static> {
        self.last_ticket += 1;
        waiting.request.from.ticket = self.last_ticket;
        let request = waiting.request.clone();
        self.sent.insert(self.last_ticket, Sent { node, partition, waiting });
        request
    }

    /// An answer has come. Says whether anybody waited for it.
    pub fn answered(&mut self, ticket: u64) -> bool {
        ticket == 0 || self.sent.remove(&ticket).is_some()
    }

    /// A request came to a node that is not its home: it and all others of its partition that went there are to wait for
    /// where their home is now, in this order. An old answer means nothing.
    pub fn moved(&mut self, ticket: u64) -> Vec<(Partition, Waiting)> {
        let Some(&Sent { node, partition, .. }) = self.sent.get(&ticket) else { return Vec::new() };
        self.take_sent(|sent| sent.node == node && sent.partition == partition)
    }

    /// What was on its way to a node is lost: all of it is to wait, in this order.
    pub fn lost(&mut self, node: NodeId) -> Vec<(Partition, Waiting)> {
        self.take_sent(|sent| sent.node == node)
    }

    /// What was sent too long ago and is not answered.
    pub fn take_unanswered(&mut self, now_ms: u64) -> Vec<(Partition, Waiting)> {
        self.take_sent(|sent| now_ms.saturating_sub(sent.waiting.since_ms) > WAIT_MS)
    }

    /// Everything under way that `is_lost`, in the order in which it was sent.
    fn take_sent(&mut self, is_lost: impl Fn(&Sent) -> bool) -> Vec<(Partition, Waiting)> {
        let lost: Vec<u64> =
            self.sent.iter().filter(|(_, sent)| is_lost(sent)).map(|(&ticket, _)| ticket).collect();
        let lost = lost.iter().filter_map(|ticket| self.sent.remove(ticket));
        lost.map(|sent| (sent.partition, sent.waiting)).collect()
    }

    /// Whether requests for a partition wait for its home: then the next one waits behind them.
    pub fn is_waiting_for(&self, partition: Partition) -> bool {
        !self.waiting.is_empty() && self.waiting.contains_key(&partition)
    }

    /// A request waits for its home.
    pub fn wait(&mut self, now_ms: u64, partition: Partition, waiting: Waiting) -> Wait {
        if self.count >= WAITING_MAX {
            return Wait::Refused(waiting.request, ErrorCode::BUSY);
        }
        if now_ms.saturating_sub(waiting.since_ms) > WAIT_MS {
            return Wait::Refused(waiting.request, ErrorCode::UNAVAILABLE);
        }
        self.count += 1;
        let queue = self.waiting.entry(partition).or_default();
        queue.push_back(waiting);
        if queue.len() == 1 { Wait::First } else { Wait::Behind }
    }

    /// Those that wait for a partition's home, to be routed again in this order.
    pub fn take_waiting(&mut self, partition: Partition) -> VecDeque<Waiting> {
        let queue = self.waiting.remove(&partition).unwrap_or_default();
        self.count -= queue.len();
        queue
    }

    /// Something is for a partition that this node is about to take: kept until it has, or given back where too much waits.
    pub fn expect(&mut self, now_ms: u64, partition: Partition, message: Message) -> Option<Message> {
        if self.count >= WAITING_MAX {
            return Some(message);
        }
        self.count += 1;
        self.expected.entry(partition).or_default().push_back((now_ms, message));
        None
    }

    /// What was kept for a partition, in order.
    pub fn take_expected(&mut self, partition: Partition) -> Vec<Message> {
        let queue = self.expected.remove(&partition).unwrap_or_default();
        self.count -= queue.len();
        queue.into_iter().map(|(_, message)| message).collect()
    }

    /// A node says anew which rooms' events it wants.
    pub fn forget_interest(&mut self, node: NodeId) {
        for queue in self.expected.values_mut() {
            let before = queue.len();
            queue.retain(
                |(_, message)| !matches!(message, Message::Interest { place, .. } if place.node == node),
            );
            self.count -= before - queue.len();
        }
    }

    /// What was kept for too long.
    pub fn take_late(&mut self, now_ms: u64) -> Vec<(Partition, Message)> {
        let mut late = Vec::new();
        for (&partition, queue) in &mut self.expected {
            let is_late = |(since_ms, _): &(u64, Message)| now_ms.saturating_sub(*since_ms) > WAIT_MS;
            if !queue.front().is_some_and(is_late) {
                continue;
            }
            // Who wants a room's events says so once: that waits for as long as the take-over takes, or its sessions would
            // hear of nothing more.
            let is_dropped =
                |waiting: &(u64, Message)| is_late(waiting) && !matches!(waiting.1, Message::Interest { .. });
            let (dropped, kept) = queue.drain(..).partition::<VecDeque<_>, _>(is_dropped);
            late.extend(dropped.into_iter().map(|(_, message)| (partition, message)));
            *queue = kept;
        }
        self.expected.retain(|_, queue| !queue.is_empty());
        self.count -= late.len();
        late
    }
}

impl Shard {
    /// A request for a room whose home is another node.
    pub(super) fn request_away(&mut self, home: Place, partition: Partition, request: Request<'static>) {
        self.request_away_since(home, partition, Waiting { since_ms: self.now_ms, request });
    }

    fn request_away_since(&mut self, home: Place, partition: Partition, waiting: Waiting) {
        let request = self.away.sent(home.node, partition, waiting);
        self.outgoing.push(home, Message::Request(request));
    }

    /// Whether requests for a partition wait for its home: then the next one waits behind them.
    pub(super) fn is_waiting_for(&self, partition: Partition) -> bool {
        self.away.is_waiting_for(partition)
    }

    /// A request waits for its home.
    pub(super) fn wait_for_home(&mut self, partition: Partition, request: Request<'static>) {
        self.wait_since(partition, Waiting { since_ms: self.now_ms, request });
    }

    fn wait_since(&mut self, partition: Partition, waiting: Waiting) {
        match self.away.wait(self.now_ms, partition, waiting) {
            Wait::First => self.start(async move {
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
                Done::TryAgain(partition)
            }),
            Wait::Behind => {}
            Wait::Refused(request, code) => {
                tracing::warn!(partition, "a home cannot be reached; a client is told to come back");
                self.refuse_later(&request, code);
            }
        }
    }

    fn refuse_later(&mut self, request: &Request<'_>, code: ErrorCode) {
        if let Some(number) = request.frame.request() {
            self.reply(request.from, Reply::Frame(Refusal::later(code).frame(number)));
        }
    }

    /// Requests that waited for their home go to whoever it is now.
    pub(super) fn try_again(&mut self, partition: Partition) {
        for waiting in self.away.take_waiting(partition) {
            let home = self.node.route.home_of(partition);
            if self.is_waiting_for(partition) {
                self.wait_since(partition, waiting);
            } else if home.node != self.node.route.me {
                self.request_away_since(home, partition, waiting);
            } else {
                let mut request = waiting.request;
                request.from.ticket = 0;
                self.request_here(home.shard, request);
            }
        }
    }

    /// A request came to a node that is not its home: it and all others of its partition that went there go elsewhere.
    pub(super) fn moved_away(&mut self, ticket: u64) {
        for (partition, waiting) in self.away.moved(ticket) {
            self.wait_since(partition, waiting);
        }
    }

    /// What was on its way to a node that is gone goes to the homes that there are now.
    pub(super) fn peer_gone(&mut self, node: NodeId) {
        for (partition, waiting) in self.away.lost(node) {
            self.wait_since(partition, waiting);
        }
        self.asker.lost(node);
        self.outgoing.forget(node);
        self.forward_again(node);
    }

    /// What was on its way to and from a node is lost, and what it said of its sessions is not so any more.
    pub(super) fn peer_lost(&mut self, node: NodeId, is_alive: bool) {
        self.peer_gone(node);
        self.interest_away.retain(|_, places| {
            places.retain(|(other, _)| *other != node);
            !places.is_empty()
        });
        self.away.forget_interest(node);
        let (route, me) = (&self.node.route, self.me);
        self.node.presence.forget_node(node, |user| route.shard_of(route.partition_of_user(user)) == me);
        if is_alive {
            self.resync_all();
        }
    }

    /// Something that was on its way to sessions here may be lost, and nobody knows what: all of them come back, and ask.
    fn resync_all(&mut self) {
        for key in self.connections.keys() {
            if self.connections.get(key).is_some_and(|connection| connection.session.is_some()) {
                self.close(key, CloseCode::GO_AWAY, CloseCode::GO_AWAY.sentence());
            }
        }
    }

    /// Something for a room or a user whose home may be here: waits where this node is about to be it, and goes back to whoever
    /// asked where it is not.
    pub(super) fn not_mine(&mut self, partition: Partition, message: Message) {
        let home = self.node.route.home_of(partition);
        if home.node == self.node.route.me {
            if let Some(Message::Request(request)) = self.away.expect(self.now_ms, partition, message) {
                self.refuse_later(&request, ErrorCode::BUSY);
            }
            return;
        }
        match message {
            // Its node may see already that this one is to be the home; passed on, it would come to one that is dead.
            message if self.is_interest_of_others(&message) => {
                let _ = self.away.expect(self.now_ms, partition, message);
            }
            Message::Request(request) if request.from.ticket != 0 => {
                self.outgoing.push(request.from.place, Message::MovedAway(request.from));
            }
            Message::Request(request) => {
                let shard = request.from.place.shard;
                self.send_here(shard, Message::Moved(request));
            }
            other => self.send(home, other),
        }
    }

    /// Whether it is another node's shard that wants a room's events.
    fn is_interest_of_others(&self, message: &Message) -> bool {
        matches!(message, Message::Interest { place, .. } if place.node != self.node.route.me)
    }

    /// This node is a partition's home from now on: what waited for that is done.
    pub(super) fn take(&mut self, taken: Taken) {
        let Taken { partition, position, undelivered, gone } = taken;
        // Requests that came earlier in this turn are among what waits for it.
        self.hand_out();
        self.home.take(partition, position, gone);
        // Who wants its rooms' events first: what is delivered again is for them as well.
        let (wanted, expected): (Vec<Message>, Vec<Message>) = self
            .away
            .take_expected(partition)
            .into_iter()
            .partition(|it| matches!(it, Message::Interest { .. }));
        wanted.into_iter().for_each(|message| self.message(message));
        self.home.deliver_again(&undelivered);
        expected.into_iter().for_each(|message| self.message(message));
    }

    /// What waited too long, whether for this node or another, is answered: its client is told to come back. A home that answers
    /// after all is not listened to; the retry finds what it decided.
    pub(super) fn tidy_away(&mut self) {
        self.tidy_expected(&[]);
        let unanswered = self.away.take_unanswered(self.now_ms);
        if let Some((partition, _)) = unanswered.first() {
            let requests = unanswered.len();
            let home = self.node.route.home_of(*partition).node;
            tracing::warn!(requests, partition, %home, "homes on other nodes do not answer; clients are told to come back");
        }
        for (_, waiting) in unanswered {
            self.refuse_later(&waiting.request, ErrorCode::UNAVAILABLE);
        }
        self.forget_forwarded();
    }

    /// What waits for partitions that this node did not come to be the home of, or waits too long.
    pub(super) fn tidy_expected(&mut self, rehomed: &[Partition]) {
        for &partition in rehomed {
            if self.node.route.home_of(partition).node != self.node.route.me {
                for message in self.away.take_expected(partition) {
                    // Nodes that want a room's events tell its home themselves, as soon as they see which it is, and
                    // again when it asks.
                    if !self.is_interest_of_others(&message) {
                        self.not_mine(partition, message);
                    }
                }
            }
        }
        let late = self.away.take_late(self.now_ms);
        if let Some((partition, _)) = late.first() {
            tracing::warn!(
                partition,
                requests = late.len(),
                "partitions are taken over too slowly; clients are told to come back"
            );
        }
        for (_, message) in late {
            if let Message::Request(request) = message {
                self.refuse_later(&request, ErrorCode::UNAVAILABLE);
            }
        }
    }

    /// Homes are elsewhere: whoever is new learns which users and which large rooms' sessions are here.
    pub(super) fn rehomed(&mut self, partitions: &[Partition]) {
        self.tidy_expected(partitions);
        let route = self.node.route.clone();
        self.interest_away.retain(|&room, _| route.home_of_room(room).node == route.me);
        let home_of =
            |partition| partitions.binary_search(&partition).is_ok().then(|| route.home_of(partition));
        self.announce_all(|partition| home_of(partition).filter(|home| home.node != route.me));
        self.tell_interests(home_of);
    }

    /// The home of partitions asks who is here.
    pub(super) fn answer_roll_call(&mut self, call: &RollCall) {
        let home_of = |partition| call.place_of(partition);
        self.announce_all(home_of);
        self.tell_interests(home_of);
        let me = self.node.route.me;
        for &partition in &*call.partitions {
            if self.node.route.shard_of(partition) == self.me
                && let Some(home) = call.place_of(partition)
            {
                self.outgoing.push(home, Message::Announced(me, partition, call.number));
            }
        }
    }

    /// This node begins to be the home of partitions: others are asked who is there.
    pub(super) fn call_roll(&mut self, nodes: &[NodeId], call: &RollCall) {
        for &node in nodes {
            self.outgoing.push_node(node, Message::RollCall(call.clone()));
        }
    }

    /// The homes of partitions, as far as `home_of` has any, hear of every user of theirs who is here. One shard does it for
    /// each partition.
    fn announce_all(&mut self, home_of: impl Fn(Partition) -> Option<Place>) {
        let route = &self.node.route;
        let mut users = Vec::new();
        self.node.directory.each_user(|user| {
            let partition = route.partition_of_user(user);
            if route.shard_of(partition) == self.me {
                users.extend(home_of(partition).map(|home| (home, user)));
            }
        });
        let node = route.me;
        for (home, user) in users {
            self.outgoing.push(home, Message::Presence { user, node, here: true });
        }
    }

    /// The homes of large rooms, as far as `home_of` has any, hear that their events are wanted here.
    fn tell_interests(&mut self, home_of: impl Fn(Partition) -> Option<Place>) {
        let rooms: Vec<RoomId> = self.local.large_rooms().collect();
        for room in rooms {
            if let Some(home) = home_of(self.node.route.partition_of_room(room)) {
                self.tell_interest_to(home, room, true);
            }
        }
    }

    /// Says of a user whether they have a session on this node, to their home. One shard does it for each user, so that what
    /// it said last is so.
    pub(super) fn announce(&mut self, user: UserId) {
        let home = self.node.route.home_of_user(user);
        if home.node != self.node.route.me {
            let here = !self.node.directory.shards_of_user(user).is_empty();
            self.outgoing.push(home, Message::Presence { user, node: self.node.route.me, here });
        }
    }

    /// A user who lives here has a session on a node, or none any more.
    pub(super) fn presence(&mut self, user: UserId, node: NodeId, here: bool) {
        if here {
            self.node.presence.arrive(user, node);
        } else {
            self.node.presence.leave(user, node);
        }
    }

    /// The announcement of a new session's user: their home has to know before the session is welcome, or it would miss what
    /// happens in between.
    pub(super) fn begin_session(&mut self, key: Key, user: UserId) {
        let (asker, route) = (self.asker.clone(), self.node.route.clone());
        let announcer = route.here(route.shard_of(route.partition_of_user(user)));
        self.start(async move {
            match asker.ask(announcer, Question::Announce { user }).await {
                Answer::Known => Done::Begun(key),
                answer => {
                    tracing::warn!(%user, "a user's home could not be told of a session: {}", answer.failure());
                    Done::NotBegun(key)
                }
            }
        });
    }

    /// A room is large or not, and stands somewhere: for a shard that begins to want its events.
    pub(super) fn answer_interest(&mut self, room: RoomId, place: Place) {
        if let Some(seq) = self.home.durable_seq(room) {
            return self.send(place, Message::Interesting(Head { room, seq }));
        }
        // On one node a room that is not in memory has had no event since the shard asked where it stands.
        if !self.node.route.is_in_cluster() {
            return;
        }
        let store = std::sync::Arc::clone(&self.node.store);
        self.start(async move {
            let row = store.room(room).await;
            let seq = row.ok().flatten().map_or(0, |row| row.head_seq);
            Done::Interesting(place, Head { room, seq })
        });
    }
}
