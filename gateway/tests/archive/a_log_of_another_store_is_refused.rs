//! A store and a log that do not belong together would lose messages in silence, so that is an error at the start.

use std::path::Path;
use std::sync::Arc;

use carillon_storage::MemoryStore;

use crate::harness::{archive, empty_log, log_with_history, open};

#[tokio::test]
async fn the_log_is_gone_and_the_store_is_not() {
    let store = Arc::new(MemoryStore::new());
    archive(&log_with_history().await, store.clone()).await;
    let said = open(&empty_log(), store, Path::new("/nowhere")).await.err().unwrap().to_string();
    assert!(said.contains("partition 1 was archived up to 8, but the log ends at 0"), "{said}");
}

#[tokio::test]
async fn the_store_is_an_old_copy() {
    let log = log_with_history().await;
    archive(&log, Arc::new(MemoryStore::new())).await;
    let said =
        open(&log, Arc::new(MemoryStore::new()), Path::new("/nowhere")).await.err().unwrap().to_string();
    assert!(said.contains("partition 1 was archived up to 0, but the log begins after 8"), "{said}");
}
