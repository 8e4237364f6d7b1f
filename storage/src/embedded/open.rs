//! Opening a folder: the lock, the first creation, the tuning, and what to say when it fails.
//!
//! ```text
//! <dir>/lock          held by the process that has the store open
//! <dir>/tables/       the database
//! <dir>/tables.new/   a database whose creation a crash interrupted; removed
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use fjall::compaction::filter::Factory;
use fjall::config::{BlockSizePolicy, FilterPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, LsmError, PersistMode};

use super::CACHE_BYTES;
use super::expiry::SentFrom;
use super::tables::Tables;
use super::{journal, value};
use crate::{StoreError, StoreResult};

/// The layout of keys and values. Raise it when they change, and convert.
const FORMAT: u64 = 1;
pub(super) const FORMAT_KEY: &str = "format";
pub(super) const SENT_FROM_KEY: &str = "sent_from_ms";

const META: &str = "meta";
const EVENTS: &str = "events";
const ROOMS: &str = "rooms";
const MEMBERS: &str = "members";
const ROOMS_BY_USER: &str = "rooms_by_user";
const SENT_IDS: &str = "sent_ids";
const ARCHIVED: &str = "archived";
const TABLES: [&str; 7] = [META, EVENTS, ROOMS, MEMBERS, ROOMS_BY_USER, SENT_IDS, ARCHIVED];

/// The least that fjall allows. Past it, tables that were rarely written are flushed so that old journals can go.
const JOURNALS_BYTES: u64 = 128 << 20;

/// Files kept open: connections need the process's descriptors more.
const OPEN_FILES: usize = 128;

/// One thread writes buffers out and compacts. With more, fjall keeps one of them spinning while another compacts.
const WORKER_THREADS: usize = 1;

/// Events are read in runs, so larger blocks cost nothing and compress better.
const EVENT_BLOCK_BYTES: u32 = 16 << 10;

pub(super) fn open(dir: &Path, cache_bytes: u64) -> StoreResult<Tables> {
    // fjall asserts where a database's files contradict each other; a wrong byte on disk must not end the process.
    let opened = catch_unwind(AssertUnwindSafe(|| open_locked(dir, cache_bytes)));
    opened.unwrap_or_else(|_| Err(restore(dir, "its files contradict each other")))
}

fn open_locked(dir: &Path, cache_bytes: u64) -> StoreResult<Tables> {
    let lock = lock(dir)?;
    let home = dir.join("tables");
    if !home.try_exists().map_err(|e| failed(dir, e.into()))? {
        create(dir, &home)?;
    }
    check_files(dir, &home)?;
    journal::mend(&home).map_err(|e| failed(dir, e.into()))?;
    open_tables(dir, &home, lock, cache_bytes)
}

fn lock(dir: &Path) -> StoreResult<File> {
    let unwritable = |e: io::Error| {
        let dir = dir.display();
        StoreError::Unavailable(format!("{dir}: {e}; choose a folder that this user can write to"))
    };
    fs::create_dir_all(dir).map_err(unwritable)?;
    let lock = File::options().create(true).truncate(false).write(true).open(dir.join("lock"));
    let lock = lock.map_err(unwritable)?;
    lock.try_lock().map_err(|e| match e {
        TryLockError::WouldBlock => in_use(dir),
        TryLockError::Error(e) => unwritable(e),
    })?;
    Ok(lock)
}

/// Makes the database beside its place and moves it there, so that one that exists is whole: fjall does not open
/// what a crash left of a creation.
fn create(dir: &Path, home: &Path) -> StoreResult<()> {
    let new = dir.join("tables.new");
    create_at(&new).map_err(|e| failed(dir, e))?;
    let moved = fs::rename(&new, home).and_then(|()| File::open(dir)?.sync_all());
    moved.map_err(|e| failed(dir, e.into()))
}

fn create_at(new: &Path) -> fjall::Result<()> {
    if new.try_exists()? {
        fs::remove_dir_all(new)?;
    }
    let database = open_database(new, &SentFrom::default(), CACHE_BYTES)?;
    for name in TABLES {
        keyspace(&database, name)?;
    }
    keyspace(&database, META)?.insert(FORMAT_KEY, FORMAT.to_be_bytes())?;
    database.persist(PersistMode::SyncAll)
}

/// fjall takes a database without its marker, and a table without its own, for one whose creation was interrupted,
/// and deletes it. Here none ever is.
fn check_files(dir: &Path, home: &Path) -> StoreResult<()> {
    let tables = (0..=TABLES.len()).map(|number| format!("keyspaces/{number}/current"));
    for file in tables.chain(["version".into()]) {
        if !home.join(&file).try_exists().map_err(|e| failed(dir, e.into()))? {
            return Err(restore(dir, &format!("tables/{file} is missing")));
        }
    }
    Ok(())
}

fn open_tables(dir: &Path, home: &Path, lock: File, cache_bytes: u64) -> StoreResult<Tables> {
    let sent_from = SentFrom::default();
    let database = open_database(home, &sent_from, cache_bytes).map_err(|e| failed(dir, e))?;
    let known = database.list_keyspace_names();
    let table = |name: &str| match known.iter().any(|known| **known == *name) {
        true => keyspace(&database, name).map_err(|e| failed(dir, e)),
        false => Err(restore(dir, &format!("table {name} is missing"))),
    };
    let meta = table(META)?;
    check_format(dir, meta_number(dir, &meta, FORMAT_KEY)?)?;
    sent_from.advance(meta_number(dir, &meta, SENT_FROM_KEY)?.unwrap_or(0));
    Ok(Tables {
        events: table(EVENTS)?,
        rooms: table(ROOMS)?,
        members: table(MEMBERS)?,
        rooms_by_user: table(ROOMS_BY_USER)?,
        sent_ids: table(SENT_IDS)?,
        archived: table(ARCHIVED)?,
        meta,
        sent_from,
        dir: dir.to_path_buf(),
        database,
        _lock: lock,
    })
}

fn open_database(at: &Path, sent_from: &SentFrom, cache_bytes: u64) -> fjall::Result<Database> {
    let sent_from = sent_from.clone();
    Database::builder(at)
        .cache_size(cache_bytes)
        .max_journaling_size(JOURNALS_BYTES)
        .max_cached_files(Some(OPEN_FILES))
        .worker_threads(WORKER_THREADS)
        .with_compaction_filter_factories(Arc::new(move |name| {
            (name == SENT_IDS).then(|| Arc::new(sent_from.clone()) as Arc<dyn Factory>)
        }))
        .open()
}

/// Opens a table. Its options are those of its creation.
fn keyspace(database: &Database, name: &str) -> fjall::Result<Keyspace> {
    database.keyspace(name, || {
        let options = KeyspaceCreateOptions::default();
        match name {
            // Only ever read in runs: a filter would be memory for nothing.
            EVENTS => options
                .data_block_size_policy(BlockSizePolicy::all(EVENT_BLOCK_BYTES))
                .filter_policy(FilterPolicy::disabled()),
            ROOMS_BY_USER => options.filter_policy(FilterPolicy::disabled()),
            // What is looked up is nearly always there, so the last level, nine tenths of the rows, needs none.
            ROOMS | MEMBERS => options.expect_point_read_hits(true),
            _ => options,
        }
    })
}

fn meta_number(dir: &Path, meta: &Keyspace, key: &str) -> StoreResult<Option<u64>> {
    let bytes = meta.get(key).map_err(|e| failed(dir, e))?;
    let number = bytes.map(|bytes| value::decode_number(&bytes));
    number
        .map(|number| number.ok_or_else(|| restore(dir, "a setting of its own does not decode")))
        .transpose()
}

fn check_format(dir: &Path, format: Option<u64>) -> StoreResult<()> {
    match format {
        Some(FORMAT) => Ok(()),
        None => Err(restore(dir, "it does not say which format it has")),
        Some(other) => Err(StoreError::Corrupt(format!(
            "{}: written in format {other}, this version reads format {FORMAT}; run the version that wrote it",
            dir.display()
        ))),
    }
}

/// What a failure of the database means to an operator: where, what, and what to do.
pub(super) fn failed(dir: &Path, error: fjall::Error) -> StoreError {
    match error {
        fjall::Error::Io(e) | fjall::Error::Storage(LsmError::Io(e)) => io_failed(dir, &e),
        fjall::Error::Locked => in_use(dir),
        fjall::Error::Poisoned => StoreError::Unavailable(format!(
            "{}: an earlier write failed; see that the disk has room and is sound, then restart the node",
            dir.display()
        )),
        other => restore(dir, &format!("{other:?}")),
    }
}

fn io_failed(dir: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            restore(dir, &error.to_string())
        }
        _ => StoreError::Unavailable(format!("{}: {error}; see that the disk has room", dir.display())),
    }
}

fn in_use(dir: &Path) -> StoreError {
    StoreError::Unavailable(format!(
        "{}: in use by another process; stop it, or give this node a folder of its own",
        dir.display()
    ))
}

fn restore(dir: &Path, what: &str) -> StoreError {
    StoreError::Corrupt(format!("{}: {what}; restore the folder from a backup", dir.display()))
}
