//! The tables and what is read from them.

use std::fs::File;
use std::ops::Bound;
use std::path::PathBuf;

use carillon_protocol::{ClientId, RoomId, UserId};
use fjall::{Database, Guard, Keyspace, Readable, Snapshot};

use super::expiry::SentFrom;
use super::{key, value};
use crate::merge::MemberColumns;
use crate::page::page;
use crate::{
    MemberRow, Partition, Positions, RoomHeads, RoomRow, SentRow, StoreError, StoreResult, StoredEvent,
};

/// An open database. Dropping the last of it lets the folder go.
pub(super) struct Tables {
    pub(super) events: Keyspace,
    pub(super) rooms: Keyspace,
    pub(super) members: Keyspace,
    pub(super) rooms_by_user: Keyspace,
    pub(super) sent_ids: Keyspace,
    pub(super) archived: Keyspace,
    pub(super) meta: Keyspace,
    pub(super) sent_from: SentFrom,
    pub(super) dir: PathBuf,
    pub(super) database: Database,
    // Last: the folder is free only once the database is closed.
    pub(super) _lock: File,
}

impl Tables {
    pub(super) fn archived(&self, partitions: Partition) -> StoreResult<Positions> {
        let snapshot = self.database.snapshot();
        (0..partitions).map(|partition| self.position(&snapshot, partition)).collect()
    }

    pub(super) fn position(&self, snapshot: &Snapshot, partition: Partition) -> StoreResult<u64> {
        self.get(snapshot, &self.archived, key::archived(partition), value::decode_number)
            .map(Option::unwrap_or_default)
    }

    pub(super) fn room(&self, room: RoomId) -> StoreResult<Option<RoomRow>> {
        self.room_row(&self.database.snapshot(), room)
    }

    pub(super) fn room_heads(&self, user: UserId, rooms: &[RoomId]) -> StoreResult<RoomHeads> {
        let snapshot = self.database.snapshot();
        rooms.iter().map(|&room| self.room_head(&snapshot, user, room)).collect()
    }

    fn room_head(
        &self,
        snapshot: &Snapshot,
        user: UserId,
        room: RoomId,
    ) -> StoreResult<Option<(RoomRow, MemberRow)>> {
        let columns = self.member_columns(snapshot, room, user)?;
        let Some(member) = columns.and_then(|columns| columns.row(user)) else { return Ok(None) };
        Ok(self.room_row(snapshot, room)?.map(|row| (row, member)))
    }

    pub(super) fn members(&self, room: RoomId, after: u64, limit: usize) -> StoreResult<Vec<MemberRow>> {
        let Some(first) = UserId::new(after.saturating_add(1)) else { return Ok(Vec::new()) };
        let range = key::member(room, first.get())..=key::member(room, UserId::MAX.get());
        let rows = self.database.snapshot().range(&self.members, range);
        rows.filter_map(|guard| self.member_row(guard).transpose()).take(limit).collect()
    }

    fn member_row(&self, guard: Guard) -> StoreResult<Option<MemberRow>> {
        let (key, bytes) = guard.into_inner().map_err(|e| self.failed(e))?;
        let user = key::number_at_end(&key).and_then(UserId::new);
        let columns = value::decode_member(&bytes);
        let (Some(user), Some(columns)) = (user, columns) else { return Err(self.corrupt("members")) };
        Ok(columns.row(user))
    }

    pub(super) fn user_rooms(
        &self,
        user: UserId,
        after: Option<RoomId>,
        limit: usize,
    ) -> StoreResult<Vec<RoomId>> {
        let first = match after {
            Some(room) => Bound::Excluded(key::user_room(user, room).to_vec()),
            None => Bound::Included(key::user_room(user, RoomId::NIL).to_vec()),
        };
        let last = Bound::Excluded((user.get() + 1).to_be_bytes().to_vec());
        let keys = self.database.snapshot().range(&self.rooms_by_user, (first, last));
        keys.take(limit).map(|guard| self.user_room(guard)).collect()
    }

    fn user_room(&self, guard: Guard) -> StoreResult<RoomId> {
        let key = guard.key().map_err(|e| self.failed(e))?;
        key::room_of_user_room(&key).ok_or_else(|| self.corrupt("rooms_by_user"))
    }

    pub(super) fn events(
        &self,
        room: RoomId,
        from_seq: u64,
        limit: usize,
        bytes_max: usize,
    ) -> StoreResult<Vec<StoredEvent>> {
        let range = key::event(room, from_seq)..=key::event(room, u64::MAX);
        let events = self.database.snapshot().range(&self.events, range);
        page(events.map(|guard| self.event(guard)), limit, bytes_max)
    }

    fn event(&self, guard: Guard) -> StoreResult<StoredEvent> {
        let (key, bytes) = guard.into_inner().map_err(|e| self.failed(e))?;
        let seq = key::number_at_end(&key).ok_or_else(|| self.corrupt("events"))?;
        Ok(StoredEvent { seq, bytes: bytes.to_vec() })
    }

    pub(super) fn sent(&self, ids: &[(RoomId, UserId, ClientId)]) -> StoreResult<Vec<Option<SentRow>>> {
        let snapshot = self.database.snapshot();
        let from_ms = self.sent_from.ms();
        let sent = |&(room, sender, client_id): &(RoomId, UserId, ClientId)| {
            let row =
                self.get(&snapshot, &self.sent_ids, key::sent(room, sender, client_id), value::decode_sent);
            Ok(row?.filter(|row| row.at_ms >= from_ms))
        };
        ids.iter().map(sent).collect()
    }

    pub(super) fn disk_bytes(&self) -> StoreResult<u64> {
        self.database.disk_space().map_err(|e| self.failed(e))
    }

    pub(super) fn room_row(&self, from: &impl Readable, room: RoomId) -> StoreResult<Option<RoomRow>> {
        self.get(from, &self.rooms, key::room(room), value::decode_room)
    }

    pub(super) fn member_columns(
        &self,
        from: &impl Readable,
        room: RoomId,
        user: UserId,
    ) -> StoreResult<Option<MemberColumns>> {
        self.get(from, &self.members, key::member(room, user.get()), value::decode_member)
    }

    fn get<T>(
        &self,
        from: &impl Readable,
        table: &Keyspace,
        key: impl AsRef<[u8]>,
        decode: impl FnOnce(&[u8]) -> Option<T>,
    ) -> StoreResult<Option<T>> {
        let bytes = from.get(table, key).map_err(|e| self.failed(e))?;
        bytes.map(|bytes| decode(&bytes).ok_or_else(|| self.corrupt(table.name()))).transpose()
    }

    pub(super) fn failed(&self, error: fjall::Error) -> StoreError {
        super::open::failed(&self.dir, error)
    }

    fn corrupt(&self, table: &str) -> StoreError {
        StoreError::Corrupt(format!("{}: a row of {table} does not decode", self.dir.display()))
    }
}
