//! Nodes of one cluster, in this process.

use std::path::PathBuf;

use carillon_devservers::Nats;
use carillon_gateway::config::{Config, Given, Value};
use carillon_protocol::{Frame, RoomId};
use tempfile::TempDir;

use crate::harness::{Client, Node, until};

/// Nodes that share a NATS.
pub struct Cluster {
    pub nodes: Vec<Node>,
    keys: PathBuf,
    _dir: TempDir,
    pub nats: Nats,
}

impl Cluster {
    /// So many nodes and one nats-server.
    pub fn start(nodes: usize) -> Self {
        Self::start_with(nodes, |_| {})
    }

    pub fn start_with(nodes: usize, change: impl Fn(&mut Config)) -> Self {
        let nats = Nats::start().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("cluster.hs256");
        std::fs::write(&keys, [b's'; 32]).unwrap();
        let mut cluster = Self { nodes: Vec::new(), keys, _dir: dir, nats };
        for _ in 0..nodes {
            cluster.join(&change);
        }
        cluster.settle();
        cluster
    }

    /// Waits until all nodes see each other and every partition has its home.
    pub fn settle(&self) {
        until("the cluster is settled", || {
            let count = |name: &'static str| self.nodes.iter().map(move |node| node.count(name));
            let partitions = u64::from(self.nodes[0].config().partitions);
            count("nodes").all(|nodes| nodes == self.nodes.len() as u64)
                && count("partitions_moving").all(|moving| moving == 0)
                && count("partitions_here").sum::<u64>() == partitions
        });
    }

    /// One more node; its place among them.
    pub fn join(&mut self, change: impl Fn(&mut Config)) -> usize {
        let number = self.nodes.len();
        self.nodes.push(self.started(number, change));
        number
    }

    /// So many more at the same moment.
    pub fn join_together(&mut self, count: usize, change: impl Fn(&mut Config) + Sync) {
        let first = self.nodes.len();
        let (cluster, change) = (&*self, &change);
        let started: Vec<Node> = std::thread::scope(|scope| {
            let starting: Vec<_> = (first..first + count)
                .map(|number| scope.spawn(move || cluster.started(number, change)))
                .collect();
            starting.into_iter().map(|node| node.join().unwrap()).collect()
        });
        self.nodes.extend(started);
    }

    fn started(&self, number: usize, change: impl Fn(&mut Config)) -> Node {
        let nats = self.nats.urls();
        let keys = self.keys.clone();
        Node::start_with(|config| {
            set(&mut config.nats, &nats.join(","));
            config.nats_replicas = 1;
            config.node_ttl_ms = 2_000;
            set(&mut config.node, &format!("node-{number}"));
            config.token_keys = vec![keys];
            config.shards = 2;
            change(config);
        })
    }

    /// A session on one of the nodes.
    pub fn client(&self, node: usize, user: u64) -> Client {
        self.nodes[node].client(user)
    }
}

/// Hears everything of some rooms up to `last_seq`, each event once and in order; drops repeats, and asks where it is told that
/// it missed some, as clients do.
pub fn hears(client: &mut Client, rooms: &[RoomId], last_seq: u64) {
    let mut seqs = vec![0; rooms.len()];
    while seqs.iter().any(|&seq| seq < last_seq) {
        let (room, told) = match client.hear() {
            Frame::Event(event) => (event.room, event.seq),
            Frame::Ping { heads, .. } if !heads.is_empty() => (heads[0].room, u64::MAX),
            _ => continue,
        };
        let Some(seq) = rooms.iter().position(|&other| other == room).map(|place| &mut seqs[place]) else {
            continue;
        };
        if told == *seq + 1 {
            *seq += 1;
        } else if told > *seq {
            for event in client.history(room, *seq) {
                assert_eq!(event.seq, *seq + 1);
                *seq += 1;
            }
        }
    }
}

fn set(setting: &mut impl Value, text: &str) {
    setting.set(&Given::Bare(text)).unwrap();
}
