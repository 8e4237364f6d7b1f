//! A full disk is a normal answer: the group is refused as a whole, and the same group is taken once there is room.

use carillon_gateway::log::{AppendError, Log};

use crate::harness::{SEGMENT_BYTES, at, batch, large, open_on, read_all};
use crate::sim_disk::{Faults, SimDisk};

#[tokio::test]
async fn full_at_every_byte_of_a_group() {
    for free_bytes in 0..200 {
        let disk = SimDisk::default();
        let log = open_on(&disk).unwrap();
        log.append(vec![batch(0, 1)]).await.unwrap();
        disk.set(Faults { free_bytes: Some(free_bytes), ..Faults::default() });
        let group = vec![batch(0, 2), batch(1, 1), large(2, 1, 100)];
        assert_eq!(log.append(group.clone()).await, Err(AppendError::Full), "{free_bytes} bytes free");
        assert_eq!(log.last(), at(1));
        disk.set(Faults::default());
        log.append(vec![batch(0, 2)]).await.unwrap();
        drop(log);
        let log = open_on(&disk.after_power_cut(|| false)).unwrap();
        assert_eq!(read_all(&log), [batch(0, 1), batch(0, 2)], "{free_bytes} bytes free");
    }
}

#[tokio::test]
async fn full_when_a_segment_is_wanted() {
    let disk = SimDisk::default();
    let log = open_on(&disk).unwrap();
    disk.set(Faults { free_bytes: Some(SEGMENT_BYTES as usize), ..Faults::default() });
    log.append(vec![large(0, 1, 3000)]).await.unwrap();
    assert_eq!(log.append(vec![large(0, 2, 3000)]).await, Err(AppendError::Full));
    assert!(!log.status().failed);
    disk.set(Faults::default());
    log.append(vec![large(0, 2, 3000)]).await.unwrap();
    assert_eq!(log.status().segments, 2);
}

#[tokio::test]
async fn nothing_of_a_refused_group_stays_in_a_segment_that_is_left() {
    let disk = SimDisk::default();
    let log = open_on(&disk).unwrap();
    log.append(vec![large(0, 1, 1000)]).await.unwrap();
    disk.set(Faults { free_bytes: Some(1500), ..Faults::default() });
    assert_eq!(log.append(vec![large(0, 2, 2000)]).await, Err(AppendError::Full));
    disk.set(Faults::default());
    log.append(vec![large(0, 2, 3500)]).await.unwrap();
    drop(log);
    for lost in 0..10 {
        let mut change = 0;
        let disk = disk.after_power_cut(|| {
            change += 1;
            change != lost
        });
        assert_eq!(open_on(&disk).unwrap().last(), at(2), "without change {lost}");
    }
}

#[tokio::test]
async fn a_disk_that_takes_a_few_bytes_at_a_time_is_not_full() {
    let disk = SimDisk::default();
    let log = open_on(&disk).unwrap();
    disk.set(Faults { write_bytes_max: Some(7), ..Faults::default() });
    for position in 1..=100 {
        log.append(vec![batch(0, position)]).await.unwrap();
    }
    drop(log);
    assert_eq!(open_on(&disk.after_power_cut(|| false)).unwrap().last(), at(100));
}
