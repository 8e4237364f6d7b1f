//! Many nodes: who they are, whose a partition is, and how what one node's shards say reaches another's.
//!
//! Nothing here decides what is true: a view may be old and a link may be lost at any time. Only the log's fencing keeps
//! two nodes from deciding for one partition (`log`).

pub mod members;
pub mod view;

pub mod datagram;
pub mod link;
pub mod mesh;
pub mod network;
pub mod wire;

pub mod homes;
pub mod join;
pub mod presence;
pub mod receive;

use crate::directory::ShardSet;
use view::NodeId;

/// The other nodes, as shards see them: somewhere to hand messages to.
pub trait Peers: Send + Sync + 'static {
    /// Hands over a batch of messages ([`wire::append`]) for a node. Batches arrive in order and once each, or the node
    /// counts as lost and everyone is told (`Message::PeerLost`). Given back where so much is on its way that no more is
    /// taken; come back a little later. What is for a node that nobody knows is dropped.
    fn send(&self, node: NodeId, batch: Vec<u8>) -> Result<(), Vec<u8>>;
}

/// Which shards of a node a message is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// One.
    Shard(u16),
    /// Some.
    Shards(ShardSet),
    /// Those that have sessions of the users it names; or, for what is to be forwarded, the one that does that.
    Users,
}
