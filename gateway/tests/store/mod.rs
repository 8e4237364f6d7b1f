//! A store in memory that is not always what a store should be: what is wrong with it is said once, here everything else is.
#![allow(dead_code, reason = "each program of tests uses its part")]

use std::ops::Deref;

use carillon_protocol::{ClientId, RoomId, UserId};
use carillon_storage::{
    Change, MemberRow, MemoryStore, Partition, Positions, RoomHeads, RoomRow, SentRow, Store, StoreResult,
    StoredEvent,
};
use futures_util::future::{self, BoxFuture, FutureExt};

/// What a store is asked.
pub enum Read<'a> {
    Room,
    Heads(&'a [RoomId]),
    Members,
    Events,
    Sent,
}

/// What is wrong with a store; nothing, where a test does not say otherwise.
pub trait Weakness: Send + Sync + 'static {
    /// Comes before an answer, or instead of it.
    fn before<'a>(&'a self, _read: Read<'a>) -> BoxFuture<'a, StoreResult<()>> {
        future::ready(Ok(())).boxed()
    }

    fn apply<'a>(
        &'a self,
        store: &'a MemoryStore,
        changes: Vec<Change>,
        archived: Vec<(Partition, u64)>,
    ) -> BoxFuture<'a, StoreResult<()>> {
        store.apply(changes, archived)
    }

    fn persist<'a>(&'a self, store: &'a MemoryStore) -> BoxFuture<'a, StoreResult<()>> {
        store.persist()
    }

    fn hurry(&self, _is_urgent: bool) {}
}

/// A store in memory with a weakness.
#[derive(Default)]
pub struct WeakStore<W> {
    pub inner: MemoryStore,
    pub weakness: W,
}

impl<W> Deref for WeakStore<W> {
    type Target = W;

    fn deref(&self) -> &W {
        &self.weakness
    }
}

impl<W: Weakness> Store for WeakStore<W> {
    fn apply(&self, changes: Vec<Change>, archived: Vec<(Partition, u64)>) -> BoxFuture<'_, StoreResult<()>> {
        self.weakness.apply(&self.inner, changes, archived)
    }

    fn hurry(&self, is_urgent: bool) {
        self.weakness.hurry(is_urgent);
    }

    fn persist(&self) -> BoxFuture<'_, StoreResult<()>> {
        self.weakness.persist(&self.inner)
    }

    fn archived(&self, partitions: Partition) -> BoxFuture<'_, StoreResult<Positions>> {
        self.inner.archived(partitions)
    }

    fn room(&self, room: RoomId) -> BoxFuture<'_, StoreResult<Option<RoomRow>>> {
        Box::pin(async move {
            self.weakness.before(Read::Room).await?;
            self.inner.room(room).await
        })
    }

    fn room_heads(&self, user: UserId, rooms: Vec<RoomId>) -> BoxFuture<'_, StoreResult<RoomHeads>> {
        Box::pin(async move {
            self.weakness.before(Read::Heads(&rooms)).await?;
            self.inner.room_heads(user, rooms).await
        })
    }

    fn members(&self, room: RoomId, after: u64, limit: usize) -> BoxFuture<'_, StoreResult<Vec<MemberRow>>> {
        Box::pin(async move {
            self.weakness.before(Read::Members).await?;
            self.inner.members(room, after, limit).await
        })
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
        Box::pin(async move {
            self.weakness.before(Read::Events).await?;
            self.inner.events(room, from_seq, limit, bytes_max).await
        })
    }

    fn sent(&self, ids: Vec<(RoomId, UserId, ClientId)>) -> BoxFuture<'_, StoreResult<Vec<Option<SentRow>>>> {
        Box::pin(async move {
            self.weakness.before(Read::Sent).await?;
            self.inner.sent(ids).await
        })
    }

    fn expire_sent(&self, before_ms: u64) -> BoxFuture<'_, StoreResult<()>> {
        self.inner.expire_sent(before_ms)
    }
}
