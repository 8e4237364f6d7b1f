//! A store whose answers about how a room stands wait until a test lets them go, or are that it cannot tell.

use std::sync::Arc;

use carillon_protocol::{ClientId, RoomId, UserId};
use carillon_storage::{
    Change, MemberRow, MemoryStore, Partition, Positions, RoomHeads, RoomRow, SentRow, Store, StoreError,
    StoreResult, StoredEvent,
};
use futures_util::future::BoxFuture;
use tokio::sync::watch;

pub struct WaitingStore {
    inner: MemoryStore,
    kept: watch::Receiver<Kept>,
}

/// What is said of rooms.
#[derive(Clone, Copy, Debug)]
pub enum Kept {
    /// All there is.
    Nothing,
    /// Nothing of this one, until there is something else here.
    Waiting(RoomId),
    /// That this one cannot be read.
    Failing(RoomId),
}

impl WaitingStore {
    /// Says of rooms what `kept` has last.
    pub fn new(kept: watch::Receiver<Kept>) -> Arc<Self> {
        Arc::new(Self { inner: MemoryStore::new(), kept })
    }
}

impl Store for WaitingStore {
    fn apply(&self, changes: Vec<Change>, archived: Vec<(Partition, u64)>) -> BoxFuture<'_, StoreResult<()>> {
        self.inner.apply(changes, archived)
    }

    fn persist(&self) -> BoxFuture<'_, StoreResult<()>> {
        self.inner.persist()
    }

    fn archived(&self, partitions: Partition) -> BoxFuture<'_, StoreResult<Positions>> {
        self.inner.archived(partitions)
    }

    fn room(&self, room: RoomId) -> BoxFuture<'_, StoreResult<Option<RoomRow>>> {
        self.inner.room(room)
    }

    fn room_heads(&self, user: UserId, rooms: Vec<RoomId>) -> BoxFuture<'_, StoreResult<RoomHeads>> {
        let mut kept = self.kept.clone();
        Box::pin(async move {
            // A test that has ended keeps nothing.
            let _ = kept.wait_for(|kept| !matches!(kept, Kept::Waiting(room) if rooms.contains(room))).await;
            if matches!(*self.kept.borrow(), Kept::Failing(room) if rooms.contains(&room)) {
                return Err(StoreError::Unavailable("a room cannot be read".to_owned()));
            }
            self.inner.room_heads(user, rooms).await
        })
    }

    fn members(&self, room: RoomId, after: u64, limit: usize) -> BoxFuture<'_, StoreResult<Vec<MemberRow>>> {
        self.inner.members(room, after, limit)
    }

    fn user_rooms(
        &self,
        user: UserId,
        after: Option<RoomId>,
        limit: usize,
    ) -> BoxFuture<'_, StoreResult<Vec<RoomId>>> {
        self.inner.user_rooms(user, after, limit)
    }

    fn events(
        &self,
        room: RoomId,
        from_seq: u64,
        limit: usize,
        bytes_max: usize,
    ) -> BoxFuture<'_, StoreResult<Vec<StoredEvent>>> {
        self.inner.events(room, from_seq, limit, bytes_max)
    }

    fn sent(&self, ids: Vec<(RoomId, UserId, ClientId)>) -> BoxFuture<'_, StoreResult<Vec<Option<SentRow>>>> {
        self.inner.sent(ids)
    }

    fn expire_sent(&self, before_ms: u64) -> BoxFuture<'_, StoreResult<()>> {
        self.inner.expire_sent(before_ms)
    }
}
