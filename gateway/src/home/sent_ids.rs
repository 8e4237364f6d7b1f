//! What was sent in a room lately, under which ids: so that a retry gets the seq it got before.
//!
//! The ids lie in blocks, oldest first, with an index of their numbers beside them: what a room's next id costs does
//! not grow with how many it has. (A single table doubles; where rooms are as busy as each other they all double at
//! the same moment, and the shard stands still while a hundred megabytes of new memory are cleared.)

use std::collections::VecDeque;
use std::hash::BuildHasher;

use carillon_protocol::{ClientId, UserId};
use carillon_storage::SentRow;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// Ids in a block.
const BLOCK: usize = 32;

/// Recently used client ids.
pub struct SentIds {
    blocks: VecDeque<Vec<Sent>>,
    /// How many at the front of the first block are forgotten.
    forgotten: usize,
    /// The number of the oldest id that is known. Numbers go around; no room keeps so many ids.
    first: u32,
    /// Numbers of ids, by hash.
    numbers: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
    /// Whether an id that is not here was never sent (or too long ago to matter), so that nobody need ask the store.
    complete: bool,
}

struct Sent {
    sender: UserId,
    id: ClientId,
    row: SentRow,
}

impl Sent {
    fn is(&self, sender: UserId, id: ClientId) -> bool {
        self.id == id && self.sender == sender
    }
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
        Self {
            blocks: VecDeque::new(),
            forgotten: 0,
            first: 0,
            numbers: HashTable::new(),
            hasher: foldhash::fast::RandomState::default(),
            complete: true,
        }
    }

    /// Of a room that has more behind it than was read.
    pub fn partial() -> Self {
        Self { complete: false, ..Self::complete() }
    }

    /// What is known of this id.
    pub fn get(&self, sender: UserId, id: ClientId) -> Known {
        match self.find(sender, id) {
            Some(number) => Known::Sent(self.at(number).row),
            None if self.complete => Known::New,
            None => Known::AskStore,
        }
    }

    /// Remembers a send. Of one that is known already, what became of it stays.
    pub fn insert(&mut self, sender: UserId, id: ClientId, row: SentRow) {
        let number = self.first.wrapping_add(self.len() as u32);
        let Self { blocks, forgotten, first, numbers, hasher, .. } = self;
        let known = |number: u32| at(blocks, *forgotten, number.wrapping_sub(*first));
        let is_it = |&number: &u32| known(number).is(sender, id);
        let rehash = |&number: &u32| hasher.hash_one((known(number).sender, known(number).id));
        let Entry::Vacant(new) = numbers.entry(hasher.hash_one((sender, id)), is_it, rehash) else { return };
        new.insert(number);
        let sent = Sent { sender, id, row };
        match blocks.back_mut() {
            Some(block) if block.len() < BLOCK => block.push(sent),
            _ => {
                let mut block = Vec::with_capacity(BLOCK);
                block.push(sent);
                blocks.push_back(block);
            }
        }
    }

    /// Takes back what was sent after `seq`.
    pub fn truncate(&mut self, seq: u64) {
        let stays = Self { complete: self.complete, ..Self::complete() };
        let all = std::mem::replace(self, stays);
        for sent in all.blocks.into_iter().flatten().skip(all.forgotten).filter(|sent| sent.row.seq <= seq) {
            self.insert(sent.sender, sent.id, sent.row);
        }
    }

    /// Leaves the oldest to the store until `kept` are left; only sends before `archived_before`, which the store has.
    pub fn trim(&mut self, kept: usize, archived_before: u64) {
        while self.len() > kept {
            if self.at(self.first).row.seq >= archived_before {
                return;
            }
            self.forget_first();
            self.complete = false;
        }
    }

    fn forget_first(&mut self) {
        let oldest = self.at(self.first);
        let (first, hash) = (self.first, self.hasher.hash_one((oldest.sender, oldest.id)));
        if let Ok(known) = self.numbers.find_entry(hash, |&number| number == first) {
            known.remove();
        }
        self.first = first.wrapping_add(1);
        self.forgotten += 1;
        if self.forgotten == BLOCK {
            self.blocks.pop_front();
            self.forgotten = 0;
        }
    }

    fn len(&self) -> usize {
        self.numbers.len()
    }

    fn find(&self, sender: UserId, id: ClientId) -> Option<u32> {
        let is_it = |&number: &u32| self.at(number).is(sender, id);
        self.numbers.find(self.hasher.hash_one((sender, id)), is_it).copied()
    }

    fn at(&self, number: u32) -> &Sent {
        at(&self.blocks, self.forgotten, number.wrapping_sub(self.first))
    }
}

/// The id that is so many behind the oldest known one.
fn at(blocks: &VecDeque<Vec<Sent>>, forgotten: usize, behind: u32) -> &Sent {
    let place = forgotten + behind as usize;
    &blocks[place / BLOCK][place % BLOCK]
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

    #[test]
    fn any_history_is_as_a_plain_map_would_have_it() {
        let user = UserId::new(1).unwrap();
        let id = |seq: u64| ClientId::from_bytes(u128::from(seq).to_be_bytes());
        let row = |seq| SentRow { seq, ordinal: 0, at_ms: 0, text_hash: 0 };
        let mut sent = SentIds::complete();
        let (mut first, mut next) = (1, 1);
        for step in 0..2_000_u64 {
            match step % 7 {
                5 => {
                    let kept = (step * 31 % 200) as usize;
                    sent.trim(kept, next);
                    first = first.max(next.saturating_sub(kept as u64));
                }
                6 => {
                    let taken_back = (step % 5).min(next - first);
                    next -= taken_back;
                    sent.truncate(next - 1);
                }
                _ => {
                    for seq in next..next + step % 13 {
                        sent.insert(user, id(seq), row(seq));
                    }
                    next += step % 13;
                }
            }
            assert_eq!(sent.len() as u64, next - first);
            for seq in first.saturating_sub(3).max(1)..next + 3 {
                let known = match seq {
                    _ if (first..next).contains(&seq) => Known::Sent(row(seq)),
                    _ if first == 1 => Known::New,
                    _ => Known::AskStore,
                };
                assert_eq!(sent.get(user, id(seq)), known, "seq {seq} at step {step}");
            }
        }
    }
}
