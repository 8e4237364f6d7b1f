//! What is owed once it is durable, and what goes out at once: to this shard's own connections by a call, to the
//! others' by one message.

use std::sync::Arc;

use carillon_protocol::frame::Head;
use carillon_protocol::{RoomId, UserId};

use super::Shard;
use super::message::{Membership, Message, Origin, Reply, Request};
use crate::cluster::view::NodeId;
use crate::connections::Key;
use crate::deliver::join_bursts;
use crate::delivery::{Audience, Delivery};
use crate::directory::ShardSet;
use crate::home::ledger::After;
use crate::route::Place;

impl Shard {
    /// A request for a room that lives here.
    pub(super) fn home_request(&mut self, request: Request<'_>) {
        self.home.request(self.now_ms, request);
    }

    /// What the home says at once.
    pub(super) fn hand_out(&mut self) {
        for (to, reply) in std::mem::take(&mut self.home.out.replies) {
            self.reply(to, reply);
        }
        for delivery in std::mem::take(&mut self.home.out.told) {
            self.deliver(delivery);
        }
        for (partition, request) in std::mem::take(&mut self.home.out.moved) {
            self.not_mine(partition, Message::Request(request));
        }
        for origin in std::mem::take(&mut self.home.out.moved_away) {
            self.send(origin.place, Message::MovedAway(origin));
        }
    }

    /// Pays what is owed, in order.
    pub(super) fn pay(&mut self, owed: Vec<After>) {
        let mut deliveries = Vec::new();
        let mut answers = Vec::new();
        for after in owed {
            match after {
                After::Event { delivery, .. } | After::Deliver(delivery) => deliveries.push(delivery),
                After::Ack(ack) => answers.push((ack.to, ack.reply())),
                After::Answer { to, reply, .. } => answers.push((to, reply)),
                // The home has made of it what is owed.
                After::Read(_) => {}
                // A user's home hears of their rooms before anyone is told that it is done.
                After::Membership(membership) => {
                    self.send(self.node.route.home_of_user(membership.user), Message::Membership(membership));
                }
                After::Subscribe(room, users) => self.subscribe_everywhere(room, users),
                After::Unsubscribe(room, user) => {
                    self.deliver_all(std::mem::take(&mut deliveries));
                    self.unsubscribe_everywhere(room, user);
                }
            }
        }
        self.deliver_all(deliveries);
        for (to, reply) in answers {
            self.reply(to, reply);
        }
    }

    /// An answer to whoever asked.
    pub(super) fn reply(&mut self, to: Origin, reply: Reply) {
        if to.place == self.place() {
            self.reply_here(to, reply);
        } else {
            self.outgoing.push(to.place, Message::Reply(to, reply));
        }
    }

    /// A message to a shard: a call, if it is this one.
    pub(super) fn send(&mut self, place: Place, message: Message) {
        if place == self.place() { self.message(message) } else { self.outgoing.push(place, message) }
    }

    /// The same to a shard of this node.
    pub(super) fn send_here(&mut self, shard: u16, message: Message) {
        self.send(self.node.route.here(shard), message);
    }

    /// This shard.
    pub(super) fn place(&self) -> Place {
        self.node.route.here(self.me)
    }

    fn deliver_all(&mut self, deliveries: Vec<Delivery>) {
        for delivery in join_bursts(deliveries) {
            self.deliver(delivery);
        }
    }

    /// To every shard that has sessions for it.
    fn deliver(&mut self, delivery: Delivery) {
        let shards = match &delivery.audience {
            Audience::Users(users) => {
                let users = Arc::clone(users);
                self.tell_elsewhere(&users, |users| {
                    Message::Deliver(Delivery { audience: Audience::Users(users), ..delivery.clone() })
                });
                self.node.directory.shards_of(&users)
            }
            Audience::Subscribers => {
                for &(node, shards) in self.interest_away.get(&delivery.room).into_iter().flatten() {
                    self.outgoing.push_shards(node, shards, Message::Deliver(delivery.clone()));
                }
                self.interest.get(&delivery.room).copied().unwrap_or_default()
            }
        };
        for shard in shards.iter().filter(|&shard| shard != self.me) {
            self.outgoing.push_here(shard, Message::Deliver(delivery.clone()));
        }
        if shards.has(self.me) {
            self.deliver_here(delivery);
        }
    }

    /// The sessions of these users, on every shard that has some, get a large room's events from now on.
    fn subscribe_everywhere(&mut self, room: RoomId, users: Arc<[UserId]>) {
        let shards = self.node.directory.shards_of(&users);
        let interest = self.interest.entry(room).or_default();
        *interest = interest.union(shards);
        for shard in shards.iter() {
            self.send_here(shard, Message::Subscribe { room, users: Arc::clone(&users), head_seq: None });
        }
        // Shards elsewhere say themselves that they want its events; what happens until then their sessions ask for.
        let head_seq = Some(self.home.durable_seq(room).unwrap_or(0));
        self.tell_elsewhere(&users, |users| Message::Subscribe { room, users, head_seq });
    }

    /// A user who lives here has one room more or less. A session that arrived while they were being made a member may have
    /// been seen neither by the room's home nor have found the room in the list here: now it is found, because it came to
    /// the directory before it asked.
    pub(super) fn membership(&mut self, membership: Membership) {
        let Membership { user, room, large_seq: head_seq, .. } = membership;
        let partition = self.node.route.partition_of_user(user);
        if !self.home.has(partition) {
            return self.not_mine(partition, Message::Membership(membership));
        }
        self.home.users.change(membership);
        if head_seq.is_some() {
            let message = |users| Message::Subscribe { room, users, head_seq };
            for shard in self.node.directory.shards_of_user(user).iter() {
                self.send_here(shard, message([user].into()));
            }
            self.tell_elsewhere(&[user], message);
        }
    }

    fn unsubscribe_everywhere(&mut self, room: RoomId, user: UserId) {
        for shard in self.node.directory.shards_of_user(user).iter() {
            self.send_here(shard, Message::Unsubscribe { room, user });
        }
        self.tell_elsewhere(&[user], |_| Message::Unsubscribe { room, user });
    }

    /// Sessions here of these users get a large room's events from now on. Where none is left, its home need not send any.
    /// Those that are new are told of `head_seq`, so that they ask for what they missed.
    pub(super) fn subscribe_users(&mut self, room: RoomId, users: &[UserId], head_seq: Option<u64>) {
        for &user in users {
            for key in self.local.of_user(user).to_vec() {
                if self.subscribe(room, key)
                    && let Some(seq) = head_seq
                {
                    // Others here may have had more already.
                    let seq = seq.max(self.local.head_seq(room));
                    self.tell_heads(key, vec![Head { room, seq }]);
                }
            }
        }
        if !self.local.has_subscribers(room) {
            self.tell_interest(room, false);
        }
    }

    /// A session here gets a large room's events from now on. Says whether it did not before.
    pub(super) fn subscribe(&mut self, room: RoomId, key: Key) -> bool {
        let session = self.connections.get_mut(key).and_then(|connection| connection.session.as_mut());
        let Some(session) = session.filter(|session| !session.subscribed.contains(&room)) else {
            return false;
        };
        session.is_in(room, true);
        session.subscribed.push(room);
        if self.local.subscribe(room, key) {
            self.tell_interest(room, true);
        }
        true
    }

    /// This shard gets a room's events from where it stood at `head`. Where fewer were handed on here, some happened while its
    /// home took this shard for one without subscribers: the sessions are told, and ask.
    pub(super) fn catch_up_subscribers(&mut self, head: Head) {
        for key in self.local.behind(head) {
            self.tell_heads(key, vec![head]);
        }
    }

    /// Sessions here of this user get no more of a large room's events.
    pub(super) fn unsubscribe_user(&mut self, room: RoomId, user: UserId) {
        for key in self.local.of_user(user).to_vec() {
            if let Some(session) =
                self.connections.get_mut(key).and_then(|connection| connection.session.as_mut())
            {
                session.is_in(room, false);
                session.subscribed.retain(|&other| other != room);
            }
            self.unsubscribe(room, key);
        }
    }

    /// A session gets no more of a large room's events; where it was the last here, its home hears of it.
    pub(super) fn unsubscribe(&mut self, room: RoomId, key: Key) {
        if self.local.unsubscribe(room, key) {
            self.tell_interest(room, false);
        }
    }

    pub(super) fn tell_interest(&mut self, room: RoomId, wanted: bool) {
        self.tell_interest_to(self.node.route.home_of_room(room), room, wanted);
    }

    pub(super) fn tell_interest_to(&mut self, home: Place, room: RoomId, wanted: bool) {
        let place = self.place();
        self.send(home, Message::Interest { room, place, wanted });
    }

    /// A shard wants the events of a room that lives here, or does not any more.
    pub(super) fn interested(&mut self, room: RoomId, place: Place, wanted: bool) {
        let partition = self.node.route.partition_of_room(room);
        if !self.home.has(partition) {
            return self.not_mine(partition, Message::Interest { room, place, wanted });
        }
        self.note_interest(room, place, wanted);
        if wanted {
            self.answer_interest(room, place);
        }
    }

    /// The same without an answer.
    pub(super) fn note_interest(&mut self, room: RoomId, place: Place, wanted: bool) {
        let change = |shards: ShardSet| match wanted {
            true => shards.with(place.shard),
            false => shards.without(place.shard),
        };
        if place.node != self.node.route.me {
            return self.note_interest_away(room, place.node, change);
        }
        let shards = change(self.interest.get(&room).copied().unwrap_or(ShardSet::NONE));
        if shards.is_empty() {
            self.interest.remove(&room);
        } else {
            self.interest.insert(room, shards);
        }
    }

    fn note_interest_away(&mut self, room: RoomId, node: NodeId, change: impl Fn(ShardSet) -> ShardSet) {
        let places = self.interest_away.entry(room).or_default();
        match places.iter_mut().find(|(other, _)| *other == node) {
            Some((_, shards)) => *shards = change(*shards),
            None => places.push((node, change(ShardSet::NONE))),
        }
        places.retain(|(_, shards)| !shards.is_empty());
        if places.is_empty() {
            self.interest_away.remove(&room);
        }
    }
}
