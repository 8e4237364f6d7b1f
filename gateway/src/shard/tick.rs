//! The shard's pulse: pings, time-outs and tidying, without a timer per connection.
//!
//! A ping interval is divided into ticks of about a second, and at each tick the connections in every n-th row of the
//! table have their turn: so each is visited once an interval, and an idle node wakes up once a second.

use carillon_protocol::frame::Head;
use carillon_protocol::{CloseCode, ErrorCode, Frame, RoomId};

use super::Shard;
use crate::connections::Key;
use crate::memory;
use crate::session::HEADS_MAX;

/// A tick's length, about.
const TICK_MS: u64 = 1_000;

/// How long a tick is, so that a whole number of them makes a ping interval.
pub(super) fn every_ms(ping_interval_ms: u64) -> u64 {
    ping_interval_ms / rounds(ping_interval_ms)
}

/// How many ticks make a ping interval.
fn rounds(ping_interval_ms: u64) -> u64 {
    (ping_interval_ms / TICK_MS).max(1)
}

impl Shard {
    /// One beat.
    pub(super) fn tick(&mut self) {
        self.ticks.count = self.ticks.count.wrapping_add(1);
        self.doors.iter_mut().for_each(|door| door.is_accepting = true);
        self.let_strangers_go();
        let rounds = rounds(self.node.config.ping_interval_ms) as usize;
        let turn = self.ticks.count as usize % rounds;
        for key in self.connections.every(rounds, turn) {
            self.waiting_bytes +=
                self.connections.get(key).map_or(0, |connection| connection.outbox.bytes() as u64);
            self.visit(key);
        }
        if turn + 1 == rounds {
            let waiting_bytes = std::mem::take(&mut self.waiting_bytes);
            self.stats().outbox_bytes.set(waiting_bytes);
        }
        let has_session = |key| self.connections.get(key).is_some_and(|it| it.session.is_some());
        self.arrivals.extend(self.late_arrivals.drain(..).filter(|(key, _)| has_session(*key)));
        self.home.tidy(self.now_ms);
        self.tidy_expected(&[]);
        self.tidy();
        self.tidy_away();
        self.count();
    }

    /// Connections whose time to say hello (or to take their last bytes) is over.
    fn let_strangers_go(&mut self) {
        while let Some(&(deadline, key)) = self.strangers.front() {
            if deadline > self.ticks.count {
                return;
            }
            self.strangers.pop_front();
            match self.connections.get(key) {
                Some(connection) if connection.state.closing => self.remove(key),
                Some(connection) if connection.session.is_none() => {
                    self.close(key, CloseCode::HELLO_TIMEOUT, CloseCode::HELLO_TIMEOUT.sentence());
                }
                _ => {}
            }
        }
    }

    /// A connection's turn: gone silent, run out of time, or pinged.
    fn visit(&mut self, key: Key) {
        let Some(connection) = self.connections.get(key) else { return };
        let Some(session) = connection.session.as_ref() else { return };
        let silent_ms = u64::from(self.ticks.count - connection.heard) * self.ticks.every_ms;
        if silent_ms > self.node.config.idle_timeout_ms {
            // Who has much waiting and says nothing is not idle but does not read.
            let is_slow = connection.state.paused || connection.state.blocked;
            let code = if is_slow { CloseCode::SLOW } else { CloseCode::IDLE };
            return self.close(key, code, code.sentence());
        }
        if session.expires_s.saturating_add(self.node.config.token_leeway_s) < self.now_ms / 1000 {
            let sentence = CloseCode::TOKEN_EXPIRED.sentence();
            return self.refuse_and_close(key, ErrorCode::TOKEN_EXPIRED, CloseCode::TOKEN_EXPIRED, sentence);
        }
        if !connection.state.blocked {
            self.ping(key);
        }
    }

    fn ping(&mut self, key: Key) {
        let Some(session) = self.connections.get_mut(key).and_then(|connection| connection.session.as_mut())
        else {
            return;
        };
        let mut heads = session.take_moved();
        let last_ping = self.ticks.count.saturating_sub(rounds(self.node.config.ping_interval_ms) as u32);
        let moved = |&room: &RoomId| Some(Head { room, seq: self.local.moved_since(room, last_ping)? });
        heads.extend(session.subscribed.iter().filter_map(moved).take(HEADS_MAX));
        self.send_frame(key, &Frame::Ping { stamp: self.now_ms, heads });
    }

    /// Gives back what a busier time needed.
    fn tidy(&mut self) {
        if self.ebb.tick(self.connections.len()) {
            self.connections.shrink();
            memory::give_back();
        }
        if self.dirty.capacity() > 4 * self.connections.len().max(64) {
            self.dirty.shrink_to_fit();
        }
        if self.arrivals.capacity() > 4 * self.arrivals.len().max(64) {
            self.arrivals.shrink_to_fit();
        }
        if self.strangers.capacity() > 4 * self.strangers.len().max(64) {
            self.strangers.shrink_to_fit();
        }
    }

    fn count(&self) {
        let stats = self.stats();
        stats.connections.set(self.connections.len() as u64);
        stats.subscriptions.set(self.local.subscriptions() as u64);
        stats.rooms_active.set(self.home.rooms_active() as u64);
    }
}
