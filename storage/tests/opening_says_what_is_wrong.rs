//! A folder that cannot be opened is answered with one line: which folder, what is wrong, what to do.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::fs;
use std::path::{Path, PathBuf};

use carillon_storage::{EmbeddedStore, Store, StoreError};
use harness::*;
use tempfile::TempDir;

fn refused(dir: &Path) -> StoreError {
    let Err(error) = EmbeddedStore::open(dir) else { panic!("{} opened", dir.display()) };
    let text = error.to_string();
    assert!(text.contains(&dir.display().to_string()) && text.lines().count() == 1, "{text}");
    error
}

#[test]
fn a_folder_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let first = EmbeddedStore::open(dir.path()).unwrap();
    let error = refused(dir.path());
    assert!(
        matches!(&error, StoreError::Unavailable(text) if text.contains("in use by another process")),
        "{error}"
    );
    drop(first);
    EmbeddedStore::open(dir.path()).unwrap();
}

#[test]
fn a_place_where_no_folder_can_be() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let error = refused(&dir.path().join("file/store"));
    assert!(matches!(&error, StoreError::Unavailable(text) if text.contains("can write to")), "{error}");
}

#[test]
fn a_creation_that_was_interrupted_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("tables.new/keyspaces")).unwrap();
    fs::write(dir.path().join("tables.new/0.jnl"), "").unwrap();
    EmbeddedStore::open(dir.path()).unwrap();
}

/// Enough, at a mebibyte each, that the buffer of events is written out once.
const EVENTS: u64 = 20;

/// A store whose rows lie in a table file and in the journal.
async fn written() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    for seq in 1..=EVENTS {
        let bytes = vec![0xa5; 1 << 20];
        let event = carillon_storage::Change::Event { room: room(1), seq, bytes, changed_seq: seq };
        store.apply(vec![event, head(room(1), seq)], vec![(0, seq)]).await.unwrap();
    }
    store.persist().await.unwrap();
    drop(store);
    dir
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

/// Whichever file is cut short or overwritten, nothing panics: the store either refuses to open, or says so when
/// it reads, or (the file was not needed) gives back what was written.
#[tokio::test]
async fn a_damaged_file_is_an_error_and_never_a_wrong_answer() {
    let whole = written().await;
    let mut errors = 0;
    for file in files(whole.path()) {
        let name = file.strip_prefix(whole.path()).unwrap();
        // What a journal's end lost cannot be told from what a crash never wrote.
        if name.extension().is_some_and(|extension| extension == "jnl") {
            continue;
        }
        for damage in [cut_short as fn(&Path), overwrite, remove] {
            let dir = tempfile::tempdir().unwrap();
            copy_folder(whole.path(), dir.path());
            damage(&dir.path().join(name));
            errors += u32::from(!reads_right_or_fails(dir.path()).await);
        }
    }
    assert!(errors > 0, "no damage was noticed at all");
}

fn cut_short(file: &Path) {
    let file = fs::File::options().write(true).open(file).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

fn overwrite(file: &Path) {
    let length = fs::metadata(file).unwrap().len();
    fs::write(file, vec![0xff; length as usize]).unwrap();
}

fn remove(file: &Path) {
    fs::remove_file(file).unwrap();
}

async fn reads_right_or_fails(dir: &Path) -> bool {
    let Ok(store) = EmbeddedStore::open(dir) else { return false };
    let (Ok(archived), Ok(room_row)) = (store.archived(1).await, store.room(room(1)).await) else {
        return false;
    };
    let archived = archived[0];
    assert_eq!(room_row.map_or(0, |row| row.head_seq), archived);
    for seq in 1..=archived {
        let Ok(events) = store.events(room(1), seq, 1, 1).await else { return false };
        assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), [seq]);
        assert!(events[0].bytes.iter().all(|&byte| byte == 0xa5), "event {seq} has other bytes");
    }
    archived == EVENTS
}
