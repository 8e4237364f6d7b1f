//! A running archiver makes the store durable from time to time, and only then lets the log forget; stopped, it leaves
//! nothing behind.

use std::sync::Arc;
use std::time::Duration;

use carillon_gateway::follow::archive::Archiver;
use carillon_gateway::follow::dead_letters::DeadLetters;
use carillon_gateway::log::Log;
use carillon_storage::MemoryStore;
use tokio::sync::oneshot;

use crate::harness::{append, empty_log, history, told};

#[tokio::test]
async fn while_it_runs_and_when_it_stops() {
    let (log, store) = (empty_log(), Arc::new(MemoryStore::new()));
    let interval = Duration::from_millis(1);
    let archiver =
        Archiver::open(log.clone(), store.clone(), DeadLetters::new("/nowhere"), interval).await.unwrap();
    let mut status = archiver.status();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(archiver.run(async move { _ = stopped.await }));

    let mut history = history();
    let last = history.pop().unwrap();
    for records in history {
        append(&log, 1, records).await;
    }
    status.wait_for(|status| status.batches == 7 && status.unpersisted_bytes == 0).await.unwrap();
    assert_eq!(log.status().bytes_on_disk, 0);
    assert_eq!(told(&store.crash()).await.archived, [0, 7, 0, 0]);

    append(&log, 1, last).await;
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    assert_eq!(log.status().bytes_on_disk, 0);
    assert_eq!(told(&store.crash()).await.archived, [0, 8, 0, 0]);
}

#[tokio::test]
async fn everything_at_once_when_it_is_opened() {
    let log = crate::harness::log_with_history().await;
    let store = Arc::new(MemoryStore::new());
    let never = Duration::from_secs(3600);
    let archiver =
        Archiver::open(log.clone(), store.clone(), DeadLetters::new("/nowhere"), never).await.unwrap();
    assert_eq!(*archiver.applied().borrow(), [0, 8, 0, 0]);
    assert_eq!(told(&store.crash()).await, told(&*store).await);
    assert_eq!(log.status().bytes_on_disk, 0);
}
