//! While the store takes nothing the log keeps everything, the status says so, and afterwards nothing is missing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use carillon_gateway::follow::lag::{Lag, Pending};
use carillon_gateway::log::Log;
use carillon_storage::Store;
use tokio::sync::oneshot;

use crate::failing_store::FailingStore;
use crate::harness::{append, empty_log, history, open, told};

#[tokio::test]
async fn nothing_is_skipped() {
    let (log, store) = (empty_log(), Arc::new(FailingStore::default()));
    let archiver = open(&log, store.clone(), Path::new("/nowhere")).await.unwrap();
    let (mut applied, mut status) = (archiver.applied(), archiver.status());
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(archiver.run(async move { _ = stopped.await }));

    store.set(true, false);
    for records in history() {
        append(&log, 1, records).await;
    }
    let failing = status.wait_for(|status| status.failures_in_a_row >= 2).await.unwrap().clone();
    // The oldest is the first event, at 1001.
    let now = Lag::now(&failing, &log.last(), &vec![0; 4], 61_001);
    let Pending { batches, events, oldest_ms } = failing.pending;
    assert!(batches > 0 && events >= batches && oldest_ms == Some(1001), "{:?}", failing.pending);
    assert!((8..=11).contains(&now.events) && now.batches == 8 && now.ms == 60_000, "{now:?}");
    assert!(failing.lag_batches > 0 && failing.last_error.unwrap().contains("out of order"));
    assert_eq!(told(&*store).await.events, []);

    store.set(false, false);
    applied.wait_for(|applied| applied[1] == 8).await.unwrap();
    let well = status.wait_for(|status| status.failures_in_a_row == 0 && status.lag_batches == 0).await;
    assert_eq!(well.unwrap().pending, Pending::default());
    assert_eq!(told(&*store).await.events.len(), 9);
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_cannot_be_persisted_stays_in_the_log() {
    let (log, store) = (empty_log(), Arc::new(FailingStore::default()));
    let mut archiver = open(&log, store.clone(), Path::new("/nowhere")).await.unwrap();
    append(&log, 1, history().remove(0)).await;
    store.set(false, true);
    archiver.catch_up().await.unwrap_err();
    assert_eq!(archiver.status().borrow().unpersisted_bytes, log.status().bytes_on_disk);
    store.set(false, false);
    archiver.catch_up().await.unwrap();
    assert_eq!((archiver.status().borrow().unpersisted_bytes, log.status().bytes_on_disk), (0, 0));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_the_store() {
    let (log, store) = (empty_log(), Arc::new(FailingStore::default()));
    let archiver = open(&log, store.clone(), Path::new("/nowhere")).await.unwrap();
    store.set(true, true);
    append(&log, 1, history().remove(0)).await;
    assert!(archiver.run(std::future::ready(())).await.is_err());
    assert!(store.failures.load(Ordering::SeqCst) <= 3);
    assert_eq!(store.archived(4).await.unwrap(), [0, 0, 0, 0]);
    assert_eq!(log.tail(vec![0; 4]).unwrap().read(1).unwrap().len(), 1);
}
