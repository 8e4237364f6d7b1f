//! What this shard has for others, gathered over a turn and handed over at its end.
//!
//! A full mailbox keeps its batch here for the next turn. Past [`WAITING_MAX`] messages the shard stops reading its
//! sockets (never its own mailbox, so two shards cannot wait for each other) until the other has caught up.

use std::sync::Arc;

use super::message::Message;
use crate::mailbox::Mailbox;

/// Messages that may wait for one shard before sockets are left unread.
const WAITING_MAX: usize = 65_536;

/// Messages for the other shards.
pub(super) struct Outgoing {
    me: u16,
    mailboxes: Arc<[Mailbox<Message>]>,
    waiting: Vec<Vec<Message>>,
}

impl Outgoing {
    /// For the shard `me`; `mailboxes` has every shard's, its own too.
    pub(super) fn new(me: u16, mailboxes: Arc<[Mailbox<Message>]>) -> Self {
        let waiting = mailboxes.iter().map(|_| Vec::new()).collect();
        Self { me, mailboxes, waiting }
    }

    /// A message for another shard. Never for oneself: that is a call.
    pub(super) fn push(&mut self, shard: u16, message: Message) {
        debug_assert_ne!(shard, self.me, "a message to oneself is a call");
        if let Some(waiting) = self.waiting.get_mut(usize::from(shard)) {
            waiting.push(message);
        }
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

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.iter().all(Vec::is_empty)
    }

    /// Whether so much waits that nothing new should be taken on.
    pub(super) fn is_stuck(&self) -> bool {
        self.waiting.iter().any(|waiting| waiting.len() > WAITING_MAX)
    }
}
