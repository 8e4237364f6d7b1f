//! How far the store is behind the log: in batches, which is known; in events, which is known of what was read and estimated
//! of the rest; in time, which is the age of the oldest.

use carillon_protocol::event_header;

use super::archive::ArchiveStatus;
use crate::log::{Batch, Positions, Record, record};

/// What was read from the log and is not in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pending {
    /// Batches of it.
    pub batches: u64,
    /// Events and read markers in them.
    pub events: u64,
    /// When the oldest of them happened, in milliseconds since 1970; nothing where nothing is pending.
    pub oldest_ms: Option<u64>,
}

/// What is in the log and not in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lag {
    /// Batches.
    pub batches: u64,
    /// Events and read markers in them; those in batches that were not read yet are estimated from those that were.
    pub events: u64,
    /// The age of the oldest, in milliseconds.
    pub ms: u64,
}

impl Pending {
    /// What these batches hold, none of which the store has.
    pub fn of(batches: &[Batch]) -> Self {
        let events = batches.iter().map(|batch| record::split(&batch.records).count() as u64).sum();
        // In each partition the first is the oldest, to within what its rooms' clocks differ.
        let mut seen = std::collections::HashSet::new();
        let firsts = batches.iter().filter(|batch| seen.insert(batch.partition));
        let oldest_ms = firsts.filter_map(|batch| first_ms(&batch.records)).min();
        Self { batches: batches.len() as u64, events, oldest_ms }
    }
}

/// When the first record that says so was made.
fn first_ms(records: &[u8]) -> Option<u64> {
    record::records(records).map_while(Result::ok).find_map(|record| match record {
        Record::Event { event, .. } => event_header(event).ok().map(|header| header.at_ms),
        Record::Read { at_ms, .. } => (at_ms > 0).then_some(at_ms),
    })
}

impl Lag {
    /// As of `now_ms`, where the log ends at `last` and the store has everything up to `applied`.
    pub fn now(status: &ArchiveStatus, last: &Positions, applied: &Positions, now_ms: u64) -> Self {
        let batches = batches_behind(status, last, applied);
        if batches == 0 {
            return Self::default();
        }
        let pending = status.pending;
        let (events, of_batches) = match pending.batches {
            0 => (status.events, status.batches),
            _ => (pending.events, pending.batches),
        };
        let unread = batches.saturating_sub(pending.batches);
        let estimated = unread.saturating_mul(events).checked_div(of_batches).unwrap_or(0).max(unread);
        let ms = pending.oldest_ms.map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms));
        Self { batches, events: pending.events + estimated, ms }
    }
}

/// Batches that are in the log and not in the store, of what the archiver follows.
pub(super) fn batches_behind(status: &ArchiveStatus, last: &Positions, applied: &Positions) -> u64 {
    let is_followed = |partition| match &status.follows {
        Some(follows) => follows.binary_search(&partition).is_ok(),
        None => true,
    };
    let positions = (0..).zip(last.iter().zip(applied)).filter(|(partition, _)| is_followed(*partition));
    positions.map(|(_, (last, applied))| last.saturating_sub(*applied)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lag(pending: Pending, last: u64, applied: u64) -> Lag {
        let status = ArchiveStatus { batches: 10, events: 30, pending, ..ArchiveStatus::default() };
        Lag::now(&status, &vec![last, 7], &vec![applied, 7], 5_000)
    }

    #[test]
    fn what_was_read_is_counted_and_the_rest_estimated() {
        let pending = Pending { batches: 4, events: 8, oldest_ms: Some(3_000) };
        assert_eq!(lag(pending, 4, 0), Lag { batches: 4, events: 8, ms: 2_000 });
        assert_eq!(lag(pending, 14, 0), Lag { batches: 14, events: 28, ms: 2_000 });
        assert_eq!(lag(Pending::default(), 6, 4), Lag { batches: 2, events: 6, ms: 0 });
        assert_eq!(lag(pending, 4, 4), Lag::default());
        let others = ArchiveStatus { follows: Some(vec![1].into()), ..ArchiveStatus::default() };
        assert_eq!(Lag::now(&others, &vec![9, 7], &vec![0, 7], 5_000), Lag::default());
    }
}
