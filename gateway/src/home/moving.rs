//! Partitions that come to this home from another node and go to one.

use carillon_protocol::event_header;
use carillon_storage::Partition;
use tokio::sync::mpsc::UnboundedSender;

use super::ledger::{Gone, Ledger};
use super::recent::RecentEvent;
use super::{Home, Slot};
use crate::delivery::Delivery;
use crate::encoded::Class;
use crate::log::{Batch, Record, records};
use carillon_protocol::RoomId;

impl Home {
    /// Whether this home decides about a partition.
    pub fn has(&self, partition: Partition) -> bool {
        !self.route.is_in_cluster() || self.ledgers.get(&partition).is_some_and(|ledger| !ledger.closing)
    }

    /// How many partitions were taken so far.
    pub fn takes(&self) -> u64 {
        self.takes
    }

    /// This home decides about a partition from now on, whose log ends at `position`, all of it archived.
    pub fn take(&mut self, partition: Partition, position: u64, gone: UnboundedSender<Gone>) {
        self.takes += 1;
        let mut ledger = Ledger::new(partition, position);
        ledger.gone = Some(gone);
        self.ledgers.insert(partition, ledger);
    }

    /// Events that may not have been delivered go to their rooms' members once more.
    pub fn deliver_again(&mut self, batches: &[Batch]) {
        for record in batches.iter().flat_map(|batch| records(&batch.records)) {
            let Ok(Record::Event { event, .. }) = record else { continue };
            let Ok(header) = event_header(event) else { continue };
            let encoded = RecentEvent::stored(event).encoded;
            self.undelivered.entry(header.room).or_default().push((header.seq, encoded));
        }
        for room in self.undelivered.keys().copied().collect::<Vec<_>>() {
            self.deliver_room_again(room);
        }
        self.want_undelivered();
    }

    /// Rooms with such events are read, again where they could not be.
    pub(super) fn want_undelivered(&mut self) {
        for &room in self.undelivered.keys() {
            if !self.rooms.contains_key(&room) {
                self.wants.rooms.push((room, self.takes));
                self.rooms.insert(room, Slot::Loading(self.takes, Vec::new()));
            }
        }
    }

    /// The same of a room that is in memory.
    pub(super) fn deliver_room_again(&mut self, room: RoomId) {
        let Some(Slot::Active(active)) = self.rooms.get_mut(&room) else { return };
        let Some(events) = self.undelivered.remove(&room) else { return };
        for (seq, encoded) in events {
            let audience = active.audience();
            self.out.told.push(Delivery { room, class: Class::Events { seq }, encoded, audience });
        }
    }

    /// Nothing more is decided about a partition; once nothing of it is under way it is given up.
    pub fn release(&mut self, partition: Partition) {
        let Some(ledger) = self.ledgers.get_mut(&partition) else { return };
        ledger.closing = true;
        self.releasing.push(partition);
        self.finish_releases();
    }

    pub(super) fn finish_releases(&mut self) {
        for partition in std::mem::take(&mut self.releasing) {
            let is_quiet = self.lanes.get(&partition).is_none_or(super::lane::Lane::is_empty)
                && self.ledgers.get(&partition).is_none_or(|ledger| !ledger.has_any());
            if is_quiet {
                self.drop_partition(partition, false);
            } else {
                self.releasing.push(partition);
            }
        }
    }

    /// All partitions are given up as they stand: this node was not heard of for so long that others may have them.
    pub fn suspend(&mut self) {
        let all: Vec<Partition> = self.ledgers.keys().copied().collect();
        all.into_iter().for_each(|partition| self.drop_partition(partition, true));
    }

    /// Whether it decides about anything.
    pub fn is_idle(&self) -> bool {
        self.ledgers.is_empty()
    }

    /// A partition is not this home's any more; everything of it leaves memory, and who waits is told to ask the new home.
    pub(super) fn drop_partition(&mut self, partition: Partition, is_deposed: bool) {
        let Some(mut ledger) = self.ledgers.remove(&partition) else { return };
        self.releasing.retain(|&releasing| releasing != partition);
        self.deciding.requests = self.deciding.requests.saturating_sub(ledger.requests);
        self.deciding.bytes = self.deciding.bytes.saturating_sub(ledger.bytes());
        if let Some(lane) = self.lanes.remove(&partition) {
            lane.into_appendings().for_each(|appending| self.refuse_owed(appending.after, true));
        }
        let page = ledger.abandon(0);
        self.refuse_owed(page.after, true);
        let route = &self.route;
        for (_, slot) in self.rooms.extract_if(|&room, _| route.partition_of_room(room) == partition) {
            if let Slot::Loading(_, queue) = slot {
                self.waiting -= queue.len();
                self.out.moved.extend(queue.into_iter().map(|request| (partition, request)));
            }
        }
        self.undelivered.retain(|&room, _| route.partition_of_room(room) != partition);
        self.users.forget(|user| route.partition_of_user(user) == partition);
        if let Some(gone) = ledger.gone {
            // Who waits for it may have stopped.
            let _ = gone.send(Gone { partition, is_deposed });
        }
    }
}
