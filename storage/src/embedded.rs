//! The store on local disk: the default, and all that a single node needs.
//!
//! Tables are keyspaces of one fjall database. One thread owns all writing, so that changes take effect in the
//! order in which they were asked for, a row can be read, merged and written back without a lock, and no
//! caller's thread waits for a disk. Reads run on the runtime's blocking threads, each from one snapshot: a
//! reader sees an [`apply`](Store::apply) wholly or not at all. `docs/storage.md` draws the keys.
//!
//! It does not replicate, and it does not recover by itself from a disk that refused a write: after that every
//! write fails until the process is started again.

mod buffer;
mod expiry;
mod journal;
mod key;
mod open;
mod tables;
mod value;
mod writer;

use std::path::Path;
use std::sync::Arc;

use carillon_protocol::{ClientId, RoomId, UserId};
use futures_util::future::BoxFuture;

use crate::{
    Change, MemberRow, Partition, Positions, RoomHeads, RoomRow, SentRow, Store, StoreError, StoreResult,
    StoredEvent,
};
use tables::Tables;
use writer::{Job, Writer};

/// Blocks that are kept decompressed, unless one says otherwise. Recent history is served from the homes' memory, so
/// this is for older pages, lists of rooms and cold rooms; past it, reads cost a look into the kernel's page cache.
pub const CACHE_BYTES: u64 = 16 << 20;

/// A [`Store`] in a folder of the local disk.
pub struct EmbeddedStore {
    // Before `tables`: the writer stops first, then the folder is let go.
    writer: Writer,
    tables: Arc<Tables>,
}

impl EmbeddedStore {
    /// Opens the store in that folder, or makes one. Blocks while it reads the journals again: about a
    /// second for every hundred megabytes that were written last.
    ///
    /// One process at a time may hold a folder; the store is let go when it is dropped and its last read ended.
    pub fn open(dir: &Path) -> StoreResult<Self> {
        Self::open_with_cache(dir, CACHE_BYTES)
    }

    /// The same, with a cache of so many bytes instead of [`CACHE_BYTES`].
    pub fn open_with_cache(dir: &Path, cache_bytes: u64) -> StoreResult<Self> {
        let tables = Arc::new(open::open(dir, cache_bytes)?);
        let writer = Writer::start(Arc::clone(&tables))?;
        Ok(Self { writer, tables })
    }

    /// Bytes on disk, journals included.
    pub fn disk_bytes(&self) -> BoxFuture<'_, StoreResult<u64>> {
        self.read(Tables::disk_bytes)
    }

    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Tables) -> StoreResult<T> + Send + 'static,
    ) -> BoxFuture<'_, StoreResult<T>> {
        let tables = Arc::clone(&self.tables);
        Box::pin(async move {
            let reading = tokio::task::spawn_blocking(move || read(&tables));
            reading.await.unwrap_or_else(|failed| Err(read_failed(&failed)))
        })
    }
}

fn read_failed(failed: &tokio::task::JoinError) -> StoreError {
    if failed.is_panic() {
        StoreError::Corrupt("a read stopped half-way on data it did not expect".into())
    } else {
        StoreError::Unavailable("the node is shutting down".into())
    }
}

impl Store for EmbeddedStore {
    fn apply(&self, changes: Vec<Change>, archived: Vec<(Partition, u64)>) -> BoxFuture<'_, StoreResult<()>> {
        self.writer.run(Job::Apply { changes, archived })
    }

    fn persist(&self) -> BoxFuture<'_, StoreResult<()>> {
        self.writer.run(Job::Persist)
    }

    fn archived(&self, partitions: Partition) -> BoxFuture<'_, StoreResult<Positions>> {
        self.read(move |tables| tables.archived(partitions))
    }

    fn room(&self, room: RoomId) -> BoxFuture<'_, StoreResult<Option<RoomRow>>> {
        self.read(move |tables| tables.room(room))
    }

    fn room_heads(&self, user: UserId, rooms: Vec<RoomId>) -> BoxFuture<'_, StoreResult<RoomHeads>> {
        self.read(move |tables| tables.room_heads(user, &rooms))
    }

    fn members(&self, room: RoomId, after: u64, limit: usize) -> BoxFuture<'_, StoreResult<Vec<MemberRow>>> {
        self.read(move |tables| tables.members(room, after, limit))
    }

    fn user_rooms(
        &self,
        user: UserId,
        after: Option<RoomId>,
        limit: usize,
    ) -> BoxFuture<'_, StoreResult<Vec<RoomId>>> {
        self.read(move |tables| tables.user_rooms(user, after, limit))
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
        self.read(move |tables| tables.sent(&ids))
    }

    fn expire_sent(&self, before_ms: u64) -> BoxFuture<'_, StoreResult<()>> {
        self.writer.run(Job::ExpireSent { before_ms })
    }
}
