//! A CQL server that the nodes of a cluster share, and one more node that is a process of its own.

use std::path::Path;

use carillon_devservers::{Cql, Gateway, GatewayConfig, ports};
use carillon_gateway::config::{Config, StoreKind};
use carillon_gateway::serve::cql_config;

use crate::cluster::Cluster;
use crate::harness::{forgets_soon, until};

const KEYSPACE: &str = "shared";

/// Settings of a node that has its store there.
pub fn on(server: &str) -> impl Fn(&mut Config) {
    let server = server.to_owned();
    move |config| {
        config.store = StoreKind::Cql;
        config.cql = vec![server.parse().unwrap()];
        config.cql_keyspace = KEYSPACE.parse().unwrap();
        config.cql_timeout_ms = 10_000;
        // Nothing of it from memory.
        forgets_soon(config);
    }
}

/// A server with the tables.
pub fn server() -> Cql {
    let server = Cql::start().unwrap();
    let mut config = Config::default();
    on(&server.address())(&mut config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(carillon_storage::apply_schema(&cql_config(&config).unwrap(), 1)).unwrap();
    server
}

/// One more node, that can be killed; returns when it has its share.
pub fn third(cluster: &Cluster, server: &Cql, flags: &[&str]) -> Gateway {
    let folder = cluster.nodes[0].dir.path();
    let [port] = ports::free().unwrap();
    let keys = cluster.nodes[0].config().token_keys[0].display().to_string();
    let nats = cluster.nats.urls().join(",");
    let args = [
        ["--token-keys", &keys],
        ["--nats", &nats],
        ["--nats-replicas", "1"],
        ["--node-ttl-ms", "2000"],
        ["--shards", "2"],
        ["--store", "cql"],
        ["--cql", &server.address()],
        ["--cql-keyspace", KEYSPACE],
    ];
    let node = Gateway::start(GatewayConfig {
        program: Path::new(env!("CARGO_BIN_EXE_carillon")).to_owned(),
        name: "third".to_owned(),
        port,
        folder: folder.to_owned(),
        args: args.concat().iter().chain(flags).map(Into::into).collect(),
    })
    .unwrap();
    let is_one = |stats: serde_json::Value| stats["nodes"] == 3 && stats["partitions_moving"] == 0;
    until("it is one of three", || node.stats().is_ok_and(is_one));
    node
}
