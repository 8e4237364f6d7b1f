//! The store at scale: ScyllaDB, or Apache Cassandra.
//!
//! Tables are those of `schema.cql`. Nothing is read before it is written and there are no transactions; what makes
//! that safe is the timestamp of every write:
//!
//! - A write of a room's or a member's columns carries the seq of the event that made it ([`Change`] names it). The server keeps the
//!   column with the greatest timestamp, so the greatest seq wins in whatever order writes arrive. Seqs are dense and
//!   the same for everyone, because one log orders them: two homes never give the same seq to different events.
//! - Somebody who leaves at seq n deletes the row as of n: what was written before goes, also when it arrives later, and a join
//!   after n stays. A marker lies after the join it belongs to, so its timestamp does too.
//! - A client id is written as of the moment it was sent, and an archived position as of itself.
//!
//! So a chunk may be written twice, by two nodes at once, half, or by an old home that wakes up late: the rows end as the log has
//! them, and the position never moves back. (Tombstones are kept for the ten days of `gc_grace_seconds`. A node that sleeps longer
//! than that with a chunk in its hands could bring back a membership; the rows of a home start from the log's last record.)
//!
//! What it does not promise: that a read sees an `apply` wholly. The archived position is written when every row it covers has been
//! acknowledged; readers who must not see half a chunk go by that.
//!
//! The driver runs on threads of its own ([`THREADS`]), so a shard that asks never does its work.

mod connect;
mod counters;
mod pace;
mod read;
mod row;
mod schema;
mod statements;
mod status;
mod tables;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use carillon_protocol::{ClientId, RoomId, UserId};
use futures_util::future::BoxFuture;
use scylla::client::session::Session;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use crate::{
    Change, MemberRow, Partition, Positions, RoomHeads, RoomRow, SentRow, Store, StoreError, StoreResult,
    StoredEvent,
};
use counters::CounterStatements;
pub use counters::CountersReport;
use pace::Pace;
pub use schema::{Schema, apply as apply_schema, check as check_schema, is_keyspace_name};
use statements::Statements;
use status::Stats;
pub use status::{CqlStatus, KindStatus};

/// Threads for the driver: encoding, sockets, routing.
const THREADS: usize = 2;

/// How many replicas must have done what was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Consistency {
    /// One, anywhere.
    One,
    /// One of this data centre.
    LocalOne,
    /// A majority of all.
    Quorum,
    /// A majority of this data centre: what it reads it has always written.
    #[default]
    LocalQuorum,
    /// All of them.
    All,
}

/// Where the servers are and how they are talked to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CqlConfig {
    /// `host:port` of some of them; the others are found through these.
    pub contact_points: Vec<String>,
    /// The keyspace; counters are in the one with `_counters` behind it.
    pub keyspace: String,
    /// Who we are, and the password.
    pub login: Option<(String, String)>,
    /// Asked first; without one all are asked alike.
    pub datacenter: Option<String>,
    /// For reads and writes.
    pub consistency: Consistency,
    /// How long one request may take.
    pub timeout: Duration,
    /// After so long a read is asked of another replica as well; zero for never.
    pub speculative: Duration,
    /// Certificates of authorities, in PEM, that the servers' certificates are checked with; none for no TLS.
    pub tls_ca: Option<PathBuf>,
}

impl Default for CqlConfig {
    fn default() -> Self {
        Self {
            contact_points: Vec::new(),
            keyspace: "carillon".to_owned(),
            login: None,
            datacenter: None,
            consistency: Consistency::default(),
            timeout: Duration::from_secs(5),
            speculative: Duration::ZERO,
            tls_ca: None,
        }
    }
}

/// A [`Store`] in ScyllaDB or Apache Cassandra.
pub struct CqlStore {
    inner: Arc<Inner>,
    /// Taken when the store is dropped.
    runtime: Option<Runtime>,
}

/// What requests share.
struct Inner {
    session: Session,
    statements: Statements,
    counters: CounterStatements,
    pace: Pace,
    stats: Stats,
    /// Calls that write go one after the other, in the order in which they were first polled.
    writing: Mutex<()>,
    /// Client ids sent before this moment are forgotten; only ever grows.
    sent_from_ms: AtomicU64,
}

impl CqlStore {
    /// Connects. The tables must be there as `schema.cql` has them: otherwise it fails and says what differs.
    pub async fn open(config: CqlConfig) -> StoreResult<Self> {
        let runtime = connect::runtime()?;
        let opening = runtime.spawn(Inner::open(config));
        match opening.await {
            Ok(Ok(inner)) => Ok(Self { inner: Arc::new(inner), runtime: Some(runtime) }),
            failed => {
                runtime.shutdown_background();
                Err(failed.map_or_else(stopped, |opened| opened.err().unwrap_or_else(|| stopped(()))))
            }
        }
    }

    /// How it is going, since it was opened.
    pub fn status(&self) -> CqlStatus {
        self.inner.stats.status(&self.inner.pace)
    }

    /// Runs on the driver's threads, whoever waits for it: also to its end when they no longer do.
    fn run<'a, T: Send + 'static>(
        &'a self,
        work: impl Future<Output = StoreResult<T>> + Send + 'static,
    ) -> BoxFuture<'a, StoreResult<T>> {
        Box::pin(async move {
            let Some(runtime) = &self.runtime else { return Err(stopped(())) };
            runtime.spawn(work).await.unwrap_or_else(|failed| Err(stopped(failed)))
        })
    }
}

impl Drop for CqlStore {
    fn drop(&mut self) {
        // Waiting here would panic where the store is dropped by a task.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn stopped<T>(_: T) -> StoreError {
    StoreError::Unavailable("the driver has stopped; restart the node".into())
}

impl Inner {
    async fn open(config: CqlConfig) -> StoreResult<Self> {
        let session = connect::connect(&config).await?;
        schema::check_session(&session, &Schema::new(&config.keyspace, 1)?).await?;
        let statements = Statements::prepare(&session, &config).await?;
        let counters = CounterStatements::prepare(&session, &config).await?;
        let inner = Self {
            session,
            statements,
            counters,
            pace: Pace::new(),
            stats: Stats::default(),
            writing: Mutex::new(()),
            sent_from_ms: AtomicU64::new(0),
        };
        let sent_from_ms = inner.fact(read::SENT_FROM.to_owned()).await?;
        inner.sent_from_ms.store(sent_from_ms, Ordering::Relaxed);
        Ok(inner)
    }
}

impl Store for CqlStore {
    fn apply(&self, changes: Vec<Change>, archived: Vec<(Partition, u64)>) -> BoxFuture<'_, StoreResult<()>> {
        // The place in the queue is taken when this is first polled, by whoever polls it.
        Box::pin(async move {
            let _turn = self.inner.writing.lock().await;
            let inner = Arc::clone(&self.inner);
            self.run(async move { inner.apply(changes, archived).await }).await
        })
    }

    fn hurry(&self, is_urgent: bool) {
        self.inner.pace.hurry(is_urgent);
    }

    /// Waits for what is being written. What the server has acknowledged it keeps, as its commit log is configured.
    fn persist(&self) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(async move {
            let _turn = self.inner.writing.lock().await;
            Ok(())
        })
    }

    fn archived(&self, partitions: Partition) -> BoxFuture<'_, StoreResult<Positions>> {
        let inner = Arc::clone(&self.inner);
        self.run(async move { inner.archived(partitions).await })
    }

    fn room(&self, room: RoomId) -> BoxFuture<'_, StoreResult<Option<RoomRow>>> {
        let inner = Arc::clone(&self.inner);
        self.run(async move { inner.room(room).await })
    }

    fn room_heads(&self, user: UserId, rooms: Vec<RoomId>) -> BoxFuture<'_, StoreResult<RoomHeads>> {
        let inner = Arc::clone(&self.inner);
        self.run(async move { inner.room_heads(user, rooms).await })
    }

    fn members(&self, room: RoomId, after: u64, limit: usize) -> BoxFuture<'_, StoreResult<Vec<MemberRow>>> {
        let inner = Arc::clone(&self.inner);
        self.run(async move { inner.members(room, after, limit).await })
    }

    fn user_rooms(
        &self,
        user: UserId,
        after: Option<RoomId>,
        limit: usize,
    ) -> BoxFuture<'_, StoreResult<Vec<RoomId>>> {
        let inner = Arc::clone(&self.inner);
        self.run(async move { inner.user_rooms(user, after, limit).await })
    }

    fn events(
        &self,
        room: RoomId,
        from_seq: u64,
        limit: usize,
        bytes_max: usize,
    ) -> BoxFuture<'_, StoreResult<Vec<StoredEvent>>> {
        let inner = Arc::clone(&self.inner);
        self.run(async move { inner.events(room, from_seq, limit, bytes_max).await })
    }

    fn sent(&self, ids: Vec<(RoomId, UserId, ClientId)>) -> BoxFuture<'_, StoreResult<Vec<Option<SentRow>>>> {
        let inner = Arc::clone(&self.inner);
        self.run(async move { inner.sent(ids).await })
    }

    fn expire_sent(&self, before_ms: u64) -> BoxFuture<'_, StoreResult<()>> {
        let inner = Arc::clone(&self.inner);
        self.run(async move { inner.expire_sent(before_ms).await })
    }
}
