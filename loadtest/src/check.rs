//! Checking one client's stream: each room's events come in order, without a gap, and once.

use std::collections::HashMap;

use carillon_protocol::RoomId;
use serde::{Deserialize, Serialize};

/// What was wrong with streams, counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Faults {
    /// Events that never came before a later one did.
    pub gaps: u64,
    /// Events that came again, or after a later one.
    pub repeats: u64,
    /// Events of rooms the client is not in.
    pub strange: u64,
    /// Events that had not come when all should have.
    pub missing: u64,
    /// Requests that were refused.
    pub refused: u64,
}

impl Faults {
    /// Whether nothing was wrong.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Both together.
    pub fn and(self, other: Self) -> Self {
        Self {
            gaps: self.gaps + other.gaps,
            repeats: self.repeats + other.repeats,
            strange: self.strange + other.strange,
            missing: self.missing + other.missing,
            refused: self.refused + other.refused,
        }
    }
}

/// How far one client is in each of its rooms.
#[derive(Default)]
pub struct Stream {
    seqs: HashMap<RoomId, u64>,
}

impl Stream {
    /// The client is in this room, and has it up to `seq`.
    pub fn expect(&mut self, room: RoomId, seq: u64) {
        self.seqs.insert(room, seq);
    }

    /// The last seq of a room that came; 0 for none.
    pub fn last(&self, room: RoomId) -> u64 {
        self.seqs.get(&room).copied().unwrap_or(0)
    }

    /// An event came.
    pub fn event(&mut self, room: RoomId, seq: u64, faults: &mut Faults) {
        let Some(last) = self.seqs.get_mut(&room) else {
            faults.strange += 1;
            return;
        };
        if seq <= *last {
            faults.repeats += 1;
        } else {
            faults.gaps += seq - *last - 1;
            *last = seq;
        }
    }

    /// Nothing more will come: what is missing of what was acknowledged.
    pub fn end(&self, heads: &HashMap<RoomId, u64>, faults: &mut Faults) {
        for (room, last) in &self.seqs {
            faults.missing += heads.get(room).copied().unwrap_or(0).saturating_sub(*last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(seqs: &[u64], head: u64) -> Faults {
        let room = RoomId::from_bytes([1; 16]);
        let mut stream = Stream::default();
        let mut faults = Faults::default();
        stream.expect(room, 0);
        seqs.iter().for_each(|&seq| stream.event(room, seq, &mut faults));
        stream.end(&HashMap::from([(room, head)]), &mut faults);
        faults
    }

    #[test]
    fn a_good_stream_has_no_faults() {
        assert!(faults(&[1, 2, 3], 3).is_none());
    }

    #[test]
    fn every_fault_is_noticed() {
        assert_eq!(faults(&[1, 3], 3), Faults { gaps: 1, ..Faults::default() });
        assert_eq!(faults(&[1, 2, 2], 2), Faults { repeats: 1, ..Faults::default() });
        assert_eq!(faults(&[1, 3, 2], 3), Faults { gaps: 1, repeats: 1, ..Faults::default() });
        assert_eq!(faults(&[1, 2], 5), Faults { missing: 3, ..Faults::default() });
        let (mut stream, mut faults) = (Stream::default(), Faults::default());
        stream.event(RoomId::from_bytes([9; 16]), 1, &mut faults);
        assert_eq!(faults, Faults { strange: 1, ..Faults::default() });
    }
}
