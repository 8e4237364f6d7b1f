//! A room's last events, as they were encoded for delivery.
//!
//! All that is not archived yet, and some that is: so history is this and the store, without a gap between.
//! What is not archived is bounded by the log, which takes no more when it is full.

use std::collections::VecDeque;

use crate::encoded::Encoded;

/// An event in memory.
pub struct RecentEvent {
    /// Its frame.
    pub encoded: Encoded,
    /// Where the event's own bytes begin in the frame.
    pub event_at: u8,
    /// The log position of its batch; 0 when it came from the store.
    pub position: u64,
}

impl RecentEvent {
    /// An event in its frame, decided in the batch that gets this log position.
    pub fn new(event: &[u8], position: u64) -> Self {
        let mut frame = Vec::with_capacity(event.len() + 8);
        carillon_protocol::encode_event_frame(event, &mut frame);
        let event_at = (frame.len() - event.len()) as u8;
        Self { encoded: Encoded::new(&frame), event_at, position }
    }

    /// An event that came from the store.
    pub fn stored(event: &[u8]) -> Self {
        Self::new(event, 0)
    }

    /// The event's own bytes.
    pub fn event(&self) -> &[u8] {
        &self.encoded.frames()[usize::from(self.event_at)..]
    }
}

/// The last events, without a hole.
#[derive(Default)]
pub struct Recent {
    events: VecDeque<RecentEvent>,
    last_seq: u64,
}

impl Recent {
    /// Takes the event after the last one.
    pub fn push(&mut self, seq: u64, event: RecentEvent) {
        debug_assert!(self.events.is_empty() || seq == self.last_seq + 1);
        self.events.push_back(event);
        self.last_seq = seq;
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The seq of the first event kept; above the last one's when none is.
    pub fn first_seq(&self) -> u64 {
        self.last_seq + 1 - self.events.len() as u64
    }

    /// Events after `after_seq` and up to `up_to_seq`, or nothing where some of them are not here any more.
    pub fn after(
        &self,
        after_seq: u64,
        up_to_seq: u64,
    ) -> Option<impl ExactSizeIterator<Item = &RecentEvent> + Clone> {
        let first = self.first_seq();
        if after_seq + 1 < first {
            return None;
        }
        let start = ((after_seq + 1 - first) as usize).min(self.events.len());
        let end = ((up_to_seq + 1).saturating_sub(first) as usize).clamp(start, self.events.len());
        Some(self.events.range(start..end))
    }

    /// How many there are before the first that is not `is_before`, which all after it are not either.
    pub fn count_before(&self, is_before: impl Fn(&[u8]) -> bool) -> usize {
        self.events.partition_point(|event| is_before(event.event()))
    }

    /// Takes back the events after `seq`.
    pub fn truncate(&mut self, seq: u64) {
        let kept = (seq + 1).saturating_sub(self.first_seq()) as usize;
        self.events.truncate(kept);
        self.last_seq = self.last_seq.min(seq);
    }

    /// Forgets the oldest archived events until `kept` are left.
    pub fn trim(&mut self, kept: usize, archived: u64) {
        while self.events.len() > kept && self.events.front().is_some_and(|event| event.position <= archived)
        {
            self.events.pop_front();
        }
        // What is shrunk too eagerly is only asked for again.
        if self.events.capacity() > 4 * self.events.len().max(16) {
            self.events.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recent(seqs: std::ops::RangeInclusive<u64>) -> Recent {
        let mut recent = Recent::default();
        for seq in seqs {
            recent.push(seq, RecentEvent { encoded: Encoded::new(&[seq as u8]), event_at: 0, position: seq });
        }
        recent
    }

    fn seqs(recent: &Recent, after: u64, up_to: u64) -> Option<Vec<u8>> {
        recent.after(after, up_to).map(|events| events.map(|event| event.event()[0]).collect())
    }

    #[test]
    fn a_page_starts_after_the_seq_asked_for_and_ends_at_the_durable_one() {
        let recent = recent(5..=9);
        assert_eq!(seqs(&recent, 4, 9), Some(vec![5, 6, 7, 8, 9]));
        assert_eq!(seqs(&recent, 6, 8), Some(vec![7, 8]));
        assert_eq!(seqs(&recent, 9, 9), Some(vec![]));
        assert_eq!(seqs(&recent, 20, 9), Some(vec![]));
        assert_eq!(seqs(&recent, 3, 9), None, "5 is the first here, so 4 is the store's to give");
    }

    #[test]
    fn what_is_taken_back_was_never_there() {
        let mut recent = recent(5..=9);
        recent.truncate(7);
        assert_eq!(seqs(&recent, 4, 9), Some(vec![5, 6, 7]));
        recent.push(8, RecentEvent::new(&[80], 1));
        assert_eq!(seqs(&recent, 6, 9), Some(vec![7, 80]));
        recent.truncate(20);
        assert_eq!(recent.first_seq(), 5);
        recent.truncate(4);
        assert_eq!((seqs(&recent, 4, 9), recent.first_seq()), (Some(vec![]), 5));
    }

    #[test]
    fn what_is_not_archived_stays_however_much_it_is() {
        let mut recent = recent(1..=100);
        recent.trim(10, 40);
        assert_eq!(recent.first_seq(), 41);
        recent.trim(10, 100);
        assert_eq!(recent.first_seq(), 91);
    }
}
