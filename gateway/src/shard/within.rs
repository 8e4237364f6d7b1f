//! Clients within the process: a shard on its real path from the bytes of a client to the bytes for it, without the kernel.
//!
//! For measuring (`bench/`). Whoever drives a shard like this calls for its turns, instead of [`Shard::run`].

use std::io;
use std::net::IpAddr;

use mio::Events;

use super::{READ_BYTES, Shard};
use crate::connections::Key;
use crate::socket::Socket;

impl Shard {
    /// Lets a client within the process in, as if it had been accepted from `peer`. Nothing where the node is full.
    #[doc(hidden)]
    pub fn connect(&mut self, peer: IpAddr) -> Option<Key> {
        if !self.node.admission.admit(peer) {
            return None;
        }
        self.seat(Socket::Within, None, peer, false)
    }

    /// What such a client says, at most 64 KiB at once: goes on where reading it from a socket would have. Says whether
    /// it was listened to; a client that does not take its answers, or whose shard is behind, has to say it again.
    #[doc(hidden)]
    pub fn hear(&mut self, key: Key, said: &[u8]) -> bool {
        if said.len() > READ_BYTES || !self.is_heard(key) {
            return false;
        }
        let Some(connection) = self.connections.get(key) else { return false };
        let mut scratch = std::mem::take(&mut self.scratch);
        let kept = connection.partial.len();
        let bytes = &mut scratch[..kept + said.len()];
        bytes[..kept].copy_from_slice(&connection.partial);
        bytes[kept..].copy_from_slice(said);
        self.took(key, bytes);
        self.scratch = scratch;
        true
    }

    /// One turn, without waiting for something to do.
    #[doc(hidden)]
    pub async fn turn_now(&mut self, events: &mut Events) -> io::Result<()> {
        tokio::task::yield_now().await;
        self.now_ms = super::now_ms();
        let woken = self.ready_now();
        self.turn(woken, events)
    }

    /// Whether nothing is under way: no append, no task, no message.
    #[doc(hidden)]
    pub fn is_quiet(&self) -> bool {
        self.home.is_quiet()
            && self.tasks.is_empty()
            && self.arrivals.is_empty()
            && self.mailbox.is_empty()
            && self.outgoing.is_empty()
    }
}
