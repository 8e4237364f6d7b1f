//! The log takes at most `log_bytes_max` on disk. Reached, it refuses; trimmed, whole segments go and it takes again.

use std::path::Path;

use carillon_gateway::log::{AppendError, FileLog, FileLogConfig, Log};

use crate::harness::{SEGMENT_BYTES, at, batch, config, large, open_on, read_after};
use crate::sim_disk::SimDisk;

#[tokio::test]
async fn at_the_limit_it_refuses_until_it_is_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for position in 1..=3 {
        log.append(vec![large(0, position, 3000)]).await.unwrap();
    }
    assert_eq!(log.append(vec![large(0, 4, 3000)]).await, Err(AppendError::Full));
    assert_eq!(log.status().bytes_on_disk, 3 * SEGMENT_BYTES);

    log.trim(&at(1));
    log.append(vec![large(0, 4, 3000)]).await.unwrap();
    assert_eq!(read_after(&log, at(1)).len(), 3);
}

#[tokio::test]
async fn archived_segments_are_deleted_and_the_last_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let log = FileLog::open(config(dir.path())).unwrap();
    for position in 1..=20 {
        log.append(vec![large(0, position, 2800)]).await.unwrap();
    }
    log.trim(&at(20));
    log.append(vec![]).await.unwrap();
    assert_eq!(log.status().segments, 1);
    drop(log);
    // The one after it may have been made ready.
    let left = segments(dir.path());
    assert_eq!(left.first().map(String::as_str), Some("00000000000000000020.log"));
    assert!(left.len() <= 2, "{left:?}");
    assert_eq!(open(dir.path()).last(), at(20));
}

#[tokio::test]
async fn however_much_waits_no_segment_grows_too_large() {
    let disk = SimDisk::default();
    let log = open_on(&disk).unwrap();
    let held = disk.hold_syncs();
    let waiting: Vec<_> = (1..=200).map(|position| log.append(vec![batch(0, position)])).collect();
    drop(held);
    for append in waiting {
        append.await.unwrap();
    }
    assert!(log.status().segments >= 4);
    drop(log);
    assert!(disk.names().iter().all(|name| disk.bytes(name).len() as u64 == SEGMENT_BYTES));
}

#[tokio::test]
async fn a_trim_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for position in 1..=3 {
        log.append(vec![large(0, position, 3000)]).await.unwrap();
    }
    log.trim(&at(2));
    log.trim(&at(0));
    log.append(vec![large(0, 4, 3000)]).await.unwrap();
}

fn open(dir: &Path) -> FileLog {
    FileLog::open(FileLogConfig { log_bytes_max: 3 * SEGMENT_BYTES, ..config(dir) }).unwrap()
}

fn segments(dir: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".log")).collect()
}
