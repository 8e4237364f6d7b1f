//! What comes from other nodes, on its way into the mailboxes of this one's shards.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use carillon_storage::Partition;
use tokio::sync::mpsc::UnboundedSender;

use super::homes::Event;
use super::mesh::Receiver as _;
use super::view::NodeId;
use super::{Target, mesh, wire};
use crate::directory::ShardSet;
use crate::mailbox::Mailbox;
use crate::shard::Node;
use crate::shard::forward::users_of;
use crate::shard::message::Message;

/// Nodes remembered to which the link was lost, most of which never come back. Past it they are forgotten: one that comes back
/// then, under the id it had, counts as new, and sessions learn by pings what they missed of it.
const LOST_MAX: usize = 65_536;

/// Hands on what other nodes' shards say. What a full mailbox does not take waits here, and so does the peer.
pub struct Receiver {
    /// Known once the node has begun; until then nothing is taken.
    node: Arc<OnceLock<Arc<Node>>>,
    mailboxes: Arc<[Mailbox<Message>]>,
    waiting: Vec<Vec<Message>>,
    /// Nodes to which the link was lost.
    lost: HashSet<NodeId>,
    events: UnboundedSender<Event>,
}

impl Receiver {
    /// For the shards of these mailboxes.
    pub fn new(
        node: Arc<OnceLock<Arc<Node>>>,
        mailboxes: Arc<[Mailbox<Message>]>,
        events: UnboundedSender<Event>,
    ) -> Self {
        let waiting = mailboxes.iter().map(|_| Vec::new()).collect();
        Self { node, mailboxes, waiting, lost: HashSet::new(), events }
    }

    /// Takes a batch, unless what came before still waits.
    fn take(&mut self, from: NodeId, batch: &[u8]) -> bool {
        let Some(node) = self.node.get().map(Arc::clone) else { return false };
        if !self.flush() {
            return false;
        }
        for message in wire::messages(batch) {
            match message {
                Ok((target, message)) => self.sort(&node, target, message),
                Err(error) => tracing::error!(%from, %error, "a message of another node cannot be read"),
            }
        }
        true
    }

    fn sort(&mut self, node: &Node, target: Target, message: Message) {
        match message {
            Message::Announced(node, partition, number) => {
                self.tell(Event::Announced(node, partition, number));
            }
            Message::Released(node, partition) => self.tell(Event::Released(node, partition)),
            Message::RollCall(_) => self.push_everywhere(&message),
            message => match target {
                Target::Shard(shard) => self.push(shard, message),
                Target::Shards(shards) => self.push_all(shards, message),
                Target::Users => match &message {
                    Message::Forward { message: inner, .. } => {
                        self.push(forwarder(node, inner), message);
                    }
                    _ => self.push_all(node.directory.shards_of(&users_of(&message)), message),
                },
            },
        }
    }

    fn push_all(&mut self, shards: ShardSet, message: Message) {
        let mut shards = shards.iter();
        let Some(first) = shards.next() else { return };
        shards.for_each(|shard| self.push(shard, message.clone()));
        self.push(first, message);
    }

    fn push_everywhere(&mut self, message: &Message) {
        self.waiting.iter_mut().for_each(|waiting| waiting.push(message.clone()));
    }

    /// A shard that is not there is one of an earlier life of the node.
    fn push(&mut self, shard: u16, message: Message) {
        if let Some(waiting) = self.waiting.get_mut(usize::from(shard)) {
            waiting.push(message);
        }
    }

    fn tell(&self, event: Event) {
        // Who listens may have stopped.
        let _ = self.events.send(event);
    }
}

impl mesh::Receiver for Receiver {
    fn batch(&mut self, from: NodeId, batch: &[u8]) -> bool {
        self.take(from, batch)
    }

    fn opened(&mut self, peer: NodeId) {
        if !self.lost.remove(&peer) {
            return;
        }
        tracing::warn!(node = %peer, "the link to a node was lost and is there again; sessions here start anew");
        self.push_everywhere(&Message::PeerLost { node: peer, is_alive: true });
        // It has forgotten what this node has said of its sessions.
        if let Some(route) = self.node.get().map(|node| &node.route) {
            let is_theirs = |&partition: &Partition| route.home_of(partition).node == peer;
            let theirs = (0..route.partitions).filter(is_theirs).collect();
            self.push_everywhere(&Message::Rehomed(theirs));
        }
        self.tell(Event::Back(peer));
    }

    fn lost(&mut self, peer: NodeId) {
        if self.lost.len() >= LOST_MAX {
            self.lost.clear();
        }
        self.lost.insert(peer);
        self.push_everywhere(&Message::PeerLost { node: peer, is_alive: false });
    }

    fn flush(&mut self) -> bool {
        let mut is_empty = true;
        for (waiting, mailbox) in self.waiting.iter_mut().zip(self.mailboxes.iter()) {
            if !waiting.is_empty()
                && let Err(batch) = mailbox.send(std::mem::take(waiting))
            {
                *waiting = batch;
                is_empty = false;
            }
        }
        is_empty
    }
}

/// Which shard forwards a message: always the same for a room, so that its events stay in order.
fn forwarder(node: &Node, message: &Message) -> u16 {
    let route = &node.route;
    match message {
        Message::Deliver(delivery) => route.shard_of(route.partition_of_room(delivery.room)),
        Message::Subscribe { room, .. } | Message::Unsubscribe { room, .. } => {
            route.shard_of(route.partition_of_room(*room))
        }
        other => users_of(other).first().map_or(0, |&user| route.shard_of(route.partition_of_user(user))),
    }
}
