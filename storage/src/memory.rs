//! A store in memory, for tests and simulation.
//!
//! It keeps every promise of [`Store`] but the disk's: what was written is there until the store is dropped.
//! [`MemoryStore::crash`] shows what a disk would have kept. Nothing here is bounded; it is not for production.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{PoisonError, RwLock};

use carillon_protocol::{ClientId, RoomId, UserId};
use futures_util::future::BoxFuture;

use crate::merge::{Joined, MemberColumns};
use crate::page::page;
use crate::{
    Change, MemberRow, Partition, Positions, RoomHeads, RoomRow, SentRow, Store, StoreResult, StoredEvent,
};

/// A [`Store`] of maps.
#[derive(Default)]
pub struct MemoryStore {
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    now: Tables,
    persisted: Tables,
    unpersisted: Vec<Write>,
}

#[derive(Clone)]
enum Write {
    Apply { changes: Vec<Change>, archived: Vec<(Partition, u64)> },
    ExpireSent { before_ms: u64 },
}

#[derive(Clone, Default)]
struct Tables {
    rooms: BTreeMap<RoomId, RoomRow>,
    events: BTreeMap<(RoomId, u64), Vec<u8>>,
    members: BTreeMap<(RoomId, UserId), MemberColumns>,
    rooms_by_user: BTreeSet<(UserId, RoomId)>,
    sent_ids: BTreeMap<(RoomId, UserId, ClientId), SentRow>,
    sent_from_ms: u64,
    archived: BTreeMap<Partition, u64>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// The store as it would be found after a crash that kept only what was persisted.
    pub fn crash(&self) -> Self {
        self.crash_keeping(0)
    }

    /// The store as it would be found after a crash that kept what was persisted and, of what was written since,
    /// the first `writes` calls: each of them wholly, as a disk may have done before it was asked to.
    pub fn crash_keeping(&self, writes: usize) -> Self {
        self.with(|state| {
            let mut tables = state.persisted.clone();
            state.unpersisted.iter().take(writes).for_each(|write| tables.write(write));
            let state = State { now: tables.clone(), persisted: tables, unpersisted: Vec::new() };
            Self { state: RwLock::new(state) }
        })
    }

    fn with<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn read<'a, T: Send + 'a>(
        &'a self,
        read: impl FnOnce(&Tables) -> StoreResult<T> + Send + 'a,
    ) -> BoxFuture<'a, StoreResult<T>> {
        Box::pin(async move { self.with(|state| read(&state.now)) })
    }

    fn write<'a>(&'a self, write: impl FnOnce(&mut State) + Send + 'a) -> BoxFuture<'a, StoreResult<()>> {
        Box::pin(async move {
            write(&mut self.state.write().unwrap_or_else(PoisonError::into_inner));
            Ok(())
        })
    }
}

impl State {
    fn take(&mut self, write: Write) {
        self.now.write(&write);
        self.unpersisted.push(write);
    }

    fn persist(&mut self) {
        for write in self.unpersisted.drain(..) {
            self.persisted.write(&write);
        }
    }
}

impl Tables {
    fn write(&mut self, write: &Write) {
        match write {
            Write::Apply { changes, archived } => {
                changes.iter().cloned().for_each(|change| self.change(change));
                for &(partition, position) in archived {
                    let known = self.archived.entry(partition).or_default();
                    *known = position.max(*known);
                }
            }
            Write::ExpireSent { before_ms } => {
                self.sent_from_ms = self.sent_from_ms.max(*before_ms);
                self.sent_ids.retain(|_, row| row.at_ms >= self.sent_from_ms);
            }
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Room { room, name, .. } => self.rooms.entry(room).or_default().name = name,
            Change::Head { room, seq, ordinal, active_ms, member_count } => {
                self.rooms.entry(room).or_default().merge_head(seq, ordinal, active_ms, member_count);
            }
            Change::Preview { room, sender, text, .. } => {
                self.rooms.entry(room).or_default().set_preview(sender, text);
            }
            Change::Event { room, seq, bytes, .. } => {
                self.events.insert((room, seq), bytes);
            }
            Change::MemberJoined { room, user, role, seq, ordinal } => {
                self.member(room, user).merge_joined(Joined { role, seq, ordinal });
                self.rooms_by_user.insert((user, room));
            }
            Change::MemberGone { room, user, .. } => {
                self.members.remove(&(room, user));
                self.rooms_by_user.remove(&(user, room));
            }
            Change::ReadMarker { room, user, seq, ordinal, at_ms } => {
                self.member(room, user).merge_read(seq, ordinal, at_ms);
            }
            Change::OwnSend { room, user, ordinal, .. } => self.member(room, user).merge_own(ordinal),
            Change::Sent { room, sender, client_id, row } => {
                self.sent_ids.insert((room, sender, client_id), row);
            }
        }
    }

    fn member(&mut self, room: RoomId, user: UserId) -> &mut MemberColumns {
        self.members.entry((room, user)).or_default()
    }

    fn room_head(&self, user: UserId, room: RoomId) -> Option<(RoomRow, MemberRow)> {
        let member = self.members.get(&(room, user))?.row(user)?;
        Some((self.rooms.get(&room)?.clone(), member))
    }

    fn members(&self, room: RoomId, after: u64, limit: usize) -> Vec<MemberRow> {
        let Some(first) = UserId::new(after.saturating_add(1)) else { return Vec::new() };
        let members = self.members.range((room, first)..=(room, UserId::MAX));
        members.filter_map(|(&(_, user), columns)| columns.row(user)).take(limit).collect()
    }

    fn user_rooms(&self, user: UserId, after: Option<RoomId>, limit: usize) -> Vec<RoomId> {
        let first = match after {
            Some(room) => Bound::Excluded((user, room)),
            None => Bound::Included((user, RoomId::NIL)),
        };
        let rooms = self.rooms_by_user.range((first, Bound::Unbounded));
        rooms.take_while(|(owner, _)| *owner == user).map(|&(_, room)| room).take(limit).collect()
    }

    fn sent(&self, id: &(RoomId, UserId, ClientId)) -> Option<SentRow> {
        self.sent_ids.get(id).copied().filter(|row| row.at_ms >= self.sent_from_ms)
    }

    fn events(
        &self,
        room: RoomId,
        from_seq: u64,
        limit: usize,
        bytes_max: usize,
    ) -> StoreResult<Vec<StoredEvent>> {
        let events = self.events.range((room, from_seq)..=(room, u64::MAX));
        let events = events.map(|(&(_, seq), bytes)| Ok(StoredEvent { seq, bytes: bytes.clone() }));
        page(events, limit, bytes_max)
    }
}

impl Store for MemoryStore {
    fn apply(&self, changes: Vec<Change>, archived: Vec<(Partition, u64)>) -> BoxFuture<'_, StoreResult<()>> {
        self.write(move |state| state.take(Write::Apply { changes, archived }))
    }

    fn persist(&self) -> BoxFuture<'_, StoreResult<()>> {
        self.write(State::persist)
    }

    fn archived(&self, partitions: Partition) -> BoxFuture<'_, StoreResult<Positions>> {
        self.read(move |tables| {
            let position = |partition| tables.archived.get(&partition).copied().unwrap_or(0);
            Ok((0..partitions).map(position).collect())
        })
    }

    fn room(&self, room: RoomId) -> BoxFuture<'_, StoreResult<Option<RoomRow>>> {
        self.read(move |tables| Ok(tables.rooms.get(&room).cloned()))
    }

    fn room_heads(&self, user: UserId, rooms: Vec<RoomId>) -> BoxFuture<'_, StoreResult<RoomHeads>> {
        self.read(move |tables| Ok(rooms.into_iter().map(|room| tables.room_head(user, room)).collect()))
    }

    fn members(&self, room: RoomId, after: u64, limit: usize) -> BoxFuture<'_, StoreResult<Vec<MemberRow>>> {
        self.read(move |tables| Ok(tables.members(room, after, limit)))
    }

    fn user_rooms(
        &self,
        user: UserId,
        after: Option<RoomId>,
        limit: usize,
    ) -> BoxFuture<'_, StoreResult<Vec<RoomId>>> {
        self.read(move |tables| Ok(tables.user_rooms(user, after, limit)))
    }

    fn events(
        &self,
        room: RoomId,
        from_seq: u64,
        limit: usize,
        bytes_max: usize,
    ) -> BoxFuture<'_, StoreResult<Vec<StoredEvent>>> {
        self.read(move |tables| tables.events(room, from_seq, limit, bytes_max))
    }

    fn sent(&self, ids: Vec<(RoomId, UserId, ClientId)>) -> BoxFuture<'_, StoreResult<Vec<Option<SentRow>>>> {
        self.read(move |tables| Ok(ids.iter().map(|id| tables.sent(id)).collect()))
    }

    fn expire_sent(&self, before_ms: u64) -> BoxFuture<'_, StoreResult<()>> {
        self.write(move |state| state.take(Write::ExpireSent { before_ms }))
    }
}
