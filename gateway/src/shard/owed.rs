//! What is owed once it is durable, and what goes out at once: to this shard's own connections by a call, to the
//! others' by one message.

use std::sync::Arc;

use carillon_protocol::frame::Head;
use carillon_protocol::{RoomId, UserId};

use super::Shard;
use super::message::{Membership, Message, Origin, Reply, Request};
use crate::connections::Key;
use crate::deliver::join_bursts;
use crate::delivery::{Audience, Delivery};
use crate::directory::ShardSet;
use crate::home::ledger::After;

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
        if to.shard == self.me {
            self.reply_here(to, reply);
        } else {
            self.outgoing.push(to.shard, Message::Reply(to, reply));
        }
    }

    /// A message to a shard: a call, if it is this one.
    pub(super) fn send(&mut self, shard: u16, message: Message) {
        if shard == self.me { self.message(message) } else { self.outgoing.push(shard, message) }
    }

    fn deliver_all(&mut self, deliveries: Vec<Delivery>) {
        for delivery in join_bursts(deliveries) {
            self.deliver(delivery);
        }
    }

    /// To every shard that has sessions for it.
    fn deliver(&mut self, delivery: Delivery) {
        let shards = match &delivery.audience {
            Audience::Users(users) => self.node.directory.shards_of(users),
            Audience::Subscribers => self.interest.get(&delivery.room).copied().unwrap_or_default(),
        };
        for shard in shards.iter().filter(|&shard| shard != self.me) {
            self.outgoing.push(shard, Message::Deliver(delivery.clone()));
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
            self.send(shard, Message::Subscribe { room, users: Arc::clone(&users), head_seq: None });
        }
    }

    /// A user who lives here has one room more or less. A session that arrived while they were being made a member may have
    /// been seen neither by the room's home nor have found the room in the list here: now it is found, because it came to
    /// the directory before it asked.
    pub(super) fn membership(&mut self, membership: Membership) {
        let Membership { user, room, large_seq: head_seq, .. } = membership;
        self.home.users.change(membership);
        if head_seq.is_some() {
            for shard in self.node.directory.shards_of_user(user).iter() {
                self.send(shard, Message::Subscribe { room, users: [user].into(), head_seq });
            }
        }
    }

    fn unsubscribe_everywhere(&mut self, room: RoomId, user: UserId) {
        for shard in self.node.directory.shards_of_user(user).iter() {
            self.send(shard, Message::Unsubscribe { room, user });
        }
    }

    /// Sessions here of these users get a large room's events from now on. Where none is left, its home need not send any.
    /// Those that are new are told of `head_seq`, so that they ask for what they missed.
    pub(super) fn subscribe_users(&mut self, room: RoomId, users: &[UserId], head_seq: Option<u64>) {
        for &user in users {
            for key in self.local.of_user(user).to_vec() {
                if self.subscribe(room, key)
                    && let Some(seq) = head_seq
                {
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

    fn tell_interest(&mut self, room: RoomId, wanted: bool) {
        let shard = self.me;
        self.send(self.node.route.home_of_room(room), Message::Interest { room, shard, wanted });
    }

    /// A shard wants the events of a room that lives here, or does not any more.
    pub(super) fn interested(&mut self, room: RoomId, shard: u16, wanted: bool) {
        let shards = self.interest.get(&room).copied().unwrap_or(ShardSet::NONE);
        let shards = if wanted { shards.with(shard) } else { shards.without(shard) };
        if shards.is_empty() {
            self.interest.remove(&room);
        } else {
            self.interest.insert(room, shards);
        }
        if wanted && let Some(seq) = self.home.durable_seq(room) {
            self.send(shard, Message::Interesting(Head { room, seq }));
        }
    }
}
