//! Leaving: every session is told to go, nothing new is taken on, what is under way is finished.

use std::time::{Duration, Instant};

use carillon_protocol::{CloseCode, Frame};

use super::Shard;

/// What clients of a node that leaves are told to wait, and at most how much longer, at random.
const RECONNECT_AFTER_MS: u64 = 500;
const JITTER_MS: u64 = 5_000;
/// Nothing is under way any more when nothing has been for so long: answers cross between shards meanwhile.
const QUIET: Duration = Duration::from_millis(100);

/// How far a shard is in leaving.
#[derive(Default)]
pub(super) struct Drain {
    begun: Option<Instant>,
    quiet_since: Option<Instant>,
    closed: bool,
    done: bool,
}

impl Drain {
    /// Whether the node is leaving.
    pub(super) fn has_begun(&self) -> bool {
        self.begun.is_some()
    }

    /// Whether nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        self.done
    }
}

impl Shard {
    /// Stops accepting, and tells every session to go.
    pub(super) fn start_drain(&mut self) {
        if self.drain.has_begun() {
            return;
        }
        self.drain.begun = Some(Instant::now());
        self.doors.clear();
        self.ticks.hurry();
        let go_away = Frame::GoAway { reconnect_after_ms: RECONNECT_AFTER_MS, jitter_ms: JITTER_MS };
        for key in self.connections.keys() {
            let has_session =
                self.connections.get(key).is_some_and(|connection| connection.session.is_some());
            if has_session {
                self.send_frame(key, &go_away);
            }
        }
    }

    /// A step of leaving, once a turn: first what is under way ends, then the connections are closed, then written out.
    pub(super) fn drain_on(&mut self) {
        let Some(begun) = self.drain.begun else { return };
        let is_late = begun.elapsed() >= Duration::from_millis(self.node.config.drain_timeout_ms);
        let is_quiet = self.home.is_quiet()
            && self.tasks.is_empty()
            && self.mailbox.is_empty()
            && self.outgoing.is_empty()
            && self.away.is_quiet()
            && self.held.is_empty();
        if !is_quiet {
            self.drain.quiet_since = None;
        } else if self.drain.quiet_since.is_none() {
            self.drain.quiet_since = Some(Instant::now());
        }
        let was_quiet = self.drain.quiet_since.is_some_and(|since| since.elapsed() >= QUIET);
        if (was_quiet || is_late) && !self.drain.closed {
            self.drain.closed = true;
            for key in self.connections.keys() {
                self.close(key, CloseCode::GO_AWAY, CloseCode::GO_AWAY.sentence());
            }
            self.write_dirty();
        }
        self.drain.done = self.drain.closed && (self.connections.is_empty() || is_late);
    }
}
