//! What waits for the disk is bounded: a group too many is refused at once, and the log goes on.

use std::sync::Arc;

use carillon_gateway::log::{AppendError, Batch, FileLog, FileLogConfig, Log};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::harness::{batch, config, large, open_on};
use crate::sim_disk::SimDisk;

#[tokio::test]
async fn with_many_groups() {
    let disk = SimDisk::default();
    let log = open_on(&disk).unwrap();
    for _round in 0..2 {
        fill_and_empty(&disk, &log, 5000, |position| batch(0, position)).await;
    }
}

#[tokio::test]
async fn with_many_bytes() {
    let disk = SimDisk::default();
    let config = FileLogConfig { segment_bytes: 8 << 20, ..config("nowhere".as_ref()) };
    let log = FileLog::open_on(Arc::new(disk.clone()), config).unwrap();
    for _round in 0..2 {
        fill_and_empty(&disk, &log, 15, |position| large(0, position, 6 << 20)).await;
    }
}

/// Appends to a disk that makes nothing durable until a group is refused, which must be before `limit`; then lets it.
async fn fill_and_empty(disk: &SimDisk, log: &FileLog, limit: usize, batch: impl Fn(u64) -> Batch) {
    let held = disk.hold_syncs();
    let last = log.last()[0];
    let mut waiting: Vec<BoxFuture<'static, Result<(), AppendError>>> = Vec::new();
    let refused = loop {
        let mut append = log.append(vec![batch(last + waiting.len() as u64 + 1)]);
        if let Some(outcome) = append.as_mut().now_or_never() {
            break outcome.unwrap_err();
        }
        waiting.push(append);
        assert!(waiting.len() < limit);
    };
    assert!(refused == AppendError::Busy && refused.come_back());

    drop(held);
    let taken = waiting.len() as u64;
    assert!(taken > 5);
    for append in waiting {
        append.await.unwrap();
    }
    assert_eq!(log.last()[0], last + taken);
}
