//! Meshes on one NATS, and what each of them got.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver as Inbox, Sender};
use std::thread;
use std::time::{Duration, Instant};

use carillon_devservers::Nats;
use carillon_gateway::cluster::link::LinkConfig;
use carillon_gateway::cluster::mesh::{Mesh, MeshConfig, Outbox, Receiver};
use carillon_gateway::cluster::view::{Node, NodeId, View};
use tokio::sync::watch;

/// However busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const PARTITIONS: u16 = 64;

#[derive(Debug, PartialEq, Eq)]
pub enum Got {
    Batch(NodeId, Vec<u8>),
    Opened(NodeId),
    Lost(NodeId),
}

/// Writes down what comes. Takes every `refuses`th batch only when it is offered again.
pub struct Recorder {
    got: Sender<Got>,
    refuses: usize,
    offered: usize,
}

impl Receiver for Recorder {
    fn batch(&mut self, from: NodeId, batch: &[u8]) -> bool {
        self.offered += 1;
        if self.refuses > 0 && self.offered.is_multiple_of(self.refuses) {
            return false;
        }
        self.got.send(Got::Batch(from, batch.into())).is_ok()
    }

    fn opened(&mut self, peer: NodeId) {
        let _ = self.got.send(Got::Opened(peer));
    }

    fn lost(&mut self, peer: NodeId) {
        let _ = self.got.send(Got::Lost(peer));
    }

    fn flush(&mut self) -> bool {
        true
    }
}

pub struct TestMesh {
    pub id: NodeId,
    pub mesh: Mesh,
    pub got: Inbox<Got>,
    pub views: watch::Sender<Arc<View>>,
}

pub fn node(number: u64) -> Node {
    let id = NodeId::new(number).unwrap();
    Node { id, name: format!("node-{number}").into(), shards: 2, leaving: false }
}

pub fn view(numbers: impl IntoIterator<Item = u64>) -> Arc<View> {
    Arc::new(View::new(numbers.into_iter().map(node), PARTITIONS))
}

/// So many, who see each other.
pub fn meshes(nats: &Nats, count: u64, refuses: usize) -> Vec<TestMesh> {
    let mesh = |number: u64| {
        let id = NodeId::new(number).unwrap();
        let config = MeshConfig {
            servers: nats.urls(),
            credentials: None,
            prefix: "test".into(),
            me: id,
            link: LinkConfig { unacknowledged_bytes_max: 1 << 20, ..LinkConfig::default() },
        };
        let (sender, got) = mpsc::channel();
        let (views, seen) = watch::channel(view(1..=count));
        let recorder = Recorder { got: sender, refuses, offered: 0 };
        let mesh = Mesh::start(config, seen, recorder).unwrap();
        TestMesh { id, mesh, got, views }
    };
    (1..=count).map(mesh).collect()
}

/// Sends, and tries again while there is no room.
pub fn send(outbox: &Outbox, to: NodeId, mut batch: Vec<u8>) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(full) = outbox.send(to, batch) {
        assert!(Instant::now() < deadline, "no room for {} bytes", full.len());
        batch = full;
        thread::sleep(Duration::from_millis(1));
    }
}

/// What comes next.
pub fn next(mesh: &TestMesh) -> Got {
    mesh.got.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("node {} got nothing: {error}", mesh.id))
}
