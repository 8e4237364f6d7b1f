//! What every log promises, run against the one in files, the one in memory and the one in a real nats-server.

use std::sync::Arc;

use carillon_gateway::log::{AppendError, Batch, Log, LogError, Positions, SettlesBy};

use crate::harness::{Home, at, batch, large, read_until};

/// Runs each property against each log.
macro_rules! properties {
    ($($property:ident)*) => {
        mod file { $(#[tokio::test] async fn $property() { super::$property(super::Home::file()).await })* }
        mod memory { $(#[tokio::test] async fn $property() { super::$property(super::Home::memory()).await })* }
        mod jetstream { $(#[tokio::test] async fn $property() { super::$property(super::Home::jetstream()).await })* }
    };
}

properties! {
    what_is_appended_is_read_in_order
    a_group_of_one_partition_is_all_or_nothing
    positions_start_at_1_and_have_no_hole
    a_refused_group_leaves_nothing_behind
    groups_keep_the_order_of_the_calls
    an_empty_group_waits_for_those_before_it
    a_tail_starts_after_what_was_read
    a_tail_follows_the_log
    a_tail_gives_a_little_at_a_time
    trimming_keeps_what_is_not_archived
    a_reader_that_wants_what_is_forgotten_is_told
    a_reader_that_is_ahead_is_told
    an_opened_log_goes_on_where_it_was
    the_status_counts
}

async fn what_is_appended_is_read_in_order(home: Home) {
    let log = home.open();
    let groups = [vec![batch(0, 1), batch(2, 1), batch(0, 2)], vec![batch(2, 2)], vec![batch(1, 1)]];
    for group in groups.clone() {
        log.append(group).await.unwrap();
    }
    assert_eq!(by_partition(read(&*log, at(0)).await), by_partition(groups.concat()));
    assert_eq!(log.last(), [2, 1, 2, 0]);
}

async fn positions_start_at_1_and_have_no_hole(home: Home) {
    let log = home.open();
    let not_next = |expected, found| Err(AppendError::NotNext { partition: 1, expected, found });
    assert_eq!(log.append(vec![batch(1, 2)]).await, not_next(1, 2));
    assert_eq!(log.append(vec![batch(1, 0)]).await, not_next(1, 0));
    log.append(vec![batch(1, 1)]).await.unwrap();
    assert_eq!(log.append(vec![batch(1, 1)]).await, not_next(2, 1));
    assert_eq!(log.append(vec![batch(4, 1)]).await, Err(AppendError::NoPartition(4)));
}

async fn a_group_of_one_partition_is_all_or_nothing(home: Home) {
    let log = home.open();
    log.append(vec![batch(0, 1), batch(0, 2), batch(0, 4)]).await.unwrap_err();
    assert_eq!((read(&*log, at(0)).await, log.last()), (vec![], at(0)));
    log.append(vec![batch(0, 1)]).await.unwrap();
    assert_eq!(read(&*log, at(0)).await, [batch(0, 1)]);
}

async fn a_refused_group_leaves_nothing_behind(home: Home) {
    let log = home.open();
    if log.settles_by() == SettlesBy::Partition {
        return; // Such a log settles its partitions by themselves.
    }
    log.append(vec![batch(0, 1), batch(0, 2), batch(1, 7)]).await.unwrap_err();
    assert_eq!((read(&*log, at(0)).await, log.last()), (vec![], at(0)));
    log.append(vec![batch(0, 1)]).await.unwrap();
}

async fn groups_keep_the_order_of_the_calls(home: Home) {
    let log = home.open();
    let mut waiting: Vec<_> = (1..=20).map(|position| log.append(vec![batch(0, position)])).collect();
    while let Some(last) = waiting.pop() {
        last.await.unwrap();
    }
    assert_eq!(log.last(), at(20));
}

async fn an_empty_group_waits_for_those_before_it(home: Home) {
    let log = home.open();
    drop(log.append(vec![batch(0, 1)]));
    log.append(vec![]).await.unwrap();
    assert_eq!(log.last(), at(1));
}

async fn a_tail_starts_after_what_was_read(home: Home) {
    let log = home.open();
    fill(&*log, 200).await;
    log.append(vec![batch(3, 1)]).await.unwrap();
    for after in [0, 1, 57, 199, 200] {
        let expected = (after + 1..=200).map(|position| batch(0, position)).chain([batch(3, 1)]);
        let mut after = at(after);
        assert_eq!(by_partition(read(&*log, after.clone()).await), expected.collect::<Vec<_>>());
        after[3] = 1;
        assert!(read(&*log, after).await.iter().all(|batch| batch.partition == 0));
    }
}

async fn a_tail_follows_the_log(home: Home) {
    let log = home.open();
    let mut tail = log.tail(at(0)).unwrap();
    let writer = tokio::spawn({
        let log = log.clone();
        async move { fill(&*log, 300).await }
    });
    let mut read: Vec<Batch> = Vec::new();
    while read.len() < 300 {
        tail.more().await;
        read.extend(tail.read(1000).unwrap());
    }
    writer.await.unwrap();
    assert_eq!(read, (1..=300).map(|position| batch(0, position)).collect::<Vec<_>>());
    assert_eq!(tail.read(1000).unwrap(), []);
}

async fn a_tail_gives_a_little_at_a_time(home: Home) {
    let log = home.open();
    log.append((1..=5).map(|position| large(0, position, 100)).collect()).await.unwrap();
    let mut tail = log.tail(at(0)).unwrap();
    tail.more().await;
    let sizes: Vec<_> = (0..4).map(|_| tail.read(150).unwrap().len()).collect();
    assert_eq!(sizes, [2, 2, 1, 0]);
    let mut tail = log.tail(at(0)).unwrap();
    tail.more().await;
    assert_eq!(tail.read(0).unwrap().len(), 1);
}

async fn trimming_keeps_what_is_not_archived(home: Home) {
    let log = home.open();
    log.append(vec![batch(1, 1), batch(3, 1)]).await.unwrap();
    fill(&*log, 200).await;
    log.append(vec![batch(1, 2)]).await.unwrap();
    log.trim(&vec![150, 1, 0, 1]);
    log.append(vec![]).await.unwrap();
    let left: Vec<_> = (151..=200).map(|position| batch(0, position)).chain([batch(1, 2)]).collect();
    assert_eq!(by_partition(read(&*log, vec![150, 1, 0, 1]).await), left);
    assert_eq!(log.last(), [200, 2, 0, 1]);
    drop(log);
    assert_eq!(home.open().last(), [200, 2, 0, 1]);
}

async fn a_reader_that_wants_what_is_forgotten_is_told(home: Home) {
    let log = home.open();
    fill(&*log, 200).await;
    log.trim(&at(150));
    log.append(vec![]).await.unwrap();
    // Forgetting happens later.
    let refused = loop {
        match log.tail(at(3)) {
            Ok(_not_yet) => tokio::task::yield_now().await,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, LogError::Forgotten { partition: 0, after: 3, base: 4..=150 }), "{refused}");
}

async fn a_reader_that_is_ahead_is_told(home: Home) {
    let log = home.open();
    fill(&*log, 5).await;
    let refused = log.tail(at(6)).err().unwrap();
    assert!(matches!(refused, LogError::Ahead { partition: 0, after: 6, last: 5 }), "{refused}");
}

async fn an_opened_log_goes_on_where_it_was(home: Home) {
    for round in 0..5 {
        let log = home.open();
        assert_eq!(log.last(), at(round * 30));
        for position in round * 30 + 1..=round * 30 + 30 {
            log.append(vec![batch(0, position)]).await.unwrap();
        }
    }
    assert_eq!(
        read(&*home.open(), at(0)).await,
        (1..=150).map(|position| batch(0, position)).collect::<Vec<_>>()
    );
}

async fn the_status_counts(home: Home) {
    let log: Arc<dyn Log> = home.open();
    log.append(vec![batch(0, 1), batch(0, 2)]).await.unwrap();
    log.append(vec![batch(0, 1)]).await.unwrap_err();
    let status = log.status();
    assert_eq!((status.groups, status.batches, status.refused, status.failed), (1, 2, 1, false));
    assert_eq!(status.last_error.unwrap(), "partition 0 expects position 3 next, not 1");
    assert!(status.bytes_on_disk >= 96 && status.segments >= 1);
}

/// Everything durable after these positions.
async fn read(log: &dyn Log, after: Positions) -> Vec<Batch> {
    read_until(log, after, &log.last()).await
}

/// In the order of the partitions: between them there is none.
fn by_partition(mut batches: Vec<Batch>) -> Vec<Batch> {
    batches.sort_by_key(|batch| batch.partition);
    batches
}

/// Appends 1 to `last` to partition 0, in groups of one; about 45 of them fill a segment.
async fn fill(log: &dyn Log, last: u64) {
    for position in 1..=last {
        log.append(vec![batch(0, position)]).await.unwrap();
    }
}
