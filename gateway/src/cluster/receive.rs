//! What comes from other nodes, on its way into the mailboxes of this one's shards.

use std::sync::{Arc, OnceLock};

use tokio::sync::mpsc::UnboundedSender;

use super::homes::Event;
use super::view::NodeId;
use super::{Target, mesh, wire};
use crate::directory::ShardSet;
use crate::mailbox::Mailbox;
use crate::shard::Node;
use crate::shard::forward::users_of;
use crate::shard::message::Message;

/// Hands on what other nodes' shards say. What a full mailbox does not take waits here, and so does the peer.
pub struct Receiver {
    /// Known once the node has begun; until then nothing is taken.
    node: Arc<OnceLock<Arc<Node>>>,
    mailboxes: Arc<[Mailbox<Message>]>,
    waiting: Vec<Vec<Message>>,
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
        Self { node, mailboxes, waiting, events }
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
        self.flush();
        true
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

    fn sort(&mut self, node: &Node, target: Target, message: Message) {
        match message {
            Message::Announced(node, partition) => self.tell(Event::Announced(node, partition)),
            Message::Released(node, partition) => self.tell(Event::Released(node, partition)),
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
        self.tell(Event::Opened(peer));
    }

    fn lost(&mut self, peer: NodeId) {
        self.tell(Event::Lost(peer));
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
