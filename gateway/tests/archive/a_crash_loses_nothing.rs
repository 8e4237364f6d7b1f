//! The archiver dies between any two calls of the store, and the store keeps what was persisted and any number of the calls
//! after that. Started again it repeats some of the log, and the store is as if nothing had happened.

use std::path::Path;
use std::sync::Arc;

use carillon_gateway::log::MemoryLog;
use carillon_storage::MemoryStore;

use crate::failing_store::FailingStore;
use crate::harness::{append, archive, empty_log, history, log_with_history, open, told};

#[tokio::test]
async fn whatever_the_store_kept() {
    let expected = {
        let store = Arc::new(MemoryStore::new());
        archive(&log_with_history().await, store.clone()).await;
        told(&*store).await
    };
    for persisted in 0..=history().len() {
        for kept in 0..=history().len() - persisted {
            let (log, store) = crashed(persisted, kept).await;
            archive(&log, store.clone()).await;
            assert_eq!(told(&*store).await, expected, "{persisted} persisted, {kept} kept");
            assert_eq!(told(&store.crash()).await, expected, "{persisted} persisted, {kept} kept");
        }
    }
}

/// What a crash leaves after so many batches were persisted, all were applied, and so many of those were kept.
async fn crashed(persisted: usize, kept: usize) -> (Arc<MemoryLog>, Arc<MemoryStore>) {
    let (log, store) = (empty_log(), Arc::new(FailingStore::default()));
    for (done, records) in history().into_iter().enumerate() {
        append(&log, 1, records).await;
        store.set(false, done >= persisted);
        let opened = open(&log, store.clone(), Path::new("/nowhere")).await;
        assert_eq!(opened.is_ok(), done < persisted);
    }
    (log, Arc::new(store.inner.crash_keeping(kept)))
}
