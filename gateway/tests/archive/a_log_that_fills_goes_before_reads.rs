//! The store is told to get on whatever reads take while a quarter of the log is used, and no longer when there is room again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use carillon_gateway::log::{Log, MemoryLog};

use crate::failing_store::FailingStore;
use crate::harness::{PARTITIONS, append, history, open};

#[tokio::test]
async fn until_it_is_empty() {
    let (log, store) = (Arc::new(MemoryLog::new(PARTITIONS, 2_000)), Arc::new(FailingStore::default()));
    let mut archiver = open(&log, store.clone(), Path::new("/nowhere")).await.unwrap();
    let hurries = || store.hurries.load(Ordering::SeqCst);
    let mut archive = async |count: usize| {
        for records in history().into_iter().cycle().take(count) {
            append(&log, 1, records).await;
        }
        let used_permille = log.status().used_permille;
        archiver.catch_up().await.unwrap();
        used_permille
    };
    assert!(archive(2).await < 250 && !hurries());
    let used_permille = archive(12).await;
    assert!(used_permille >= 250 && hurries(), "{used_permille}");
    assert!(archive(2).await < 250 && !hurries());
}
