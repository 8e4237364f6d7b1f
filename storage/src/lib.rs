//! Carillon's long-term tables.
//!
//! One trait, [`Store`], and one list of properties (`tests/properties.rs`) that every implementation passes.
//! Nobody waits here on the path of a message: the log makes a send durable, and the archiver brings it here
//! afterwards. So every write is an idempotent upsert that may be repeated from the log, and a store's
//! promise is small: what [`Store::apply`] took is visible at once, and is still there after a crash once
//! [`Store::persist`] returned.

mod change;
mod cql;
mod embedded;
mod memory;
mod merge;
mod page;
mod row;

pub use change::Change;
pub use cql::{
    Consistency, CountersReport, CqlConfig, CqlStatus, CqlStore, KindStatus, Schema, apply_schema,
    check_schema, is_keyspace_name,
};
pub use embedded::{CACHE_BYTES, EmbeddedStore};
pub use memory::MemoryStore;
pub use row::{MemberRow, RoomRow, SentRow, StoredEvent};

use carillon_protocol::{ClientId, RoomId, UserId};
use futures_util::future::BoxFuture;

/// Events of one room are kept in buckets of so many, so that no partition of the `messages` table grows for ever.
pub const BUCKET_EVENTS: u64 = 8192;

/// How long a client id is remembered after its send: 7 days, in milliseconds.
pub const SENT_ID_TTL_MS: u64 = 7 * 24 * 3600 * 1000;

/// A partition of rooms and users: `hash(id) % partitions`.
pub type Partition = u16;

/// How far each partition's log has been archived: the position of its last archived batch, 0 for none.
pub type Positions = Vec<u64>;

/// Rooms as one user sees them, in the order asked for: nothing where there is no such room or they are not a member.
pub type RoomHeads = Vec<Option<(RoomRow, MemberRow)>>;

/// Why a store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk, the network or the server failed; the same call may succeed later.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What was asked is not possible there, until somebody changes settings, tables or rights.
    #[error("the store refuses: {0}")]
    Refused(String),
    /// Some rows are refused, each for itself, and all others of the call were written; the archived positions were not. The
    /// reason may be what is in the rows (one is too large, say) or, as for [`Refused`](Self::Refused), tables and rights:
    /// a row with the same key and next to nothing in it tells.
    #[error("the store refuses {} of the rows; the first: {}", .0.len(), .0.first().map_or("", |unfit| &unfit.reason))]
    Unfit(Vec<Unfit>),
    /// What is stored is not what was written; somebody has to look.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
}

/// A change that a store refuses by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unfit {
    /// It.
    pub change: Change,
    /// What the store says.
    pub reason: String,
}

/// What a store answers.
pub type StoreResult<T> = Result<T, StoreError>;

/// Long-term tables of rooms, members, markers and events.
///
/// Calls may run at the same time. Those that write take effect in the order in which they were first polled;
/// only one archiver makes them, or one for each share of the partitions. Where the store is on this node's disk or
/// in its memory, a read sees an [`Store::apply`] wholly or not at all; elsewhere the archived position is what comes last.
pub trait Store: Send + Sync + 'static {
    /// Writes rows and, with or after them (never before), how far each partition is now archived.
    ///
    /// Fails with [`StoreError::Unfit`] where rows are refused by themselves.
    ///
    /// Repeating it changes nothing, and neither does applying any suffix of what was applied again. Heads,
    /// markers and archived positions never move back while that happens; names, previews and memberships may
    /// be seen as they were for a moment, for their changes do not say when they were made.
    fn apply(&self, changes: Vec<Change>, archived: Vec<(Partition, u64)>) -> BoxFuture<'_, StoreResult<()>>;

    /// Whether [`apply`](Self::apply) should get on at the cost of reads: the log fills. Until then a store may let reads go first.
    fn hurry(&self, _is_urgent: bool) {}

    /// Makes everything applied so far survive a crash. Only then may the log be trimmed.
    fn persist(&self) -> BoxFuture<'_, StoreResult<()>>;

    /// How far each partition is archived, after a crash too: at most what was applied, at least what was persisted.
    fn archived(&self, partitions: Partition) -> BoxFuture<'_, StoreResult<Positions>>;

    /// The room's own row; a room is known from the first change that names it.
    fn room(&self, room: RoomId) -> BoxFuture<'_, StoreResult<Option<RoomRow>>>;

    /// The rows of several rooms and of one user's membership in each, in the order asked for:
    /// nothing where there is no such room or the user is not a member.
    fn room_heads(&self, user: UserId, rooms: Vec<RoomId>) -> BoxFuture<'_, StoreResult<RoomHeads>>;

    /// Members with ids above `after` (all from 0), in order of id, at most `limit`.
    fn members(&self, room: RoomId, after: u64, limit: usize) -> BoxFuture<'_, StoreResult<Vec<MemberRow>>>;

    /// The user's rooms in order of room id, after `after`, at most `limit`.
    fn user_rooms(
        &self,
        user: UserId,
        after: Option<RoomId>,
        limit: usize,
    ) -> BoxFuture<'_, StoreResult<Vec<RoomId>>>;

    /// Events with seq from `from_seq` on, in order, at most `limit` and about `bytes_max` bytes (at least one event
    /// where there is one). Reads one or two buckets; a page may end early at a bucket's end only if it is not empty.
    fn events(
        &self,
        room: RoomId,
        from_seq: u64,
        limit: usize,
        bytes_max: usize,
    ) -> BoxFuture<'_, StoreResult<Vec<StoredEvent>>>;

    /// What was sent under these ids, in the order asked for; nothing where it was never sent, or longer ago than
    /// [`SENT_ID_TTL_MS`].
    fn sent(&self, ids: Vec<(RoomId, UserId, ClientId)>) -> BoxFuture<'_, StoreResult<Vec<Option<SentRow>>>>;

    /// Forgets client ids sent before `before_ms`, for good: such an id is not remembered when it is applied
    /// again either. Cheap enough to be called every hour.
    fn expire_sent(&self, before_ms: u64) -> BoxFuture<'_, StoreResult<()>>;
}
