//! Over HTTP every node says who the others are and which partitions are here. While NATS is away it is alive and not ready, and says
//! why; when NATS is back all of it is as before, and nobody had to do anything.

use crate::cluster::Cluster;
use crate::harness::until;

#[test]
fn who_is_there_and_what_is_wrong() {
    let mut cluster = Cluster::start(3);
    let mut all = Vec::new();
    for (number, node) in cluster.nodes.iter().enumerate() {
        let stats = node.stats();
        assert_eq!((&stats["nodes"], &stats["partitions_moving"]), (&3.into(), &0.into()));
        let here = stats["cluster"]["partitions"].as_array().unwrap();
        assert_eq!(stats["partitions_here"], here.len());
        all.extend(here.iter().map(|partition| partition.as_u64().unwrap()));
        let others = stats["cluster"]["others"].as_array().unwrap();
        let names: Vec<_> = others.iter().map(|other| other["name"].as_str().unwrap()).collect();
        assert!(names.len() == 2 && !names.contains(&format!("node-{number}").as_str()), "{names:?}");
        assert_eq!(node.get("/readyz"), (200, "ok\n".to_owned()));
    }
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..u64::from(cluster.nodes[0].config().partitions)), "{all:?}");

    let node = &cluster.nodes[0];
    cluster.nats.servers()[0].kill().unwrap();
    until("the node says that NATS is away", || node.get("/healthz").1.contains("NATS is away"));
    assert_eq!(node.get("/healthz").0, 200);
    assert_eq!(node.get("/readyz").0, 503);
    assert!(!node.stats()["cluster"]["trouble"].is_null());
    cluster.nats.servers()[0].restart().unwrap();
    until("the node is ready again", || node.get("/readyz") == (200, "ok\n".to_owned()));
    cluster.settle();
}
