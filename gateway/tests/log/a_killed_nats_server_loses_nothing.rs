//! A nats-server is killed with `kill -9` in the middle of appends. What was acknowledged is there afterwards, in order,
//! and nothing twice; appends go on by themselves, and so do tails.

use std::sync::Arc;

use carillon_devservers::Nats;
use carillon_gateway::log::{Batch, JetStreamConfig, JetStreamLog, Log, Tail};

use crate::harness::{PARTITIONS, batch, jetstream};

const ROUNDS: u64 = 3;
const BETWEEN: u64 = 100;

/// Elections take seconds, and more on a machine that does other things meanwhile.
mod heavy {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn one_of_three() {
        let mut nats = Nats::start_three().unwrap();
        let log = open(&nats);
        let tail = log.tail(vec![0; usize::from(PARTITIONS)]).unwrap();
        let reader = tokio::spawn(read(tail, ROUNDS * BETWEEN));
        for round in 0..ROUNDS {
            let appends = tokio::spawn(append_everywhere(log.clone(), round * BETWEEN, BETWEEN));
            let leader = nats.leader_of(&format!("carillon-log-{}", round % 2)).unwrap_or_default();
            nats.servers()[leader].kill().unwrap();
            appends.await.unwrap();
            nats.servers()[leader].restart().unwrap();
            nats.wait_until_ready().unwrap();
        }
        reader.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_only_one() {
        let mut nats = Nats::start().unwrap();
        let log = open(&nats);
        let tail = log.tail(vec![0; usize::from(PARTITIONS)]).unwrap();
        let reader = tokio::spawn(read(tail, ROUNDS * BETWEEN));
        for round in 0..ROUNDS {
            let appends = tokio::spawn(append_everywhere(log.clone(), round * BETWEEN, BETWEEN));
            nats.servers()[0].kill().unwrap();
            nats.servers()[0].restart().unwrap();
            appends.await.unwrap();
        }
        reader.await.unwrap();
    }
}

fn open(nats: &Nats) -> Arc<JetStreamLog> {
    Arc::new(JetStreamLog::open(JetStreamConfig { take_all: true, ..jetstream(nats) }).unwrap())
}

/// Appends so many batches to each partition, one after the other, each acknowledged.
async fn append_everywhere(log: Arc<JetStreamLog>, after: u64, count: u64) {
    let partition = |partition| {
        let log = log.clone();
        async move {
            for position in after + 1..=after + count {
                log.append(vec![batch(partition, position)]).await.unwrap();
            }
        }
    };
    futures_util::future::join_all((0..PARTITIONS).map(partition)).await;
}

/// Reads until it has so many of every partition, each the next of its own.
async fn read(mut tail: Box<dyn Tail>, count: u64) {
    let mut reached = vec![0; usize::from(PARTITIONS)];
    while reached.iter().any(|&reached| reached < count) {
        tail.more().await;
        for found in tail.read(1 << 20).unwrap() {
            let Batch { partition, position, .. } = found;
            assert_eq!(position, reached[usize::from(partition)] + 1);
            assert_eq!(found, batch(partition, position));
            reached[usize::from(partition)] = position;
        }
    }
}
