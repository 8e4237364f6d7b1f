//! Trimming a log in JetStream forgets what is archived, and makes room; of each partition the last message stays, so that
//! positions, epochs and deliveries go on.

use carillon_devservers::Nats;
use carillon_gateway::log::{AppendError, HomeLog, JetStreamConfig, JetStreamLog, Log, LogError, TakenOver};

use crate::harness::{at, batch, jetstream, large, read_until};

#[tokio::test]
async fn all_of_it_is_archived() {
    let nats = Nats::start().unwrap();
    let log = open(&nats, 4 << 30);
    for position in 1..=20 {
        log.append(vec![batch(0, position)]).await.unwrap();
    }
    log.trim(&at(20));
    until_forgotten(&log).await;

    let other = JetStreamLog::open(jetstream(&nats)).unwrap();
    assert_eq!(other.last(), at(20));
    assert_eq!(other.take(0).await.unwrap(), TakenOver { epoch: 2, position: 20, delivered: 0 });
    other.append(vec![batch(0, 21)]).await.unwrap();
    assert_eq!(read_until(&other, at(20), &at(21)).await, [batch(0, 21)]);
}

#[tokio::test]
async fn a_full_log_takes_more_once_it_is_trimmed() {
    let nats = Nats::start().unwrap();
    let log = open(&nats, 512 << 10);
    let mut position = 0;
    let refused = loop {
        match log.append(vec![large(0, position + 1, 10_000)]).await {
            Ok(()) => position += 1,
            Err(refused) => break refused,
        }
    };
    assert!(
        refused == AppendError::Full && refused.come_back() && position > 10,
        "{refused} after {position}"
    );
    log.trim(&at(position - 1));
    until_forgotten(&log).await;
    log.append(vec![large(0, position + 1, 10_000)]).await.unwrap();
    assert_eq!(read_until(&log, at(position - 1), &at(position + 1)).await.len(), 2);
}

#[tokio::test]
async fn a_reader_in_the_middle_starts_in_the_middle() {
    let nats = Nats::start().unwrap();
    let log = open(&nats, 4 << 30);
    for position in 1..=100 {
        log.append(vec![batch(1, position)]).await.unwrap();
        log.append((3 * position - 2..=3 * position).map(|position| batch(0, position)).collect())
            .await
            .unwrap();
    }
    for after in [0, 1, 2, 3, 149, 150, 299] {
        let mut tail = log.tail_of(&[0], &at(after)).unwrap();
        let mut read = Vec::new();
        while read.len() < 300 - after as usize {
            tail.more().await;
            read.extend(tail.read(1 << 20).unwrap());
        }
        assert_eq!(read, (after + 1..=300).map(|position| batch(0, position)).collect::<Vec<_>>());
    }
}

fn open(nats: &Nats, log_bytes_max: u64) -> JetStreamLog {
    let config = JetStreamConfig { take_all: true, log_bytes_max, ..jetstream(nats) };
    JetStreamLog::open(config).unwrap()
}

/// Waits until the beginning is gone. Forgetting happens later.
async fn until_forgotten(log: &JetStreamLog) {
    loop {
        match log.tail(at(0)) {
            Ok(_not_yet) => tokio::task::yield_now().await,
            Err(LogError::Forgotten { .. }) => return,
            Err(error) => panic!("{error}"),
        }
    }
}
