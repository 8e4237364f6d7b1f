//! Which other nodes have sessions of a user: for the users whose home this node is.
//!
//! Soft state, shared by all shards. Nodes say when a user's first session begins and when the last ends; when a partition's
//! home moves, they say it again to the new one.

use carillon_protocol::UserId;
use carillon_storage::Partition;
use papaya::{Compute, HashMap, Operation};
use std::sync::atomic::{AtomicBool, Ordering};

use super::view::NodeId;

/// Nearly everyone is on one node.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Nodes {
    One(NodeId),
    More(Box<[NodeId]>),
}

impl Nodes {
    fn as_slice(&self) -> &[NodeId] {
        match self {
            Self::One(node) => std::slice::from_ref(node),
            Self::More(nodes) => nodes,
        }
    }

    /// Nothing where there are none.
    fn of(nodes: Vec<NodeId>) -> Option<Self> {
        match nodes[..] {
            [] => None,
            [node] => Some(Self::One(node)),
            _ => Some(Self::More(nodes.into())),
        }
    }

    fn without(&self, node: NodeId) -> Option<Self> {
        Self::of(self.as_slice().iter().copied().filter(|&other| other != node).collect())
    }
}

/// Where users are, but for this node: that is in its directory.
pub struct Presence {
    users: HashMap<UserId, Nodes, foldhash::fast::RandomState>,
    complete: Box<[AtomicBool]>,
}

impl Presence {
    /// Nobody is anywhere, and that is all there is to know of each partition.
    pub fn new(partitions: Partition) -> Self {
        Self { users: HashMap::default(), complete: (0..partitions).map(|_| AtomicBool::new(true)).collect() }
    }

    /// A user has a first session on a node.
    pub fn arrive(&self, user: UserId, node: NodeId) {
        self.users.pin().update_or_insert_with(
            user,
            |nodes| {
                let mut all = nodes.as_slice().to_vec();
                if !all.contains(&node) {
                    all.push(node);
                }
                Nodes::of(all).unwrap_or(Nodes::One(node))
            },
            || Nodes::One(node),
        );
    }

    /// A user has no session on a node any more.
    pub fn leave(&self, user: UserId, node: NodeId) {
        let users = self.users.pin();
        let computed = users.compute(user, |entry| match entry.map(|(_, nodes)| nodes.without(node)) {
            None => Operation::Abort(()),
            Some(None) => Operation::Remove,
            Some(Some(nodes)) => Operation::Insert(nodes),
        });
        // Who leaves without having arrived was announced to the home before.
        let (Compute::Inserted(..) | Compute::Updated { .. } | Compute::Removed(..) | Compute::Aborted(())) =
            computed;
    }

    /// Calls `each` for every other node that has sessions of this user.
    pub fn each_node(&self, user: UserId, each: impl FnMut(NodeId)) {
        if let Some(nodes) = self.users.pin().get(&user) {
            nodes.as_slice().iter().copied().for_each(each);
        }
    }

    /// A node has no sessions any more of those of its users whom `is_forgotten` says.
    pub fn forget_node(&self, node: NodeId, is_forgotten: impl Fn(UserId) -> bool) {
        let users = self.users.pin();
        let is_theirs = |user: UserId, nodes: &Nodes| nodes.as_slice().contains(&node) && is_forgotten(user);
        let theirs: Vec<UserId> =
            users.iter().filter(|&(&user, nodes)| is_theirs(user, nodes)).map(|(&user, _)| user).collect();
        theirs.into_iter().for_each(|user| self.leave(user, node));
    }

    /// Users of these are no longer this node's to know of.
    pub fn forget(&self, is_forgotten: impl Fn(UserId) -> bool) {
        let users = self.users.pin();
        users.retain(|&user, _| !is_forgotten(user));
    }

    /// Whether every node has announced its users of a partition.
    pub fn is_complete(&self, partition: Partition) -> bool {
        self.complete.get(usize::from(partition)).is_none_or(|complete| complete.load(Ordering::Acquire))
    }

    /// Says so.
    pub fn set_complete(&self, partition: Partition, is_complete: bool) {
        if let Some(complete) = self.complete.get(usize::from(partition)) {
            complete.store(is_complete, Ordering::Release);
        }
    }

    /// How many users are known to be on other nodes.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_on_the_nodes_that_said_so_and_live() {
        let presence = Presence::new(4);
        let [ann, bob] = [1, 2].map(|id| UserId::new(id).unwrap());
        let [a, b] = [10, 20].map(|id| NodeId::new(id).unwrap());
        presence.arrive(ann, a);
        presence.arrive(ann, b);
        presence.arrive(ann, b);
        presence.arrive(bob, b);
        let nodes_of = |user| {
            let mut nodes = Vec::new();
            presence.each_node(user, |node| nodes.push(node));
            nodes
        };
        assert_eq!(nodes_of(ann), [a, b]);
        presence.leave(ann, a);
        presence.leave(bob, a);
        assert_eq!((nodes_of(ann), nodes_of(bob)), (vec![b], vec![b]));
        presence.forget_node(b, |user| user == bob);
        assert_eq!((nodes_of(ann), nodes_of(bob)), (vec![b], vec![]));
        presence.forget_node(b, |_| true);
        assert!(presence.is_empty());
    }
}
