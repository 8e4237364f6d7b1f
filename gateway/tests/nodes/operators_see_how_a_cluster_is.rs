//! Over HTTP every node says who the others are and which partitions are here. While NATS is away it is alive and not ready, and says
//! why; when NATS is back all of it is as before, and nobody had to do anything.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use crate::cluster::Cluster;
use crate::harness::{Node, until};

/// Status code and body.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn stats(node: &Node) -> Value {
    serde_json::from_str(&get(node.address, "/v1/stats").1).unwrap()
}

#[test]
fn who_is_there_and_what_is_wrong() {
    let mut cluster = Cluster::start(3);
    let mut all = Vec::new();
    for (number, node) in cluster.nodes.iter().enumerate() {
        let stats = stats(node);
        assert_eq!((&stats["nodes"], &stats["partitions_moving"]), (&3.into(), &0.into()));
        let here = stats["cluster"]["partitions"].as_array().unwrap();
        assert_eq!(stats["partitions_here"], here.len());
        all.extend(here.iter().map(|partition| partition.as_u64().unwrap()));
        let others = stats["cluster"]["others"].as_array().unwrap();
        let names: Vec<_> = others.iter().map(|other| other["name"].as_str().unwrap()).collect();
        assert!(names.len() == 2 && !names.contains(&format!("node-{number}").as_str()), "{names:?}");
        assert_eq!(get(node.address, "/readyz"), (200, "ok\n".to_owned()));
    }
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..u64::from(cluster.nodes[0].config().partitions)), "{all:?}");

    let address = cluster.nodes[0].address;
    cluster.nats.servers()[0].kill().unwrap();
    until("the node says that NATS is away", || get(address, "/healthz").1.contains("NATS is away"));
    assert_eq!(get(address, "/healthz").0, 200);
    assert_eq!(get(address, "/readyz").0, 503);
    assert!(!stats(&cluster.nodes[0])["cluster"]["trouble"].is_null());
    cluster.nats.servers()[0].restart().unwrap();
    until("the node is ready again", || get(address, "/readyz") == (200, "ok\n".to_owned()));
    cluster.settle();
}
