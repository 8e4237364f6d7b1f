//! The one thread that writes.
//!
//! It takes jobs in the order in which they were sent and answers each when it is done. At most [`QUEUE`] wait;
//! past that a sender waits to send.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use carillon_protocol::{RoomId, UserId};
use fjall::{Keyspace, OwnedWriteBatch, PersistMode, Slice, Snapshot};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::buffer::Buffers;
use super::key::{self, EventKey, SentKey};
use super::open::SENT_FROM_KEY;
use super::tables::Tables;
use super::value;
use crate::merge::{Joined, MemberColumns};
use crate::{Change, Partition, RoomRow, SentRow, StoreError, StoreResult};

/// Jobs that may wait for the thread.
const QUEUE: usize = 64;

/// Something to write.
pub(super) enum Job {
    Apply { changes: Vec<Change>, archived: Vec<(Partition, u64)> },
    Persist,
    ExpireSent { before_ms: u64 },
}

type Asked = (Job, oneshot::Sender<StoreResult<()>>);

/// The thread, and the way to it. Dropping it lets the thread finish what was asked and waits for that.
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Asked>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(tables: Arc<Tables>) -> StoreResult<Self> {
        let (jobs, asked) = mpsc::channel(QUEUE);
        let thread = thread::Builder::new()
            .name("store".into())
            .spawn(move || write_all(&tables, asked))
            .map_err(|e| StoreError::Unavailable(format!("no thread to write with: {e}")))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    pub(super) fn run(&self, job: Job) -> BoxFuture<'_, StoreResult<()>> {
        Box::pin(async move {
            let (done, answer) = oneshot::channel();
            let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
            jobs.send((job, done)).await.map_err(|_| stopped())?;
            answer.await.unwrap_or_else(|_| Err(stopped()))
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was printed, and everyone who waited was told.
            let _ = thread.join();
        }
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the thread that writes has stopped; restart the node".into())
}

fn write_all(tables: &Tables, mut asked: mpsc::Receiver<Asked>) {
    let mut buffers = Buffers::new(tables);
    while let Some((job, done)) = asked.blocking_recv() {
        let result = tables.write(job, &mut buffers);
        // Whoever asked may have gone.
        let _ = done.send(result);
    }
}

impl Tables {
    fn write(&self, job: Job, buffers: &mut Buffers<'_>) -> StoreResult<()> {
        match job {
            Job::Apply { changes, archived } => self.apply(changes, archived, buffers),
            Job::Persist => self.database.persist(PersistMode::SyncData).map_err(|e| self.failed(e)),
            Job::ExpireSent { before_ms } => self.expire_sent(before_ms),
        }
    }

    fn apply(
        &self,
        changes: Vec<Change>,
        archived: Vec<(Partition, u64)>,
        buffers: &mut Buffers<'_>,
    ) -> StoreResult<()> {
        buffers.wait_for_disk()?;
        let mut rows = Rows::new(self);
        for change in changes {
            rows.change(change)?;
        }
        for (partition, position) in archived {
            rows.archived(partition, position)?;
        }
        let batch = rows.into_batch(buffers);
        batch.commit().map_err(|e| self.failed(e))?;
        buffers.write_out_full()
    }

    fn expire_sent(&self, before_ms: u64) -> StoreResult<()> {
        if before_ms <= self.sent_from.ms() {
            return Ok(());
        }
        let written = self.meta.insert(SENT_FROM_KEY, before_ms.to_be_bytes());
        written.map_err(|e| self.failed(e))?;
        self.sent_from.advance(before_ms);
        Ok(())
    }
}

/// The rows that one call touches: each is read at most once, merged in memory and written once, however many
/// changes it takes. (A batch that held a key twice would leave it to fjall which of them counts.)
struct Rows<'a> {
    tables: &'a Tables,
    before: Snapshot,
    rooms: BTreeMap<RoomId, RoomRow>,
    members: BTreeMap<(RoomId, UserId), MemberColumns>,
    rooms_by_user: BTreeMap<(UserId, RoomId), bool>,
    events: BTreeMap<EventKey, Vec<u8>>,
    sent_ids: BTreeMap<SentKey, SentRow>,
    archived: BTreeMap<Partition, u64>,
}

impl<'a> Rows<'a> {
    fn new(tables: &'a Tables) -> Self {
        Self {
            tables,
            before: tables.database.snapshot(),
            rooms: BTreeMap::new(),
            members: BTreeMap::new(),
            rooms_by_user: BTreeMap::new(),
            events: BTreeMap::new(),
            sent_ids: BTreeMap::new(),
            archived: BTreeMap::new(),
        }
    }

    fn change(&mut self, change: Change) -> StoreResult<()> {
        match change {
            Change::Room { room, name, .. } => self.room(room)?.name = name,
            Change::Head { room, seq, ordinal, active_ms, member_count } => {
                self.room(room)?.merge_head(seq, ordinal, active_ms, member_count);
            }
            Change::Preview { room, sender, text, .. } => self.room(room)?.set_preview(sender, text),
            Change::Event { room, seq, bytes, .. } => {
                self.events.insert(key::event(room, seq), bytes);
            }
            Change::MemberJoined { room, user, role, seq, ordinal } => {
                self.member(room, user)?.merge_joined(Joined { role, seq, ordinal });
                self.rooms_by_user.insert((user, room), true);
            }
            Change::MemberGone { room, user, .. } => {
                self.members.insert((room, user), MemberColumns::default());
                self.rooms_by_user.insert((user, room), false);
            }
            Change::ReadMarker { room, user, seq, ordinal, at_ms } => {
                self.member(room, user)?.merge_read(seq, ordinal, at_ms);
            }
            Change::OwnSend { room, user, ordinal, .. } => self.member(room, user)?.merge_own(ordinal),
            Change::Sent { room, sender, client_id, row } => {
                self.sent_ids.insert(key::sent(room, sender, client_id), row);
            }
        }
        Ok(())
    }

    fn room(&mut self, room: RoomId) -> StoreResult<&mut RoomRow> {
        Ok(match self.rooms.entry(room) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(self.tables.room_row(&self.before, room)?.unwrap_or_default()),
        })
    }

    fn member(&mut self, room: RoomId, user: UserId) -> StoreResult<&mut MemberColumns> {
        Ok(match self.members.entry((room, user)) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                new.insert(self.tables.member_columns(&self.before, room, user)?.unwrap_or_default())
            }
        })
    }

    fn archived(&mut self, partition: Partition, position: u64) -> StoreResult<()> {
        let known = match self.archived.entry(partition) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(self.tables.position(&self.before, partition)?),
        };
        *known = position.max(*known);
        Ok(())
    }

    /// All of it as one batch, which takes effect and survives a crash as a whole.
    fn into_batch(self, buffers: &mut Buffers<'_>) -> OwnedWriteBatch {
        let tables = self.tables;
        let mut batch = Batch { batch: tables.database.batch(), buffers };
        for (room, row) in self.rooms {
            batch.put(&tables.rooms, key::room(room), value::encode_room(&row));
        }
        for ((room, user), columns) in self.members {
            let key = key::member(room, user.get());
            match columns == MemberColumns::default() {
                true => batch.remove(&tables.members, key),
                false => batch.put(&tables.members, key, value::encode_member(&columns)),
            }
        }
        for ((user, room), is_member) in self.rooms_by_user {
            let key = key::user_room(user, room);
            match is_member {
                true => batch.put(&tables.rooms_by_user, key, []),
                false => batch.remove(&tables.rooms_by_user, key),
            }
        }
        for (key, bytes) in self.events {
            batch.put(&tables.events, key, bytes);
        }
        for (key, row) in self.sent_ids {
            batch.put(&tables.sent_ids, key, value::encode_sent(&row));
        }
        for (partition, position) in self.archived {
            batch.put(&tables.archived, key::archived(partition), position.to_be_bytes());
        }
        batch.batch
    }
}

/// A batch that counts what it will put into buffers.
struct Batch<'a, 'b> {
    batch: OwnedWriteBatch,
    buffers: &'a mut Buffers<'b>,
}

impl Batch<'_, '_> {
    fn put(&mut self, table: &Keyspace, key: impl Into<Slice>, value: impl Into<Slice>) {
        let (key, value) = (key.into(), value.into());
        self.buffers.add(table, key.len() + value.len());
        self.batch.insert(table, key, value);
    }

    fn remove(&mut self, table: &Keyspace, key: impl Into<Slice>) {
        let key = key.into();
        self.buffers.add(table, key.len());
        self.batch.remove(table, key);
    }
}
