//! One room's order: what arrives in any order, several times or not at all, leaves as seq 1, 2, 3, …
//!
//! Decides only; it is told the time, and says when to ask the gateway for what is missing. Events beyond a gap
//! are held, at most [`HELD_MAX`] of them; what does not fit is forgotten but known of, and asked for later.

use std::collections::BTreeMap;

use carillon_protocol::Event;

/// How long a gap may close by itself before the gateway is asked.
pub(crate) const GAP_WAIT_MS: u64 = 200;
/// How long after an answer that did not help the gateway is asked again.
pub(crate) const FRUITLESS_WAIT_MS: u64 = 1_000;
/// Events of one room that may wait behind a gap, and so the page size of a `sync`. The latest go first.
pub(crate) const HELD_MAX: usize = 256;

/// Where the app stands in a room, and what it cannot get yet.
#[derive(Debug)]
pub(crate) struct RoomOrder {
    delivered_seq: u64,
    head_seq: u64,
    held: BTreeMap<u64, Event<'static>>,
    asking: Asking,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asking {
    No,
    At(u64),
    Asked,
}

impl RoomOrder {
    /// A room of which the app has everything up to `seq`.
    pub(crate) fn after(seq: u64) -> Self {
        Self { delivered_seq: seq, head_seq: seq, held: BTreeMap::new(), asking: Asking::No }
    }

    /// The last event the app was given.
    pub(crate) fn delivered_seq(&self) -> u64 {
        self.delivered_seq
    }

    /// Takes an event in; one that was seen before changes nothing.
    pub(crate) fn arrived(&mut self, event: Event<'static>) {
        self.heard_of(event.seq);
        if event.seq <= self.delivered_seq {
            return;
        }
        self.held.insert(event.seq, event);
        if self.held.len() > HELD_MAX {
            self.held.pop_last();
            // Only the gateway still has it: a moment's wait would bring nothing.
            self.ask_at_once();
        }
    }

    /// The room has an event with this seq.
    pub(crate) fn heard_of(&mut self, seq: u64) {
        self.head_seq = self.head_seq.max(seq);
    }

    /// Starts over after `seq`: the gateway no longer has, or may not give, what is before.
    pub(crate) fn skip_to(&mut self, seq: u64) {
        self.delivered_seq = self.delivered_seq.max(seq);
        self.heard_of(seq);
        self.held = self.held.split_off(&(self.delivered_seq + 1));
    }

    /// The next event in order, if it is here.
    pub(crate) fn release(&mut self) -> Option<Event<'static>> {
        let entry = self.held.first_entry().filter(|entry| *entry.key() == self.delivered_seq + 1)?;
        self.delivered_seq += 1;
        Some(entry.remove())
    }

    /// The seq after which to ask the gateway now, if it is time; the asking is then under way.
    pub(crate) fn ask(&mut self, now_ms: u64) -> Option<u64> {
        if !self.has_gap() {
            if self.asking != Asking::Asked {
                self.asking = Asking::No;
            }
            return None;
        }
        match self.asking {
            Asking::No => self.asking = Asking::At(now_ms + GAP_WAIT_MS),
            Asking::At(at_ms) if now_ms >= at_ms => {
                self.asking = Asking::Asked;
                return Some(self.delivered_seq);
            }
            Asking::At(_) | Asking::Asked => {}
        }
        None
    }

    /// A gap is known for sure: waiting would not close it.
    pub(crate) fn ask_at_once(&mut self) {
        if self.asking != Asking::Asked {
            self.asking = Asking::At(0);
        }
    }

    /// The gateway answered. An answer that brought nothing is not followed by the same question at once.
    pub(crate) fn answered(&mut self, brought_something: bool, now_ms: u64) {
        self.asking = Asking::At(if brought_something { 0 } else { now_ms + FRUITLESS_WAIT_MS });
    }

    /// The connection is gone, and with it the answer.
    pub(crate) fn disconnected(&mut self) {
        self.asking = Asking::At(0);
    }

    /// When [`RoomOrder::ask`] should be called again.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        match self.asking {
            Asking::At(at_ms) if self.has_gap() => Some(at_ms),
            _ => None,
        }
    }

    /// Whether nothing is missing, waiting or asked for.
    pub(crate) fn is_settled(&self) -> bool {
        self.delivered_seq == self.head_seq && self.asking != Asking::Asked
    }

    fn has_gap(&self) -> bool {
        let is_next_here = self.held.first_key_value().is_some_and(|(&seq, _)| seq == self.delivered_seq + 1);
        self.head_seq > self.delivered_seq && !is_next_here
    }
}

#[cfg(test)]
mod tests {
    use carillon_protocol::{EventBody, RoomId, UserId};

    use super::*;

    fn event(seq: u64) -> Event<'static> {
        let sender = UserId::new(1).unwrap();
        Event { room: RoomId::NIL, seq, ordinal: 0, at_ms: 0, sender, body: EventBody::MemberLeft }
    }

    fn arrive(order: &mut RoomOrder, seqs: &[u64]) -> Vec<u64> {
        seqs.iter().for_each(|&seq| order.arrived(event(seq)));
        std::iter::from_fn(|| order.release()).map(|event| event.seq).collect()
    }

    #[test]
    fn any_order_with_repeats_leaves_in_order_once() {
        let mut order = RoomOrder::after(10);
        assert_eq!(arrive(&mut order, &[13, 11, 13, 10]), [11]);
        assert_eq!(arrive(&mut order, &[12, 11]), [12, 13]);
        assert_eq!(arrive(&mut order, &[12, 13]), [] as [u64; 0]);
        assert!(order.is_settled());
    }

    #[test]
    fn a_gap_is_given_a_moment_and_then_asked_for_once() {
        let mut order = RoomOrder::after(0);
        assert_eq!(arrive(&mut order, &[3]), [] as [u64; 0]);
        assert_eq!(order.ask(1_000), None);
        assert_eq!(order.deadline_ms(), Some(1_000 + GAP_WAIT_MS));
        assert_eq!(order.ask(1_000 + GAP_WAIT_MS - 1), None);
        assert_eq!(order.ask(1_000 + GAP_WAIT_MS), Some(0));
        assert_eq!(order.ask(9_000), None, "an answer is under way");
        assert_eq!(arrive(&mut order, &[1, 2]), [1, 2, 3]);
        order.answered(true, 9_000);
        assert_eq!(order.ask(9_000), None);
        assert!(order.is_settled());
    }

    #[test]
    fn a_gap_that_closes_by_itself_is_never_asked_for() {
        let mut order = RoomOrder::after(0);
        arrive(&mut order, &[2]);
        assert_eq!(order.ask(0), None);
        assert_eq!(arrive(&mut order, &[1]), [1, 2]);
        assert_eq!(order.ask(GAP_WAIT_MS), None);
        assert_eq!(order.deadline_ms(), None);
    }

    #[test]
    fn a_head_that_was_heard_of_is_missed_like_an_event() {
        let mut order = RoomOrder::after(4);
        order.heard_of(6);
        assert_eq!((order.ask(0), order.ask(GAP_WAIT_MS)), (None, Some(4)));
    }

    #[test]
    fn a_page_is_followed_by_the_next_and_an_empty_one_by_a_pause() {
        let mut order = RoomOrder::after(0);
        order.heard_of(4);
        order.ask_at_once();
        assert_eq!(order.ask(0), Some(0));
        assert_eq!(arrive(&mut order, &[1, 2]), [1, 2]);
        order.answered(true, 0);
        assert_eq!(order.ask(0), Some(2));
        order.answered(false, 0);
        assert_eq!((order.ask(0), order.ask(FRUITLESS_WAIT_MS)), (None, Some(2)));
    }

    #[test]
    fn what_was_asked_is_asked_again_after_a_reconnect() {
        let mut order = RoomOrder::after(0);
        order.heard_of(1);
        order.ask_at_once();
        assert_eq!(order.ask(0), Some(0));
        order.disconnected();
        assert_eq!(order.ask(0), Some(0));
    }

    #[test]
    fn a_snapshot_skips_ahead_and_keeps_what_is_beyond_it() {
        let mut order = RoomOrder::after(3);
        assert_eq!(arrive(&mut order, &[90, 102]), [] as [u64; 0]);
        order.skip_to(100);
        assert_eq!(arrive(&mut order, &[101]), [101, 102]);
    }

    #[test]
    fn what_waits_is_bounded_and_what_was_forgotten_is_missed() {
        let mut order = RoomOrder::after(0);
        let many: Vec<u64> = (2..2 + 2 * HELD_MAX as u64).collect();
        assert_eq!(arrive(&mut order, &many), [] as [u64; 0]);
        let released = arrive(&mut order, &[1]);
        assert_eq!(released, (1..=HELD_MAX as u64).collect::<Vec<_>>());
        assert_eq!(order.held.len(), 0);
        assert_eq!(order.ask(0), Some(HELD_MAX as u64), "at once, because waiting would not bring it");
    }
}
