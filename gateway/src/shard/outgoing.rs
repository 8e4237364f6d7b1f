//! What this shard has for others, of this node and of other nodes, gathered over a turn and handed over at its end.
//!
//! A full mailbox keeps its batch here for the next turn, and so does a mesh that has much on its way. Past [`WAITING_MAX`]
//! messages, or [`AWAY_BYTES_MAX`], the shard stops reading its sockets (never its own mailbox, so two shards cannot wait for
//! each other) until the other has caught up.

use std::sync::Arc;

use hashbrown::HashMap;

use super::message::Message;
use crate::cluster::view::NodeId;
use crate::cluster::{Peers, Target, wire};
use crate::directory::ShardSet;
use crate::mailbox::Mailbox;
use crate::route::Place;

/// Messages that may wait for one shard before sockets are left unread.
const WAITING_MAX: usize = 65_536;
/// Bytes that may wait for one node.
const AWAY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Messages for the other shards.
pub(super) struct Outgoing {
    me: Place,
    mailboxes: Arc<[Mailbox<Message>]>,
    waiting: Vec<Vec<Message>>,
    peers: Option<Arc<dyn Peers>>,
    /// For each other node, encoded.
    away: HashMap<NodeId, Vec<u8>, foldhash::fast::RandomState>,
}

impl Outgoing {
    /// For the shard `me`; `mailboxes` has every shard's of the node, its own too. `peers` are the other nodes, if there may be any.
    pub(super) fn new(me: Place, mailboxes: Arc<[Mailbox<Message>]>, peers: Option<Arc<dyn Peers>>) -> Self {
        let waiting = mailboxes.iter().map(|_| Vec::new()).collect();
        Self { me, mailboxes, waiting, peers, away: HashMap::default() }
    }

    /// A message for another shard. Never for oneself: that is a call.
    pub(super) fn push(&mut self, place: Place, message: Message) {
        if place.node == self.me.node {
            self.push_here(place.shard, message);
        } else {
            self.push_away(place.node, Target::Shard(place.shard), message);
        }
    }

    /// The same for a shard of this node.
    pub(super) fn push_here(&mut self, shard: u16, message: Message) {
        debug_assert_ne!(shard, self.me.shard, "a message to oneself is a call");
        if let Some(waiting) = self.waiting.get_mut(usize::from(shard)) {
            waiting.push(message);
        }
    }

    /// For whichever shards of another node it concerns: those with sessions of the users it names, or the one that forwards.
    pub(super) fn push_node(&mut self, node: NodeId, message: Message) {
        self.push_away(node, Target::Users, message);
    }

    /// For some shards of another node.
    pub(super) fn push_shards(&mut self, node: NodeId, shards: ShardSet, message: Message) {
        self.push_away(node, Target::Shards(shards), message);
    }

    fn push_away(&mut self, node: NodeId, target: Target, message: Message) {
        if self.peers.is_some() {
            wire::append(self.away.entry(node).or_default(), target, &message);
        }
    }

    /// What waits for a node that is gone, or whose link is, goes nowhere.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.away.remove(&node);
    }

    /// Hands over what it can. Says whether nothing is left.
    pub(super) fn flush(&mut self) -> bool {
        let mut is_empty = true;
        for (waiting, mailbox) in self.waiting.iter_mut().zip(self.mailboxes.iter()) {
            if waiting.is_empty() {
                continue;
            }
            if let Err(batch) = mailbox.send(std::mem::take(waiting)) {
                *waiting = batch;
                is_empty = false;
            }
        }
        is_empty
    }

    /// The same for other nodes: what cannot be handed over now has to be tried again a little later.
    pub(super) fn flush_away(&mut self) -> bool {
        let Some(peers) = &self.peers else { return true };
        self.away.retain(|&node, bytes| match peers.send(node, std::mem::take(bytes)) {
            Ok(()) => false,
            Err(back) => {
                *bytes = back;
                true
            }
        });
        self.away.is_empty()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.iter().all(Vec::is_empty) && self.away.is_empty()
    }

    /// Whether so much waits that nothing new should be taken on.
    pub(super) fn is_stuck(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.len() > WAITING_MAX)
            || self.away.values().any(|bytes| bytes.len() > AWAY_BYTES_MAX)
    }
}
