//! Writing a chunk: rows grouped by partition, as batches, as many at once as the server takes well.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use scylla::errors::ExecutionError;
use scylla::statement::batch::{Batch, BatchType};

use super::row::{Key, Row, add_rows, failed, int, may_be_unfit};
use super::status::{Ended, Kind};
use super::{Inner, read::SENT_FROM};
use crate::{Change, Partition, StoreError, StoreResult, Unfit};

/// Rows of one partition that go in one batch. More would gain little and make each answer later.
const BATCH_ROWS: usize = 100;
/// Bytes after which a batch is full: half of what ScyllaDB warns of. A larger row goes alone.
const BATCH_BYTES: usize = 64 << 10;

/// After so many rows that are refused a call looks for no more; the next one finds those.
const UNFIT_MAX: usize = 16;

/// Some rows of one partition.
struct Group {
    key: Key,
    rows: Vec<Row>,
    bytes: usize,
}

impl Inner {
    /// Writes the rows, and when all of them are acknowledged the positions. What fails leaves some of the rows written, which
    /// trying again writes again.
    pub(super) async fn apply(
        &self,
        changes: Vec<Change>,
        archived: Vec<(Partition, u64)>,
    ) -> StoreResult<()> {
        let unfit = self.write_all(groups(changes)).await?;
        if !unfit.is_empty() {
            return Err(StoreError::Unfit(unfit));
        }
        self.write_positions(archived).await
    }

    /// Writes all rows but those that are refused by themselves, which it gives back: some, where they are many.
    async fn write_all(&self, groups: Vec<Group>) -> StoreResult<Vec<Unfit>> {
        let mut waiting = groups.into_iter();
        let mut unfit = Vec::new();
        let mut under_way = FuturesUnordered::new();
        loop {
            while under_way.len() < self.pace.limit()
                && unfit.len() < UNFIT_MAX
                && let Some(group) = waiting.next()
            {
                under_way.push(self.write_group(group));
            }
            match under_way.next().await {
                Some(written) => unfit.extend(written?),
                None => return Ok(unfit),
            }
        }
    }

    /// One request. Where that is refused for what may be one of its rows it is halved, until that row is alone.
    async fn write_group(&self, group: Group) -> StoreResult<Vec<Unfit>> {
        let mut unfit = Vec::new();
        let mut parts = vec![group.rows];
        while let Some(mut rows) = parts.pop() {
            match self.write_rows(group.key, &rows).await {
                Ok(()) => {}
                Err(error) if !may_be_unfit(&error) => return Err(failed(error)),
                Err(_) if rows.len() > 1 => {
                    let rest = rows.split_off(rows.len() / 2);
                    parts.extend([rest, rows]);
                }
                Err(error) => match rows.pop().and_then(Row::into_change) {
                    Some(change) => unfit.push(Unfit { change, reason: error.to_string() }),
                    // Numbers alone are never what is wrong.
                    None => return Err(StoreError::Refused(error.to_string())),
                },
            }
            if unfit.len() >= UNFIT_MAX {
                break;
            }
        }
        Ok(unfit)
    }

    /// To a server that has the partition, which the driver knows from the first row.
    async fn write_rows(&self, key: Key, rows: &[Row]) -> Result<(), ExecutionError> {
        let (count, began) = (rows.len(), Instant::now());
        let under_way = self.pace.begin();
        let written = match rows {
            [row] => self.session.execute_unpaged(self.statements.of(row), row).await,
            _ => {
                let mut batch = Batch::new(BatchType::Unlogged);
                batch.set_is_idempotent(true);
                rows.iter().for_each(|row| batch.append_statement(self.statements.of(row).clone()));
                self.session.batch(&batch, rows).await
            }
        };
        let ended = Ended::of(&written, count);
        let took = began.elapsed();
        drop(under_way);
        self.pace.note(self.stats.note(key.kind(), took, ended));
        let rest = self.pace.rest(took);
        if !rest.is_zero() {
            tokio::time::sleep(rest).await;
        }
        written.map(drop)
    }

    async fn write_positions(&self, archived: Vec<(Partition, u64)>) -> StoreResult<()> {
        let mut writes: FuturesUnordered<_> = archived
            .into_iter()
            .map(|(partition, position)| self.write_position(partition, position))
            .collect();
        while let Some(written) = writes.next().await {
            written?;
        }
        Ok(())
    }

    async fn write_position(&self, partition: Partition, position: u64) -> StoreResult<()> {
        let (began, position) = (Instant::now(), int(position));
        let values = (i32::from(partition), position, position);
        let written = self.session.execute_unpaged(&self.statements.archived, values).await;
        self.stats.note(Kind::WriteArchived, began.elapsed(), Ended::of(&written, 1));
        written.map(drop).map_err(failed)
    }

    pub(super) async fn expire_sent(&self, before_ms: u64) -> StoreResult<()> {
        if before_ms <= self.sent_from_ms.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.set_fact(SENT_FROM.to_owned(), before_ms).await?;
        self.sent_from_ms.fetch_max(before_ms, Ordering::Relaxed);
        Ok(())
    }
}

impl Inner {
    /// Of two numbers of one name the greater stays.
    pub(super) async fn set_fact(&self, name: String, value: u64) -> StoreResult<()> {
        let values = (name, int(value), int(value));
        self.session.execute_unpaged(&self.statements.fact, values).await.map(drop).map_err(failed)
    }
}

/// The rows of each partition together, in as many batches as they need.
fn groups(changes: Vec<Change>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut filling: HashMap<Key, usize> = HashMap::new();
    for change in changes {
        add_rows(change, |key, row| {
            let bytes = row.bytes();
            let open = filling.get(&key).copied().filter(|&at| groups[at].has_room_for(bytes));
            let at = open.unwrap_or(groups.len());
            if open.is_none() {
                groups.push(Group { key, rows: Vec::new(), bytes: 0 });
                filling.insert(key, at);
            }
            groups[at].rows.push(row);
            groups[at].bytes += bytes;
        });
    }
    groups
}

impl Group {
    fn has_room_for(&self, bytes: usize) -> bool {
        self.rows.len() < BATCH_ROWS && self.bytes + bytes <= BATCH_BYTES
    }
}
