//! An event that the store refuses for what is in it is set aside with the reason, one that says nothing stands in its place, and the rest
//! goes on. Where the store refuses also what has nothing in it, nothing is given up, and all of it arrives later.

use std::sync::Arc;

use carillon_gateway::follow::archive::ArchiveError;
use carillon_gateway::follow::dead_letters::DeadLetters;
use carillon_protocol::EventBody;
use carillon_protocol::binary::decode_event;
use carillon_storage::{Change, Store};

use crate::failing_store::FailingStore;
use crate::harness::{append, empty_log, event, message, open, told};

/// More than a chunk has room to find at once, around one that is all right.
async fn log() -> Arc<carillon_gateway::log::MemoryLog> {
    let log = empty_log();
    let created = EventBody::RoomCreated { name: "Chess".into(), members: vec![] };
    append(&log, 1, event(1, (1, 0, 1), created)).await;
    append(&log, 1, [event(1, (2, 1, 1), message("a", 1)), event(1, (3, 2, 1), message("bad", 2))].concat())
        .await;
    append(&log, 1, event(1, (4, 3, 1), message("bad as well", 3))).await;
    append(&log, 2, event(1, (5, 4, 1), message("e", 4))).await;
    log
}

fn is_bad(change: &Change) -> bool {
    matches!(change, Change::Event { bytes, .. } if bytes.windows(3).any(|three| three == b"bad"))
}

#[tokio::test]
async fn where_its_content_is_refused() {
    let (log, store, dir) = (log().await, Arc::new(FailingStore::default()), tempfile::tempdir().unwrap());
    store.refuse(is_bad);
    let archiver = open(&log, store.clone(), dir.path()).await.unwrap();
    assert_eq!(archiver.status().borrow().dead_letters, 2);
    assert_eq!(archiver.status().borrow().failures_in_a_row, 0);
    let told = told(&*store).await;
    assert_eq!(told.archived, [0, 3, 1, 0]);
    let room = told.room.unwrap();
    assert_eq!((room.head_seq, room.head_ordinal), (5, 4));
    let events: Vec<_> = told.events.iter().map(|event| decode_event(&event.bytes).unwrap()).collect();
    assert!(events.iter().map(|event| event.seq).eq(1..=5));
    let shown = events.iter().map(|event| match &event.body {
        EventBody::Message { text, .. } => &**text,
        EventBody::Unknown { number: 255 } => "nothing",
        _ => "the beginning",
    });
    let shown: Vec<_> = shown.collect();
    assert_eq!(shown, ["the beginning", "a", "nothing", "nothing", "e"]);

    let folder = DeadLetters::new(dir.path());
    let letters = folder.all().unwrap();
    let places: Vec<_> = letters.iter().map(|it| (it.partition, it.position, it.index)).collect();
    assert_eq!(places, [(1, 2, 1), (1, 3, 0)]);
    assert!(letters[0].to_string().ends_with("by user 1: not with that in it"), "{}", letters[0]);
    assert!(folder.retry(&letters[0], &*store).await.is_err());
    assert_eq!(folder.all().unwrap().len(), 2);
    store.refuse(|_| false);
    folder.retry(&letters[0], &*store).await.unwrap();
    assert_eq!(folder.all().unwrap(), letters[1..]);
    assert!(store.events(crate::harness::ROOM, 3, 1, 1000).await.unwrap()[0].bytes.ends_with(b"bad"));
}

#[tokio::test]
async fn and_not_where_everything_is() {
    let (log, store, dir) = (log().await, Arc::new(FailingStore::default()), tempfile::tempdir().unwrap());
    store.refuse(|change| matches!(change, Change::Event { .. }));
    let Err(ArchiveError::Store(error)) = open(&log, store.clone(), dir.path()).await else {
        panic!("it opened")
    };
    assert!(error.to_string().contains("a row without content is refused as well"), "{error}");
    assert_eq!(told(&*store).await.archived, [0, 0, 0, 0]);
    store.refuse(|_| false);
    let archiver = open(&log, store.clone(), dir.path()).await.unwrap();
    assert_eq!(archiver.status().borrow().dead_letters, 0);
    assert_eq!(told(&*store).await.events.len(), 5);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
