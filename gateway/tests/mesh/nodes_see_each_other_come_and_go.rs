//! Nodes see who lives, who is about to go and who has gone, and an outage of NATS takes nobody out of a view.

use std::sync::Arc;
use std::time::{Duration, Instant};

use carillon_devservers::Nats;
use carillon_gateway::cluster::members::{Members, MembersConfig};
use carillon_gateway::cluster::view::View;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::harness::{PARTITIONS, PATIENCE, node};

const TTL: Duration = Duration::from_secs(1);

fn join(nats: &Nats, number: u64) -> Members {
    let config = MembersConfig {
        servers: nats.urls(),
        prefix: "test".into(),
        ttl: TTL,
        replicas: 1,
        partitions: PARTITIONS,
    };
    Members::start(config, node(number)).unwrap()
}

/// Waits until a node sees these, and which of them are leaving.
async fn sees(views: &mut watch::Receiver<Arc<View>>, expected: &[(u64, bool)]) {
    let is_so = |view: &Arc<View>| {
        let nodes: Vec<_> = view.nodes().iter().map(|node| (node.id.get(), node.leaving)).collect();
        nodes == expected
    };
    let seen = timeout(PATIENCE, views.wait_for(is_so)).await;
    assert!(seen.is_ok(), "{expected:?} was not seen");
}

#[tokio::test]
async fn come_leave_go_and_die() {
    let nats = Nats::start().unwrap();
    let [one, two, three] = [1, 2, 3].map(|number| join(&nats, number));
    let mut views = one.views();
    sees(&mut views, &[(1, false), (2, false), (3, false)]).await;
    assert_eq!(views.borrow().shards_of(node(2).id), Some(2));
    assert!(one.lease().is_valid(Instant::now()));
    two.leaving();
    sees(&mut views, &[(1, false), (2, true), (3, false)]).await;
    assert!(views.borrow().partitions_of(node(2).id).next().is_none());
    two.deregister(PATIENCE).await;
    sees(&mut views, &[(1, false), (3, false)]).await;
    // As if it had died: it says nothing more.
    let lease = Arc::clone(three.lease());
    drop(three);
    sees(&mut views, &[(1, false)]).await;
    assert!(!lease.is_valid(Instant::now()), "the others have given it up, and it does not know");
}

#[tokio::test]
async fn an_outage_of_nats_longer_than_ttl_takes_nobody_out() {
    let mut nats = Nats::start().unwrap();
    let [one, two] = [1, 2].map(|number| join(&nats, number));
    let mut views = one.views();
    sees(&mut views, &[(1, false), (2, false)]).await;
    sees(&mut two.views(), &[(1, false), (2, false)]).await;
    nats.servers()[0].kill().unwrap();
    timeout(PATIENCE, one.presence().wait_for(|it| !it.connected)).await.unwrap().unwrap();
    sleep(2 * TTL).await;
    assert!(!one.lease().is_valid(Instant::now()), "not acknowledged for longer than ttl");
    views.mark_unchanged();
    nats.servers()[0].restart().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !(one.lease().is_valid(Instant::now()) && two.lease().is_valid(Instant::now())) {
        assert!(Instant::now() < deadline, "they do not register again");
        sleep(Duration::from_millis(20)).await;
    }
    sleep(2 * TTL).await;
    assert!(!views.has_changed().unwrap(), "a view that changed for an outage: {:?}", views.borrow());
    // And who dies then is noticed.
    drop(two);
    sees(&mut views, &[(1, false)]).await;
}

#[tokio::test]
async fn who_starts_while_nats_is_away_comes_when_it_is_there() {
    let mut nats = Nats::start().unwrap();
    nats.servers()[0].kill().unwrap();
    let one = join(&nats, 1);
    sleep(Duration::from_millis(300)).await;
    assert!(one.views().borrow().nodes().is_empty());
    nats.servers()[0].restart().unwrap();
    sees(&mut one.views(), &[(1, false)]).await;
}
