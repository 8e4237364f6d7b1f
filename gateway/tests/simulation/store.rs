//! A store that takes a moment for each call, so that what is read in several is read while others write.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use carillon_protocol::{ClientId, RoomId, UserId};
use carillon_storage::{
    Change, MemberRow, MemoryStore, Partition, Positions, RoomHeads, RoomRow, SentRow, Store, StoreResult,
    StoredEvent,
};
use futures_util::future::BoxFuture;

#[derive(Clone, Default)]
pub struct SlowStore(pub Arc<MemoryStore>);

/// Ready the second time it is asked.
async fn a_moment() {
    let mut was_asked = false;
    poll_fn(|_| if std::mem::replace(&mut was_asked, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

impl Store for SlowStore {
    fn apply(&self, changes: Vec<Change>, archived: Vec<(Partition, u64)>) -> BoxFuture<'_, StoreResult<()>> {
        self.0.apply(changes, archived)
    }

    fn persist(&self) -> BoxFuture<'_, StoreResult<()>> {
        self.0.persist()
    }

    fn archived(&self, partitions: Partition) -> BoxFuture<'_, StoreResult<Positions>> {
        self.0.archived(partitions)
    }

    fn room(&self, room: RoomId) -> BoxFuture<'_, StoreResult<Option<RoomRow>>> {
        Box::pin(async move {
            a_moment().await;
            self.0.room(room).await
        })
    }

    fn room_heads(&self, user: UserId, rooms: Vec<RoomId>) -> BoxFuture<'_, StoreResult<RoomHeads>> {
        self.0.room_heads(user, rooms)
    }

    fn members(&self, room: RoomId, after: u64, limit: usize) -> BoxFuture<'_, StoreResult<Vec<MemberRow>>> {
        Box::pin(async move {
            a_moment().await;
            self.0.members(room, after, limit).await
        })
    }

    fn user_rooms(
        &self,
        user: UserId,
        after: Option<RoomId>,
        limit: usize,
    ) -> BoxFuture<'_, StoreResult<Vec<RoomId>>> {
        self.0.user_rooms(user, after, limit)
    }

    fn events(
        &self,
        room: RoomId,
        from_seq: u64,
        limit: usize,
        bytes_max: usize,
    ) -> BoxFuture<'_, StoreResult<Vec<StoredEvent>>> {
        Box::pin(async move {
            a_moment().await;
            self.0.events(room, from_seq, limit, bytes_max).await
        })
    }

    fn sent(&self, ids: Vec<(RoomId, UserId, ClientId)>) -> BoxFuture<'_, StoreResult<Vec<Option<SentRow>>>> {
        Box::pin(async move {
            a_moment().await;
            self.0.sent(ids).await
        })
    }

    fn expire_sent(&self, before_ms: u64) -> BoxFuture<'_, StoreResult<()>> {
        self.0.expire_sent(before_ms)
    }
}
