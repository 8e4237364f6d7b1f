//! What was sent in a room lately, under which ids: so that a retry gets the seq it got before.

use std::collections::VecDeque;

use carillon_protocol::{ClientId, UserId};
use carillon_storage::SentRow;
use hashbrown::HashMap;

/// Recently used client ids.
pub struct SentIds {
    rows: HashMap<(UserId, ClientId), SentRow, foldhash::fast::RandomState>,
    order: VecDeque<(UserId, ClientId)>,
    /// Whether an id that is not here was never sent (or too long ago to matter), so that nobody need ask the store.
    complete: bool,
}

/// What is known of an id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// It was sent, and this became of it.
    Sent(SentRow),
    /// It was never sent.
    New,
    /// It is not among those in memory; the store knows.
    AskStore,
}

impl SentIds {
    /// Of a room that has just begun.
    pub fn complete() -> Self {
        Self { rows: HashMap::default(), order: VecDeque::new(), complete: true }
    }

    /// Of a room that has more behind it than was read.
    pub fn partial() -> Self {
        Self { complete: false, ..Self::complete() }
    }

    /// What is known of this id.
    pub fn get(&self, sender: UserId, id: ClientId) -> Known {
        match self.rows.get(&(sender, id)) {
            Some(&row) => Known::Sent(row),
            None if self.complete => Known::New,
            None => Known::AskStore,
        }
    }

    /// Remembers a send.
    pub fn insert(&mut self, sender: UserId, id: ClientId, row: SentRow) {
        if self.rows.insert((sender, id), row).is_none() {
            self.order.push_back((sender, id));
        }
    }

    /// Takes back what was sent after `seq`.
    pub fn truncate(&mut self, seq: u64) {
        let rows = &mut self.rows;
        self.order.retain(|sent| {
            let stays = rows.get(sent).is_some_and(|row| row.seq <= seq);
            if !stays {
                rows.remove(sent);
            }
            stays
        });
    }

    /// Leaves the oldest to the store until `kept` are left; only sends before `archived_before`, which the store has.
    pub fn trim(&mut self, kept: usize, archived_before: u64) {
        while self.order.len() > kept {
            let Some(oldest) = self.order.front() else { return };
            if self.rows.get(oldest).is_some_and(|row| row.seq >= archived_before) {
                return;
            }
            self.rows.remove(oldest);
            self.order.pop_front();
            self.complete = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_memory_forgot_is_asked_of_the_store() {
        let user = UserId::new(1).unwrap();
        let id = |number: u8| ClientId::from_bytes([number; 16]);
        let row = |seq| SentRow { seq, ordinal: seq, at_ms: 0, text_hash: 0 };
        let mut sent = SentIds::complete();
        assert_eq!(sent.get(user, id(1)), Known::New);
        for number in 1..=3 {
            sent.insert(user, id(number), row(number.into()));
        }
        sent.trim(2, 4);
        assert_eq!(sent.get(user, id(3)), Known::Sent(row(3)));
        assert_eq!(sent.get(user, id(1)), Known::AskStore);
        assert_eq!(sent.get(user, id(9)), Known::AskStore);
    }

    #[test]
    fn what_the_store_does_not_have_yet_is_not_forgotten() {
        let user = UserId::new(1).unwrap();
        let mut sent = SentIds::complete();
        for number in 1..=9_u8 {
            let row = SentRow { seq: number.into(), ordinal: 0, at_ms: 0, text_hash: 0 };
            sent.insert(user, ClientId::from_bytes([number; 16]), row);
        }
        sent.trim(2, 3);
        assert_eq!(sent.get(user, ClientId::from_bytes([2; 16])), Known::AskStore);
        assert!(matches!(sent.get(user, ClientId::from_bytes([3; 16])), Known::Sent(_)));
    }
}
