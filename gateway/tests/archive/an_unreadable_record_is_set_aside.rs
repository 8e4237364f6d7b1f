//! A record that cannot be archived is kept, with the reason, where an operator finds it; the records around it arrive.

use std::path::Path;
use std::sync::Arc;

use carillon_gateway::log::Record;
use carillon_storage::MemoryStore;

use crate::harness::{append, empty_log, encoded, event, message, open, told};

const NAME: &str = "00001-00000000000000000001-0001";

#[tokio::test]
async fn of_a_newer_version() {
    let record = [9, 2, 1, 1];
    let reason = "record kind 9 is unknown: a newer version of Carillon wrote this\n";
    assert_eq!(set_aside(&record, 2).await, (record.to_vec(), reason.to_owned()));
}

#[tokio::test]
async fn with_an_event_that_is_none() {
    let record = encoded(Record::Event { member_count: 1, event: b"no event" });
    let (bytes, reason) = set_aside(&record, 2).await;
    assert_eq!(bytes, record);
    assert!(reason.starts_with("the event in the record cannot be read: "), "{reason}");
}

#[tokio::test]
async fn cut_short_with_its_whole_batch() {
    let record = [1, 50, 1];
    let batch = [&before()[..], &record, &after()].concat();
    assert_eq!(set_aside(&record, 1).await, (batch, "the record is cut short\n".to_owned()));
}

#[tokio::test]
async fn not_at_all_while_it_cannot_be_kept() {
    let (log, store) = (empty_log(), Arc::new(MemoryStore::new()));
    append(&log, 1, vec![9, 0]).await;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("a file");
    std::fs::write(&folder, "").unwrap();
    assert!(open(&log, store.clone(), &folder).await.is_err());
    assert_eq!(told(&*store).await.archived, [0, 0, 0, 0]);
    std::fs::remove_file(&folder).unwrap();
    open(&log, store.clone(), &folder).await.unwrap();
    assert_eq!(told(&*store).await.archived, [0, 1, 0, 0]);
}

fn before() -> Vec<u8> {
    event(1, (1, 1, 1), message("a", 1))
}

fn after() -> Vec<u8> {
    event(1, (2, 2, 1), message("b", 2))
}

/// Archives a batch with the record between two messages, and a batch after it. So many events of the first batch must
/// arrive and the one of the second; returns the bytes and the reason that were kept.
async fn set_aside(record: &[u8], arrive: u64) -> (Vec<u8>, String) {
    let (log, store) = (empty_log(), Arc::new(MemoryStore::new()));
    append(&log, 1, [&before()[..], record, &after()].concat()).await;
    append(&log, 2, event(1, (3, 3, 1), message("c", 3))).await;
    let dir = tempfile::tempdir().unwrap();
    let archiver = open(&log, store.clone(), dir.path()).await.unwrap();
    assert_eq!(archiver.status().borrow().dead_letters, 1);
    let seqs: Vec<_> = told(&*store).await.events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=arrive).chain([3]).collect::<Vec<_>>());
    kept(dir.path())
}

fn kept(folder: &Path) -> (Vec<u8>, String) {
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 2);
    let bytes = std::fs::read(folder.join(format!("{NAME}.record"))).unwrap();
    (bytes, std::fs::read_to_string(folder.join(format!("{NAME}.reason"))).unwrap())
}
