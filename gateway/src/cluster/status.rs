//! How a node stands in its cluster, for operators: what `/v1/stats`, `/healthz` and `/readyz` say of it.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use carillon_storage::Partition;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::homes::Standing;
use super::members::Lease;
use super::mesh::Outbox;
use super::network::Presence;
use super::view::{Node, NodeId, View};

/// What is known of a node and of the others, as of now.
pub struct Status {
    pub(super) me: NodeId,
    pub(super) lease: Arc<Lease>,
    pub(super) views: watch::Receiver<Arc<View>>,
    /// The connections to NATS: that over which the node says that it lives, and that to other nodes.
    pub(super) lines: [watch::Receiver<Presence>; 2],
    pub(super) outbox: Outbox,
    /// Known once the node has begun.
    pub(super) standing: OnceLock<watch::Receiver<Standing>>,
}

/// What keeps a node from doing all of its work, the worst first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// It has no connection to NATS.
    NatsAway,
    /// It has one, and nothing it says there is acknowledged: JetStream has no leader, or the node has just started.
    NotAcknowledged,
    /// It was told to stop and hands over.
    Leaving,
}

impl Trouble {
    /// A line for operators: what it is, what clients see, whether it ends by itself.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::NatsAway => {
                "degraded: NATS is away; sessions stay, sends wait and are then told to come back; it goes on by itself\n"
            }
            Self::NotAcknowledged => {
                "degraded: NATS does not acknowledge this node (is JetStream without a leader?); sessions stay, sends \
                 wait and are then told to come back; it goes on by itself\n"
            }
            Self::Leaving => "leaving: this node was told to stop and hands over what it is the home of\n",
        }
    }
}

impl Status {
    /// What is wrong, if anything is.
    pub fn trouble(&self) -> Option<Trouble> {
        let is_leaving = self.views.borrow().node(self.me).is_some_and(|node| node.leaving);
        if !self.lines.iter().all(|line| line.borrow().connected) {
            Some(Trouble::NatsAway)
        } else if !self.lease.is_valid(Instant::now()) {
            Some(Trouble::NotAcknowledged)
        } else {
            is_leaving.then_some(Trouble::Leaving)
        }
    }

    /// Adds what is counted of the cluster.
    pub fn count(&self, stats: &mut Map<String, Value>) {
        let standing = self.standing.get().map(|standing| standing.borrow().clone()).unwrap_or_default();
        stats.insert("nodes".into(), standing.nodes.into());
        stats.insert("partitions_here".into(), standing.here.len().into());
        stats.insert("partitions_moving".into(), standing.moving.into());
        let [members, mesh] = self.lines.each_ref().map(|line| *line.borrow());
        let view = Arc::clone(&self.views.borrow());
        let others = view.nodes().iter().filter(|node| node.id != self.me);
        let trouble = self.trouble().map(|trouble| trouble.sentence().trim_end());
        let cluster = json!({
            "node": self.me.to_string(),
            "is_member": standing.is_member,
            "is_acknowledged": self.lease.is_valid(Instant::now()),
            "nats_connected": members.connected && mesh.connected,
            "nats_connects": members.times + mesh.times,
            "partitions": &*standing.here,
            "trouble": trouble,
            "others": others.map(|node| self.other(&view, node)).collect::<Vec<_>>(),
        });
        stats.insert("cluster".into(), cluster);
    }

    fn other(&self, view: &View, node: &Node) -> Value {
        let partitions: Vec<Partition> = view.partitions_of(node.id).collect();
        json!({
            "node": node.id.to_string(),
            "name": &*node.name,
            "leaving": node.leaving,
            "partitions": partitions.len(),
            "waiting_bytes": self.outbox.waiting_bytes(node.id),
        })
    }
}
