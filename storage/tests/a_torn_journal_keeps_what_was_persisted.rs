//! The power goes: of what was written after the last persist, the disk holds the beginning, up to any byte, or
//! has a hole where a page was not written yet. What was persisted is there, and of the later calls as many as
//! come before the damage, each wholly or not at all.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use carillon_storage::{EmbeddedStore, Store};
use harness::*;
use tempfile::TempDir;

#[tokio::test]
async fn a_torn_journal_keeps_what_was_persisted() {
    let written = Written::new().await;
    let mut found = Vec::new();
    // A step that is prime to the sizes of records, so that every part of one is cut somewhere.
    for kept in written.unpersisted.clone().step_by(7).chain([written.unpersisted.end]) {
        found.push(written.batches_without(kept..written.journal.len()).await);
    }
    assert!(found.is_sorted(), "{found:?}");
    found.dedup();
    assert_eq!(found, [1, 2, 3]);
}

#[tokio::test]
async fn a_journal_with_a_hole_keeps_what_was_persisted() {
    let written = Written::new().await;
    let mut found = Vec::new();
    for hole in written.unpersisted.clone().step_by(13) {
        found.push(written.batches_without(hole..hole + 16).await);
    }
    found.sort_unstable();
    found.dedup();
    assert!(found.starts_with(&[1, 2]), "{found:?}");
}

/// A store with one batch persisted and two more applied, as files.
struct Written {
    dir: TempDir,
    journal: Vec<u8>,
    unpersisted: Range<usize>,
}

impl Written {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(dir.path()).unwrap();
        apply_batch(&store, 1).await;
        store.persist().await.unwrap();
        let persisted_bytes = text_bytes(&fs::read(journal(dir.path())).unwrap());
        apply_batch(&store, 2).await;
        apply_batch(&store, 3).await;
        let mut journal = fs::read(journal(dir.path())).unwrap();
        // The rest of the 64 MiB is zeroes.
        journal.truncate(1 << 16);
        let unpersisted = persisted_bytes..text_bytes(&journal);
        let left = tempfile::tempdir().unwrap();
        copy_folder(dir.path(), left.path());
        fs::write(self::journal(left.path()), &journal).unwrap();
        Self { dir: left, journal, unpersisted }
    }

    /// How many batches are found when the disk shows zeroes in that part of the journal.
    async fn batches_without(&self, lost: Range<usize>) -> u64 {
        let left = tempfile::tempdir().unwrap();
        copy_folder(self.dir.path(), left.path());
        let mut bytes = self.journal.clone();
        let end = lost.end.min(bytes.len());
        bytes[lost.start..end].fill(0);
        fs::write(journal(left.path()), bytes).unwrap();
        whole_batches(left.path()).await
    }
}

async fn apply_batch(store: &EmbeddedStore, n: u64) {
    let changes = vec![event(room(1), n), head(room(1), n), joined(room(1), user(n), n)];
    store.apply(changes, vec![(0, n)]).await.unwrap();
}

/// How far the store is, after looking that all its tables agree.
async fn whole_batches(dir: &Path) -> u64 {
    let store = EmbeddedStore::open(dir).unwrap();
    let archived = store.archived(1).await.unwrap()[0];
    let events = store.events(room(1), 1, 10, 1000).await.unwrap();
    assert!(events.iter().map(|event| event.seq).eq(1..=archived));
    assert_eq!(store.room(room(1)).await.unwrap().unwrap().head_seq, archived);
    assert_eq!(store.members(room(1), 0, 10).await.unwrap().len() as u64, archived);
    archived
}

fn journal(dir: &Path) -> PathBuf {
    dir.join("tables/0.jnl")
}

/// Where the journal's text ends; zeroes fill the file up.
fn text_bytes(journal: &[u8]) -> usize {
    journal.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}
