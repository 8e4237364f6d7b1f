//! A store that can be out of order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use arc_swap::ArcSwapOption;
use carillon_protocol::{ClientId, RoomId, UserId};
use carillon_storage::{
    Change, MemberRow, MemoryStore, Partition, Positions, RoomHeads, RoomRow, SentRow, Store, StoreError,
    StoreResult, StoredEvent, Unfit,
};
use futures_util::FutureExt;
use futures_util::future::{self, BoxFuture};

#[derive(Default)]
pub struct FailingStore {
    pub inner: MemoryStore,
    apply_fails: AtomicBool,
    persist_fails: AtomicBool,
    /// How often something failed.
    pub failures: AtomicU32,
    /// Whether it was last told to get on.
    pub hurries: AtomicBool,
    /// What is refused for itself.
    refuses: ArcSwapOption<fn(&Change) -> bool>,
}

impl FailingStore {
    pub fn set(&self, apply_fails: bool, persist_fails: bool) {
        self.apply_fails.store(apply_fails, Ordering::SeqCst);
        self.persist_fails.store(persist_fails, Ordering::SeqCst);
    }

    pub fn refuse(&self, is_refused: fn(&Change) -> bool) {
        self.refuses.store(Some(Arc::new(is_refused)));
    }

    fn unless<'a>(
        &'a self,
        fails: &AtomicBool,
        call: impl FnOnce(&'a MemoryStore) -> BoxFuture<'a, StoreResult<()>>,
    ) -> BoxFuture<'a, StoreResult<()>> {
        if fails.load(Ordering::SeqCst) {
            self.failures.fetch_add(1, Ordering::SeqCst);
            return future::ready(Err(StoreError::Unavailable("out of order".to_owned()))).boxed();
        }
        call(&self.inner)
    }
}

impl Store for FailingStore {
    fn apply(&self, changes: Vec<Change>, archived: Vec<(Partition, u64)>) -> BoxFuture<'_, StoreResult<()>> {
        let refuses = self.refuses.load_full();
        let is_refused = |change: &Change| refuses.as_ref().is_some_and(|refuses| refuses(change));
        let (refused, taken): (Vec<_>, Vec<_>) = changes.into_iter().partition(is_refused);
        if !refused.is_empty() {
            let unfit = |change| Unfit { change, reason: "not with that in it".to_owned() };
            let unfit = refused.into_iter().map(unfit).collect();
            return async move {
                self.inner.apply(taken, Vec::new()).await?;
                Err(StoreError::Unfit(unfit))
            }
            .boxed();
        }
        self.unless(&self.apply_fails, |inner| inner.apply(taken, archived))
    }

    fn hurry(&self, is_urgent: bool) {
        self.hurries.store(is_urgent, Ordering::SeqCst);
    }

    fn persist(&self) -> BoxFuture<'_, StoreResult<()>> {
        self.unless(&self.persist_fails, |inner| inner.persist())
    }

    fn archived(&self, partitions: Partition) -> BoxFuture<'_, StoreResult<Positions>> {
        self.inner.archived(partitions)
    }

    fn room(&self, room: RoomId) -> BoxFuture<'_, StoreResult<Option<RoomRow>>> {
        self.inner.room(room)
    }

    fn room_heads(&self, user: UserId, rooms: Vec<RoomId>) -> BoxFuture<'_, StoreResult<RoomHeads>> {
        self.inner.room_heads(user, rooms)
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
