//! Who lives, and whose each partition is.
//!
//! Every node that sees the same nodes comes to the same homes, without asking anyone: rendezvous hashing (Thaler and
//! Ravishankar 1998). Each node has a weight for each partition and the heaviest is its home, so who comes takes only its
//! share, and who goes leaves only its own behind.
//!
//! A view is a hint. Two nodes may see different ones for a while, and then both may take themselves for a home; the log
//! lets one of them decide.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use carillon_storage::Partition;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// One life of a node's process: a random number it takes at its start, so a restarted node is another one.
/// Never 0. People see sixteen hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(NonZeroU64);

impl NodeId {
    /// A node that has no others.
    pub const ALONE: Self = Self(NonZeroU64::MIN);

    /// The node of that number; there is none of number 0.
    pub const fn new(id: u64) -> Option<Self> {
        match NonZeroU64::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// An id that no other process has; nothing where the system gives no randomness.
    pub fn random() -> Option<Self> {
        let mut bytes = [0; 8];
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        // One in 2^64 is 0.
        Some(Self(NonZeroU64::new(u64::from_be_bytes(bytes)).unwrap_or(NonZeroU64::MIN)))
    }

    /// The number itself.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for NodeId {
    type Err = NotANodeId;

    fn from_str(text: &str) -> Result<Self, NotANodeId> {
        let is_its_form =
            text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let id = if is_its_form { u64::from_str_radix(text, 16).ok() } else { None };
        id.and_then(Self::new).ok_or(NotANodeId)
    }
}

/// A text is not the sixteen digits of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a node's sixteen hexadecimal digits")]
pub struct NotANodeId;

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Which life of it.
    pub id: NodeId,
    /// What people call it.
    pub name: Box<str>,
    /// How many shards it has.
    pub shards: u16,
    /// It is about to stop: it answers still, and is nobody's home any more.
    pub leaving: bool,
}

/// The nodes that live, and the home of every partition among them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    nodes: Box<[Node]>,
    homes: Box<[Option<NodeId>]>,
}

impl View {
    /// A view of `nodes`, in any order; of two with one id the last counts.
    pub fn new(nodes: impl IntoIterator<Item = Node>, partitions: Partition) -> Self {
        let mut by_id = std::collections::BTreeMap::new();
        by_id.extend(nodes.into_iter().map(|node| (node.id, node)));
        let nodes: Box<[Node]> = by_id.into_values().collect();
        let keys: Vec<(u64, NodeId)> =
            nodes.iter().filter(|node| !node.leaving).map(|node| (key(node), node.id)).collect();
        let homes = (0..partitions)
            .map(|partition| {
                let weighed = keys.iter().map(|&(key, id)| (weight(key, partition), id));
                weighed.max().map(|(_, id)| id)
            })
            .collect();
        Self { nodes, homes }
    }

    /// Who lives, in order of id.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node, if it lives.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        let index = self.nodes.binary_search_by_key(&id, |node| node.id).ok()?;
        Some(&self.nodes[index])
    }

    /// How many shards a node has, if it lives.
    pub fn shards_of(&self, id: NodeId) -> Option<u16> {
        self.node(id).map(|node| node.shards)
    }

    /// The node whose a partition should be; nobody's where no node stays, or there is no such partition.
    pub fn home_of(&self, partition: Partition) -> Option<NodeId> {
        self.homes.get(usize::from(partition)).copied().flatten()
    }

    /// The partitions that should be a node's, in order.
    pub fn partitions_of(&self, id: NodeId) -> impl Iterator<Item = Partition> {
        (0..).zip(&*self.homes).filter(move |(_, home)| **home == Some(id)).map(|(partition, _)| partition)
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> Partition {
        self.homes.len() as Partition
    }
}

/// What a node's weights come from. All versions of all nodes must agree: this and [`weight`] never change.
fn key(node: &Node) -> u64 {
    xxh3_64_with_seed(node.name.as_bytes(), node.id.get())
}

/// A node's weight for a partition: number `partition` of the splitmix64 generator (Steele, Lea, Flood 2014) that
/// starts at the node's key.
fn weight(key: u64, partition: Partition) -> u64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let word = key.wrapping_add(STEP.wrapping_mul(u64::from(partition) + 1));
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64, name: &str) -> Node {
        Node { id: NodeId::new(id).expect("not 0"), name: name.into(), shards: 2, leaving: false }
    }

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is() {
        let id = NodeId::new(0xab).expect("not 0");
        assert_eq!(id.to_string(), "00000000000000ab");
        assert_eq!("00000000000000ab".parse(), Ok(id));
        for wrong in
            ["", "ab", "0000000000000000", "00000000000000AB", "+0000000000000ab", "000000000000000ab"]
        {
            assert_eq!(wrong.parse::<NodeId>(), Err(NotANodeId), "{wrong}");
        }
        assert_ne!(NodeId::random(), NodeId::random());
    }

    #[test]
    fn a_node_is_found_while_it_lives() {
        let view = View::new([node(9, "b"), node(3, "a"), Node { shards: 5, ..node(3, "a") }], 8);
        let ids: Vec<u64> = view.nodes().iter().map(|node| node.id.get()).collect();
        assert_eq!(ids, [3, 9]);
        assert_eq!(view.shards_of(node(3, "").id), Some(5));
        assert_eq!(view.shards_of(node(4, "").id), None);
        assert_eq!(view.home_of(8), None);
        assert_eq!(View::new([], 8).home_of(0), None);
    }

    /// Nodes of two versions run side by side: were this to change, they would disagree about every home.
    #[test]
    fn homes_are_what_they_have_always_been() {
        let view = View::new([node(1, "ann"), node(2, "bob"), node(0xfedc_ba98_7654_3210, "cy")], 24);
        let homes: Vec<u64> = (0..24).map(|it| view.home_of(it).expect("a home").get() & 0xf).collect();
        assert_eq!(homes, [2, 2, 0, 2, 1, 1, 0, 2, 2, 2, 2, 1, 2, 1, 2, 0, 1, 0, 1, 0, 0, 0, 1, 0]);
    }
}
