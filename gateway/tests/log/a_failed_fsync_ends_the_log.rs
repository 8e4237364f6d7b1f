//! After a failed `fdatasync` nobody knows what the disk holds, and asking again may succeed and mean nothing. So the log
//! acknowledges nothing more until it is opened anew and has read what is really there.

use carillon_gateway::log::{AppendError, Log};

use crate::harness::{at, batch, open_on, read_all};
use crate::sim_disk::{Faults, SimDisk};

#[tokio::test]
async fn it_takes_no_more_and_says_so() {
    let disk = SimDisk::default();
    let log = open_on(&disk).unwrap();
    log.append(vec![batch(0, 1)]).await.unwrap();
    disk.set(Faults { sync_fails: true, ..Faults::default() });
    let failed = Err(AppendError::Failed("fdatasync: the disk is on fire".to_owned()));
    assert_eq!(log.append(vec![batch(0, 2)]).await, failed);
    disk.set(Faults::default());
    assert_eq!(log.append(vec![batch(0, 2)]).await, failed);
    assert_eq!(log.append(vec![batch(1, 1)]).await, failed);
    assert!(log.status().failed && log.status().last_error.unwrap().contains("on fire"));
}

#[tokio::test]
async fn what_was_durable_before_can_still_be_read_and_nothing_else() {
    let disk = SimDisk::default();
    let log = open_on(&disk).unwrap();
    log.append(vec![batch(0, 1)]).await.unwrap();
    disk.set(Faults { sync_fails: true, ..Faults::default() });
    log.append(vec![batch(0, 2)]).await.unwrap_err();
    assert_eq!((read_all(&log), log.last()), (vec![batch(0, 1)], at(1)));
}

#[tokio::test]
async fn opened_anew_it_goes_on_from_what_the_disk_has() {
    for kept in [true, false] {
        let disk = SimDisk::default();
        let log = open_on(&disk).unwrap();
        log.append(vec![batch(0, 1)]).await.unwrap();
        disk.set(Faults { sync_fails: true, ..Faults::default() });
        log.append(vec![batch(0, 2)]).await.unwrap_err();
        let log = open_on(&disk.after_power_cut(|| kept)).unwrap();
        let last = if kept { 2 } else { 1 };
        assert_eq!(log.last(), at(last));
        log.append(vec![batch(0, last + 1)]).await.unwrap();
    }
}
