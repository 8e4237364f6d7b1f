//! While the disk has not said that a group is durable, nobody hears of it: not who appended it, not a tail, not `last`.
//! And one `fdatasync` covers everything that waits.

use carillon_gateway::log::Log;
use futures_util::FutureExt;

use crate::harness::{at, batch, open_on};
use crate::sim_disk::SimDisk;

#[tokio::test]
async fn nobody_hears_of_it_before() {
    let disk = SimDisk::default();
    let log = open_on(&disk).unwrap();
    let mut tail = log.tail(at(0)).unwrap();
    let held = disk.hold_syncs();
    let mut append = log.append(vec![batch(0, 1)]);
    disk.wait_for_sync();
    assert_eq!(append.as_mut().now_or_never(), None);
    assert_eq!(tail.more().now_or_never(), None);
    assert_eq!((tail.read(1000).unwrap(), log.last()), (vec![], at(0)));

    drop(held);
    append.await.unwrap();
    assert_eq!((tail.read(1000).unwrap(), log.last()), (vec![batch(0, 1)], at(1)));
}

#[tokio::test]
async fn one_fdatasync_covers_all_that_wait() {
    let disk = SimDisk::default();
    let log = open_on(&disk).unwrap();
    let held = disk.hold_syncs();
    let first = log.append(vec![batch(0, 1)]);
    disk.wait_for_sync();
    let waiting: Vec<_> = (2..=20).map(|position| log.append(vec![batch(0, position)])).collect();
    drop(held);
    first.await.unwrap();
    for append in waiting {
        append.await.unwrap();
    }
    assert_eq!((log.status().groups, log.status().syncs), (20, 2));
}

#[tokio::test]
async fn a_closed_log_has_written_what_waited() {
    let disk = SimDisk::default();
    let log = open_on(&disk).unwrap();
    let append = log.append(vec![batch(0, 1)]);
    drop(log);
    assert_eq!(append.now_or_never(), Some(Ok(())));
    assert_eq!(open_on(&disk.after_power_cut(|| false)).unwrap().last(), at(1));
}

/// A killed process leaves what it wrote in the kernel's memory, where the next one reads it.
#[tokio::test]
async fn what_an_opened_log_has_is_durable() {
    let disk = SimDisk::default();
    let log = open_on(&disk).unwrap();
    let held = disk.hold_syncs();
    let unanswered = log.append(vec![batch(0, 1)]);
    disk.wait_for_sync();
    let in_memory = disk.after_kill();
    drop(held);
    unanswered.await.unwrap();
    let opened = open_on(&in_memory).unwrap();
    assert_eq!(opened.last(), at(1));
    assert_eq!(open_on(&in_memory.after_power_cut(|| false)).unwrap().last(), at(1));
}
