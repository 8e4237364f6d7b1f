//! To sessions of users on other nodes: by the users' homes, which know on which nodes each has sessions.
//!
//! The node where it begins serves its own sessions at once, by its own directory; each user's home sees to all other nodes.
//! A home that has just become one knows only when every node has announced its users: until then it holds back what it is
//! to forward, in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use carillon_protocol::UserId;
use hashbrown::HashMap;

use super::Shard;
use super::ask::TRY_AGAIN_AFTER;
use super::message::Message;
use super::tasks::Done;
use crate::cluster::view::NodeId;
use crate::delivery::{Audience, Delivery};
use crate::directory::ShardSet;
use crate::encoded::Class;
use crate::route::Route;

/// How often something may be passed on, each time because the user's home was elsewhere when it came; then it is dropped, which
/// the sessions notice by the next event or ping.
const HOPS_MAX: u8 = 200;
/// After so many, nodes see different views, and it waits a little each time.
const HOPS_AT_ONCE: u8 = 2;
/// How often it is looked at whether a home knows all of its users.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);
/// How long a home waits for announcements. Who has not announced by then is slow or gone, and announces later.
const ANNOUNCED_WITHIN_MS: u64 = 5_000;
/// What may be held back in a shard; past it the oldest goes out to those nodes that are known.
const HELD_MAX: usize = 65_536;

/// How long it is remembered what was forwarded to a home, beyond `node_ttl_ms`: until then it is known whether that node died with it.
const REMEMBERED_MORE_MS: u64 = 3_000;
/// What is remembered so in a shard; past it the oldest is forgotten. If its home dies at that moment, its sessions find the gap by the
/// next event.
const REMEMBERED_MAX: usize = 65_536;

/// Events that were forwarded a short while ago: a home that dies may have passed them on or not, and nobody else has them.
#[derive(Default)]
pub(super) struct Remembered {
    queue: VecDeque<(u64, NodeId, Message)>,
}

impl Remembered {
    /// What is not an event is not repeated: it may not be so any more.
    fn push(&mut self, now_ms: u64, home: NodeId, message: &Message) {
        if let Message::Deliver(Delivery { class: Class::Events { .. }, .. }) = message {
            if self.queue.len() >= REMEMBERED_MAX {
                self.queue.pop_front();
            }
            self.queue.push_back((now_ms, home, message.clone()));
        }
    }
}

/// What is held back until homes know their users.
#[derive(Default)]
pub(super) struct Held {
    queue: VecDeque<(u64, NodeId, Message)>,
}

impl Held {
    /// Whether nothing is.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

impl Shard {
    /// To the sessions of some users on all other nodes. `message` makes it for some of them.
    pub(super) fn tell_elsewhere(&mut self, users: &[UserId], message: impl Fn(Arc<[UserId]>) -> Message) {
        let route = &self.node.route;
        if !route.is_in_cluster() {
            return;
        }
        let me = route.me;
        for (home, users) in by_home(route, users) {
            let message = message(users.into());
            if home == me {
                self.forward(me, message);
            } else {
                self.pass_on(home, me, 0, message);
            }
        }
    }

    /// To the home of the users that it names, another node.
    fn pass_on(&mut self, home: NodeId, from: NodeId, hops: u8, message: Message) {
        self.remembered.push(self.now_ms, home, &message);
        self.outgoing.push_node(home, Message::Forward { from, hops, message: Box::new(message) });
    }

    /// A home is lost: what it may not have passed on goes to the homes of those users once more. Their sessions drop what they have
    /// by its seq.
    pub(super) fn forward_again(&mut self, home: NodeId) {
        let all = std::mem::take(&mut self.remembered.queue);
        let (lost, others) = all.into_iter().partition(|(_, node, _)| *node == home);
        self.remembered.queue = others;
        let lost: VecDeque<(u64, NodeId, Message)> = lost;
        for (_, _, message) in lost {
            self.tell_elsewhere(&users_of(&message), |some| with_users(&message, some));
        }
    }

    /// What was forwarded so long ago is passed on, or its home is known to be lost.
    pub(super) fn forget_forwarded(&mut self) {
        let remembered_ms = self.node.config.node_ttl_ms + REMEMBERED_MORE_MS;
        let is_old = |since_ms: u64| self.now_ms.saturating_sub(since_ms) > remembered_ms;
        let count = self.remembered.queue.iter().take_while(|(since_ms, ..)| is_old(*since_ms)).count();
        self.remembered.queue.drain(..count);
    }

    /// To the homes of these users, all of them other nodes.
    fn pass_on_to_homes(&mut self, users: &[UserId], from: NodeId, hops: u8, message: &Message) {
        for (home, users) in by_home(&self.node.route, users) {
            self.pass_on(home, from, hops, with_users(message, users.into()));
        }
    }

    /// Something for users who live here, or whose home has moved meanwhile.
    /// `has_waited` says whether it has waited here for nodes to agree who that is.
    pub(super) fn forwarded(&mut self, from: NodeId, hops: u8, message: Message, has_waited: bool) {
        let me = self.node.route.me;
        let users = users_of(&message);
        let (mine, others): (Vec<UserId>, Vec<UserId>) =
            users.iter().partition(|&&user| self.node.route.home_of_user(user).node == me);
        if !others.is_empty() && hops >= HOPS_AT_ONCE && !has_waited {
            let message = Box::new(with_users(&message, others.into()));
            self.start(async move {
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
                Done::ForwardAgain(from, hops, message)
            });
        } else if !others.is_empty() && hops < HOPS_MAX {
            self.pass_on_to_homes(&others, from, hops + 1, &message);
        }
        if !mine.is_empty() {
            self.forward(from, with_users(&message, mine.into()));
        }
    }

    /// As the home of these users: to the nodes that have them, but for `from`, which knew of its own.
    fn forward(&mut self, from: NodeId, message: Message) {
        if self.held.is_empty() && self.knows_users_of(&message) {
            return self.forward_now(from, message);
        }
        if self.held.queue.len() >= HELD_MAX
            && let Some((_, from, message)) = self.held.queue.pop_front()
        {
            self.forward_now(from, message);
        }
        if self.held.is_empty() {
            self.look_again_later();
        }
        self.held.queue.push_back((self.now_ms, from, message));
    }

    /// Whether this home knows on which nodes all users of a message are.
    fn knows_users_of(&self, message: &Message) -> bool {
        let knows = |user: &UserId| self.node.presence.is_complete(self.node.route.partition_of_user(*user));
        users_of(message).iter().all(knows)
    }

    fn look_again_later(&mut self) {
        self.start(async {
            tokio::time::sleep(LOOK_AGAIN_AFTER).await;
            Done::LookAtHeld
        });
    }

    /// What was held back goes out as far as its users are known by now.
    pub(super) fn look_at_held(&mut self) {
        while let Some((since_ms, _, message)) = self.held.queue.front() {
            let is_late = self.now_ms.saturating_sub(*since_ms) > ANNOUNCED_WITHIN_MS;
            if !is_late && !self.knows_users_of(message) {
                return self.look_again_later();
            }
            if let Some((_, from, message)) = self.held.queue.pop_front() {
                self.forward_now(from, message);
            }
        }
    }

    fn forward_now(&mut self, from: NodeId, message: Message) {
        let me = self.node.route.me;
        let users = users_of(&message);
        let mut by_node: HashMap<NodeId, Vec<UserId>> = HashMap::new();
        for &user in users.iter() {
            self.node.presence.each_node(user, |node| {
                if node != from && node != me {
                    by_node.entry(node).or_default().push(user);
                }
            });
        }
        for (node, users) in by_node {
            self.outgoing.push_node(node, with_users(&message, users.into()));
        }
        // Where users have another home by now, this one may have forgotten them before it was asked: in that order.
        let is_elsewhere = |user: &UserId| self.node.route.home_of_user(*user).node != me;
        let moved: Vec<UserId> = users.iter().copied().filter(is_elsewhere).collect();
        self.pass_on_to_homes(&moved, from, 1, &message);
        if from != me {
            let shards = self.node.directory.shards_of(&users);
            self.send_to_all(shards, message);
        }
    }

    /// To some of this node's shards.
    pub(super) fn send_to_all(&mut self, shards: ShardSet, message: Message) {
        for shard in shards.without(self.me).iter() {
            self.outgoing.push_here(shard, message.clone());
        }
        if shards.has(self.me) {
            self.message(message);
        }
    }
}

/// The users of each home together.
fn by_home(route: &Route, users: &[UserId]) -> HashMap<NodeId, Vec<UserId>> {
    let mut by_home: HashMap<NodeId, Vec<UserId>> = HashMap::new();
    for &user in users {
        by_home.entry(route.home_of_user(user).node).or_default().push(user);
    }
    by_home
}

/// Whom a message is for, of those kinds that are for users.
pub(crate) fn users_of(message: &Message) -> Arc<[UserId]> {
    match message {
        Message::Deliver(Delivery { audience: Audience::Users(users), .. }) => Arc::clone(users),
        Message::Subscribe { users, .. } => Arc::clone(users),
        Message::Unsubscribe { user, .. } | Message::Replaced { user, .. } => [*user].into(),
        _ => [].into(),
    }
}

/// The same for some of them.
fn with_users(message: &Message, some: Arc<[UserId]>) -> Message {
    match message.clone() {
        Message::Deliver(delivery) => {
            Message::Deliver(Delivery { audience: Audience::Users(some), ..delivery })
        }
        Message::Subscribe { room, head_seq, .. } => Message::Subscribe { room, users: some, head_seq },
        other => other,
    }
}
