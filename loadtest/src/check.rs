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
    places: HashMap<RoomId, Place>,
}

/// How far it is in one.
#[derive(Default)]
struct Place {
    /// The last seq it has.
    last: u64,
    /// Up to here an event may come once more: it was asked for, or came to the connection before this one.
    fetched: u64,
    /// The largest seq that came while it was behind.
    ahead: u64,
    /// Syncs that were asked for and not answered. While there are any, a gap is no fault.
    syncs: u32,
}

impl Stream {
    /// The client is in this room, and has it up to `seq`; what is before may still come.
    pub fn expect(&mut self, room: RoomId, seq: u64) {
        self.places.insert(room, Place { last: seq, fetched: seq, ..Place::default() });
    }

    /// The last seq of a room that came; 0 for none.
    pub fn last(&self, room: RoomId) -> u64 {
        self.places.get(&room).map_or(0, |place| place.last)
    }

    /// An event came, live.
    pub fn event(&mut self, room: RoomId, seq: u64, faults: &mut Faults) {
        let Some(place) = self.places.get_mut(&room) else {
            faults.strange += 1;
            return;
        };
        if seq <= place.last {
            faults.repeats += u64::from(seq > place.fetched);
        } else if seq > place.last + 1 && place.syncs > 0 {
            place.ahead = place.ahead.max(seq);
        } else {
            faults.gaps += seq - place.last - 1;
            place.last = seq;
        }
    }

    /// The client asks for what it may have missed of a room, after the seq that this returns.
    pub fn asks(&mut self, room: RoomId) -> u64 {
        let place = self.places.entry(room).or_default();
        place.syncs += 1;
        place.fetched = place.fetched.max(place.last);
        place.last
    }

    /// The answer came. Whether there is more to ask for.
    pub fn fetched(
        &mut self,
        room: RoomId,
        seqs: impl Iterator<Item = u64>,
        head_seq: u64,
        faults: &mut Faults,
    ) -> bool {
        let Some(place) = self.places.get_mut(&room).filter(|place| place.syncs > 0) else {
            faults.strange += 1;
            return false;
        };
        // What has come live meanwhile is in the answer once more.
        for seq in seqs.filter(|&seq| seq > place.last).collect::<Vec<_>>() {
            faults.gaps += seq - place.last - 1;
            place.last = seq;
        }
        place.fetched = place.fetched.max(place.last);
        place.syncs -= 1;
        place.syncs == 0 && place.last < head_seq.max(place.ahead)
    }

    /// The answer was that the client is too far behind and starts anew after `from_seq`.
    pub fn starts_anew(&mut self, room: RoomId, from_seq: u64) {
        let place = self.places.entry(room).or_default();
        place.last = place.last.max(from_seq);
        place.fetched = place.fetched.max(place.last);
        place.syncs = place.syncs.saturating_sub(1);
    }

    /// The connection ended: nothing that was asked for will be answered.
    pub fn ends(&mut self) {
        for place in self.places.values_mut() {
            (place.syncs, place.ahead) = (0, 0);
            place.fetched = place.last;
        }
    }

    /// Whether everything that was asked for has come.
    pub fn is_caught_up(&self) -> bool {
        self.places.values().all(|place| place.syncs == 0)
    }

    /// Nothing more will come: what is missing of what was acknowledged.
    pub fn end(&self, heads: &HashMap<RoomId, u64>, faults: &mut Faults) {
        for (room, place) in &self.places {
            faults.missing += heads.get(room).copied().unwrap_or(0).saturating_sub(place.last);
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

    #[test]
    fn who_asked_may_have_a_gap_until_the_answer_and_what_it_fetched_twice() {
        let room = RoomId::from_bytes([1; 16]);
        let (mut stream, mut faults) = (Stream::default(), Faults::default());
        stream.expect(room, 3);
        assert_eq!(stream.asks(room), 3);
        stream.event(room, 8, &mut faults);
        assert!(stream.fetched(room, 4..=6, 6, &mut faults), "8 came, so 7 is there too");
        assert_eq!(stream.asks(room), 6);
        assert!(!stream.fetched(room, 7..=8, 8, &mut faults));
        stream.event(room, 8, &mut faults);
        assert!(faults.is_none() && stream.is_caught_up());
        stream.event(room, 10, &mut faults);
        assert_eq!(faults, Faults { gaps: 1, ..Faults::default() });
    }

    #[test]
    fn an_answer_with_a_hole_or_to_no_question_is_a_fault() {
        let room = RoomId::from_bytes([1; 16]);
        let (mut stream, mut faults) = (Stream::default(), Faults::default());
        stream.expect(room, 0);
        stream.asks(room);
        stream.fetched(room, [1, 3].into_iter(), 3, &mut faults);
        stream.fetched(room, [4].into_iter(), 4, &mut faults);
        assert_eq!(faults, Faults { gaps: 1, strange: 1, ..Faults::default() });
    }
}
