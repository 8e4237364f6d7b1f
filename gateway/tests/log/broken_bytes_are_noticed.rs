//! A byte that is not what was written is never served. In the last group it cannot be told from a crash and the group is cut;
//! anywhere else opening the log is an error that says where, and the files stay as they are.

use carillon_gateway::log::{Log, LogError};

use crate::harness::{at, batch, large, open_on, read_all};
use crate::sim_disk::SimDisk;

const FIRST: &str = "00000000000000000001.log";
const SECOND: &str = "00000000000000000002.log";

#[tokio::test]
async fn in_the_last_group_it_is_cut() {
    let disk = SimDisk::default();
    let log = open_on(&disk).unwrap();
    log.append(vec![batch(0, 1)]).await.unwrap();
    let start = 32 + log.status().bytes_written as usize;
    // Of a length that needs padding: that counts as well.
    log.append(vec![large(0, 2, 13)]).await.unwrap();
    let end = 32 + log.status().bytes_written as usize;
    for byte in start..end {
        assert_eq!(read_all(&open_on(&flipped(&disk, FIRST, byte)).unwrap()), [batch(0, 1)], "byte {byte}");
    }
}

#[tokio::test]
async fn before_a_whole_group_of_the_same_segment_it_is_corruption() {
    let (disk, ends) = groups(3).await;
    for byte in ends[0]..ends[1] {
        assert_eq!(corruption(&flipped(&disk, FIRST, byte)), (format!("sim/{FIRST}"), ends[0] as u64));
    }
}

#[tokio::test]
async fn at_the_end_of_a_segment_that_has_a_successor_it_is_corruption() {
    let (disk, _) = groups(60).await;
    assert!(disk.names().contains(&SECOND.to_owned()));
    let used = disk.bytes(FIRST).iter().rposition(|&byte| byte != 0).unwrap();
    assert_eq!(corruption(&flipped(&disk, FIRST, used)).0, format!("sim/{FIRST}"));
    assert_eq!(corruption(&flipped(&disk, FIRST, used + 1)).0, format!("sim/{FIRST}"));
}

#[tokio::test]
async fn zeroes_instead_of_the_last_group_of_a_segment_that_has_a_successor_are_corruption() {
    let (disk, ends) = groups(60).await;
    let group = ends[1] - ends[0];
    let used = disk.bytes(FIRST).iter().rposition(|&byte| byte != 0).unwrap() + 1;
    let mut bytes = disk.bytes(FIRST);
    bytes[used - group..].fill(0);
    assert_eq!(corruption(&disk.with(FIRST, bytes)), (format!("sim/{FIRST}"), (used - group) as u64));
}

#[tokio::test]
async fn in_a_header_it_is_an_error() {
    let (disk, _) = groups(1).await;
    for byte in 0..32 {
        let refused = open_on(&flipped(&disk, FIRST, byte)).err().unwrap();
        assert!(matches!(refused, LogError::Corrupt { offset: 0, .. } | LogError::Newer { .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_missing_segment_is_corruption() {
    let (disk, _) = groups(200).await;
    disk.delete(SECOND);
    assert_eq!(corruption(&disk), (format!("sim/{SECOND}"), 0));
}

#[tokio::test]
async fn nothing_is_changed_where_something_is_wrong() {
    let (disk, ends) = groups(3).await;
    let broken = flipped(&disk, FIRST, ends[0] + 30);
    let before = broken.bytes(FIRST);
    corruption(&broken);
    assert_eq!(broken.bytes(FIRST), before);
}

#[tokio::test]
async fn a_tail_notices_what_broke_since() {
    let disk = SimDisk::default();
    let log = open_on(&disk).unwrap();
    log.append(vec![batch(0, 1)]).await.unwrap();
    let mut tail = log.tail(at(0)).unwrap();
    disk.overwrite(FIRST, 100, b"!");
    assert!(matches!(tail.read(1).err().unwrap(), LogError::Corrupt { offset: 32, .. }));
}

/// A disk with so many groups of one batch in its log, and where in their segments each ends.
async fn groups(count: u64) -> (SimDisk, Vec<usize>) {
    let disk = SimDisk::default();
    let log = open_on(&disk).unwrap();
    let mut ends = Vec::new();
    for position in 1..=count {
        log.append(vec![batch(0, position)]).await.unwrap();
        ends.push(32 + log.status().bytes_written as usize);
    }
    drop(log);
    (disk, ends)
}

fn flipped(disk: &SimDisk, name: &str, byte: usize) -> SimDisk {
    let mut bytes = disk.bytes(name);
    bytes[byte] ^= 0x40;
    disk.with(name, bytes)
}

/// Where the log says that it is corrupt.
fn corruption(disk: &SimDisk) -> (String, u64) {
    match open_on(disk).err().unwrap() {
        LogError::Corrupt { place, offset, .. } => (place, offset),
        other => panic!("{other}"),
    }
}
