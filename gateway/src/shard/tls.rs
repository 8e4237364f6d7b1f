//! Connections over TLS: what a shard does for them beside reading and writing.

use std::io;
use std::sync::Arc;

use rustls::{HandshakeKind, ServerConfig};
use tracing::debug;

use super::Shard;
use crate::connections::Key;
use crate::outbox::Outbox;

/// Steps of handshakes taken in one turn. The costly one takes as long as serving hundreds of sessions, so when very many
/// come at once they wait for each other, and those who are in are served between.
const HANDSHAKES_MAX: usize = 16;

impl Shard {
    /// Whether it is a handshake's turn in the next turn only.
    pub(super) fn must_wait_to_shake(&mut self, key: Key) -> bool {
        let Some(tls) = self.connections.get(key).and_then(|connection| connection.tls.as_ref()) else {
            return false;
        };
        let is_handshaking = tls.is_handshaking();
        self.handshakes += usize::from(is_handshaking);
        is_handshaking && self.handshakes > HANDSHAKES_MAX
    }

    /// A session has read: it may have something to say of its own, and its handshake may be done.
    pub(super) fn tls_moved(&mut self, key: Key) {
        let Some(tls) = self.connections.get_mut(key).and_then(|connection| connection.tls.as_mut()) else {
            return;
        };
        let (news, wants_write) = (tls.news(), tls.wants_write());
        if let Some(kind) = news {
            self.stats().tls_handshakes.add(1);
            self.stats().tls_resumed.add(u64::from(kind == HandshakeKind::Resumed));
        }
        if wants_write {
            self.soil(key);
        }
    }

    /// What came is no TLS, or not of this session: an alert says so, and nothing that waits can be said any more.
    pub(super) fn tls_failed(&mut self, key: Key, error: &io::Error) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        debug!(%error, peer = %connection.peer, "a TLS session failed");
        connection.outbox = Outbox::default();
        self.stats().tls_failed.add(1);
        self.close_when_written(key);
    }

    /// New connections are shown another certificate; those that are in stay.
    pub(super) fn show_certificate(&mut self, config: &Arc<ServerConfig>) {
        for tls in self.doors.iter_mut().filter_map(|door| door.tls.as_mut()) {
            *tls = Arc::clone(config);
        }
    }
}
