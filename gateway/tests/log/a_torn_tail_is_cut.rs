//! A crash may leave any part of the last group on disk. Opened again, the log has everything before that group, and
//! goes on as if it had never been written.

use carillon_gateway::log::Log;

use crate::harness::{at, batch, open_on, read_all};
use crate::sim_disk::SimDisk;

const SEGMENT: &str = "00000000000000000001.log";

#[tokio::test]
async fn cut_at_every_byte_with_zeroes_behind() {
    let (disk, last_group) = three_groups().await;
    for cut in last_group {
        let mut bytes = disk.bytes(SEGMENT);
        bytes[cut..].fill(0);
        goes_on_after_two(&disk.with(SEGMENT, bytes)).await;
    }
}

#[tokio::test]
async fn cut_at_every_byte_with_the_file_ending_there() {
    let (disk, last_group) = three_groups().await;
    for cut in last_group {
        let mut bytes = disk.bytes(SEGMENT);
        bytes.truncate(cut);
        goes_on_after_two(&disk.with(SEGMENT, bytes)).await;
    }
}

#[tokio::test]
async fn garbage_behind_the_cut_does_not_come_back() {
    let (disk, last_group) = three_groups().await;
    let mut bytes = disk.bytes(SEGMENT);
    bytes[last_group.start] ^= 1;
    let disk = disk.with(SEGMENT, bytes);
    drop(open_on(&disk).unwrap());
    assert!(disk.bytes(SEGMENT)[last_group.start..].iter().all(|&byte| byte == 0));
}

#[tokio::test]
async fn a_segment_that_was_begun_and_holds_nothing_whole_is_made_anew() {
    let disk = SimDisk::default();
    let log = open_on(&disk).unwrap();
    let mut last = 0;
    while log.status().segments < 2 {
        last += 1;
        log.append(vec![batch(0, last)]).await.unwrap();
    }
    drop(log);
    let second = "00000000000000000002.log";
    let mut bytes = disk.bytes(second);
    bytes[100] ^= 1;
    let disk = disk.with(second, bytes);
    let log = open_on(&disk).unwrap();
    assert_eq!(log.last(), at(last - 1));
    log.append(vec![batch(0, last)]).await.unwrap();
    assert_eq!(read_all(&log).len() as u64, last);
}

#[tokio::test]
async fn a_segment_that_was_only_half_made_is_deleted() {
    let (disk, _) = three_groups().await;
    let disk = disk.with("next.new", vec![0; 100]);
    assert_eq!(open_on(&disk).unwrap().last(), [3, 2, 0, 0]);
    assert_eq!(disk.names(), [SEGMENT]);
}

/// A disk with three groups in its log, and where the last of them is.
async fn three_groups() -> (SimDisk, std::ops::Range<usize>) {
    let disk = SimDisk::default();
    let log = open_on(&disk).unwrap();
    log.append(vec![batch(0, 1), batch(1, 1)]).await.unwrap();
    log.append(vec![batch(0, 2)]).await.unwrap();
    let start = 32 + log.status().bytes_written as usize;
    log.append(vec![batch(0, 3), batch(1, 2)]).await.unwrap();
    let end = 32 + log.status().bytes_written as usize;
    (disk, start..end)
}

async fn goes_on_after_two(disk: &SimDisk) {
    let log = open_on(disk).unwrap();
    assert_eq!(read_all(&log), [batch(0, 1), batch(1, 1), batch(0, 2)]);
    log.append(vec![batch(0, 3)]).await.unwrap();
    drop(log);
    assert_eq!(open_on(disk).unwrap().last(), [3, 1, 0, 0]);
}
