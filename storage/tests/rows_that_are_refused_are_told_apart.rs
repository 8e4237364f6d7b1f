//! A row that the server refuses for what is in it comes back alone, with the reason, and everything around it is written. A server that lacks a
//! table refuses every row of it, also one with nothing in it: so the one is told from the other. Time-outs are neither.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::time::Duration;

use carillon_devservers::{Cql as Server, CqlConfig as ServerConfig};
use carillon_storage::{Change, CqlConfig, CqlStore, Store, StoreError, Unfit, apply_schema};
use harness::*;
use scylla::client::session_builder::SessionBuilder;

fn large(seq: u64) -> Change {
    Change::Event { room: room(1), seq, bytes: vec![7; 300_000], changed_seq: seq }
}

/// What the server says in the end, as the archiver finds out: just when tables come and go it may fail in other ways.
async fn apply(store: &CqlStore, changes: Vec<Change>, archived: Vec<(u16, u64)>) -> Result<(), StoreError> {
    for _ in 0..50 {
        match store.apply(changes.clone(), archived.clone()).await {
            Err(StoreError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            told => return told,
        }
    }
    store.apply(changes, archived).await
}

async fn unfit(store: &CqlStore, changes: Vec<Change>) -> Vec<Unfit> {
    match apply(store, changes, vec![(0, 9)]).await {
        Err(StoreError::Unfit(unfit)) => unfit,
        other => panic!("{other:?}"),
    }
}

async fn seqs(store: &CqlStore, number: u8) -> Vec<u64> {
    let events = store.events(room(number), 1, 1000, usize::MAX).await.unwrap();
    events.iter().map(|event| event.seq).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_table_that_is_gone_and_from_silence() {
    let yaml = "max_mutation_size: 200KiB\n".to_owned();
    let config = ServerConfig { cassandra: true, cassandra_yaml: yaml, ..ServerConfig::default() };
    let server = Server::start_as(&config).unwrap();
    let config = keyspace_at(&server.address());
    apply_schema(&config, 1).await.unwrap();
    let store = CqlStore::open(config.clone()).await.unwrap();

    let mut changes: Vec<_> = (1..=40).map(|seq| event(room(1), seq)).collect();
    changes[16] = large(17);
    changes.extend((1..=40).map(|seq| event(room(2), seq)));
    changes.extend([head(room(1), 40), Change::Room { room: room(2), name: "n".repeat(300_000), seq: 1 }]);
    let mut refused = unfit(&store, changes).await;
    refused.sort_by_key(|unfit| matches!(unfit.change, Change::Room { .. }));
    let [first, second] = &refused[..] else { panic!("{refused:?}") };
    assert!(first.change == large(17) && !first.reason.is_empty(), "{}", first.reason);
    assert!(matches!(&second.change, Change::Room { room: id, .. } if *id == room(2)));
    assert_eq!(seqs(&store, 1).await, (1..=16).chain(18..=40).collect::<Vec<_>>());
    assert_eq!(seqs(&store, 2).await, (1..=40).collect::<Vec<_>>());
    assert_eq!(store.room(room(1)).await.unwrap().unwrap().head_seq, 40);
    assert_eq!(store.archived(1).await.unwrap(), [0]);
    // Many are found a few at a time.
    let some = unfit(&store, (1..=40).map(large).collect()).await.len();
    assert!((16..40).contains(&some), "{some}");

    let config_of_the_hasty = CqlConfig { timeout: Duration::from_millis(300), ..config.clone() };
    let hasty = CqlStore::open(config_of_the_hasty).await.unwrap();
    server.pause().unwrap();
    let silence = hasty.apply(vec![large(41)], vec![]).await;
    assert!(matches!(silence, Err(StoreError::Unavailable(_))), "{silence:?}");
    server.resume().unwrap();

    let session = SessionBuilder::new().known_node(server.address()).build().await.unwrap();
    session.query_unpaged(format!("DROP TABLE {}.messages", config.keyspace), ()).await.unwrap();
    let small = Change::Event { room: room(1), seq: 41, bytes: Vec::new(), changed_seq: 41 };
    assert_eq!(unfit(&store, vec![small.clone()]).await[0].change, small);
    session.query_unpaged(format!("DROP TABLE {}.rooms_by_user", config.keyspace), ()).await.unwrap();
    let refused = apply(&store, vec![joined(room(1), user(1), 1)], vec![]).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");

    apply_schema(&config, 1).await.unwrap();
    apply(&store, vec![small, joined(room(1), user(1), 1)], vec![(0, 10)]).await.unwrap();
    assert_eq!(seqs(&store, 1).await, [41]);
    assert_eq!(store.archived(1).await.unwrap(), [10]);
}
