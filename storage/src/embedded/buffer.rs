//! How much the tables hold in memory, and when it is written out.
//!
//! fjall would decide this by itself, but it asks for it once more with every batch until its worker gets to it,
//! into a queue that the worker itself writes to; and it stops writers with loops that never end once its
//! flushing has failed. So the writer decides: a full buffer is handed over at once, and writes wait, for a time, while
//! too many are on their way to the disk.

use std::thread;
use std::time::Duration;

use fjall::{Keyspace, PersistMode};

use super::tables::Tables;
use crate::{StoreError, StoreResult};

/// What the table of events gathers in memory before it is written out. While the disk is behind, three times as
/// much is held.
const EVENTS_BYTES: usize = 16 << 20;

/// The same for each of the other tables, whose rows are small and often overwritten.
const ROWS_BYTES: usize = 8 << 20;

/// What an entry takes beside its key and value.
const ENTRY_BYTES: usize = 96;

/// Full buffers of one table that may wait for the disk before writes wait for them.
const FULL_MAX: usize = 2;

/// How often, and how many times, a write looks whether the disk has caught up: half a minute, then it fails.
const CATCH_UP_LOOK: Duration = Duration::from_millis(5);
const CATCH_UP_LOOKS: usize = 6_000;

/// The buffers of the tables that grow.
pub(super) struct Buffers<'a> {
    tables: &'a Tables,
    buffers: [Buffer<'a>; 5],
}

struct Buffer<'a> {
    table: &'a Keyspace,
    bytes: usize,
    bytes_max: usize,
}

impl<'a> Buffers<'a> {
    pub(super) fn new(tables: &'a Tables) -> Self {
        let buffer = |table, bytes_max| Buffer { table, bytes: 0, bytes_max };
        let buffers = [
            buffer(&tables.events, EVENTS_BYTES),
            buffer(&tables.rooms, ROWS_BYTES),
            buffer(&tables.members, ROWS_BYTES),
            buffer(&tables.rooms_by_user, ROWS_BYTES),
            buffer(&tables.sent_ids, ROWS_BYTES),
        ];
        Self { tables, buffers }
    }

    /// Counts an entry that is about to be written.
    pub(super) fn add(&mut self, table: &Keyspace, bytes: usize) {
        if let Some(buffer) = self.buffers.iter_mut().find(|buffer| buffer.table.id() == table.id()) {
            buffer.bytes += bytes + ENTRY_BYTES;
        }
    }

    /// Hands full buffers over to be written out.
    pub(super) fn write_out_full(&mut self) -> StoreResult<()> {
        for buffer in self.buffers.iter_mut().filter(|buffer| buffer.bytes >= buffer.bytes_max) {
            buffer.table.rotate_memtable().map_err(|e| self.tables.failed(e))?;
            buffer.bytes = 0;
        }
        Ok(())
    }

    /// Waits until no table has too many full buffers.
    pub(super) fn wait_for_disk(&self) -> StoreResult<()> {
        for _ in 0..CATCH_UP_LOOKS {
            if self.buffers.iter().all(|buffer| buffer.table.sealed_memtable_count() < FULL_MAX) {
                return Ok(());
            }
            // Says whether the flushing has failed: then there is nothing to wait for.
            self.tables.database.persist(PersistMode::Buffer).map_err(|e| self.tables.failed(e))?;
            thread::sleep(CATCH_UP_LOOK);
        }
        let dir = self.tables.dir.display();
        Err(StoreError::Unavailable(format!("{dir}: the disk is too slow for what is written")))
    }
}
