//! Homes of partitions: a node that joins takes some, one that goes or leaves gives its own away, and nobody else's move.
//! Each has about as many as the others.

use carillon_gateway::cluster::view::{Node, NodeId, View};
use proptest::collection::btree_map;
use proptest::prelude::*;

const PARTITIONS: u16 = 256;

fn some_nodes() -> impl Strategy<Value = Vec<Node>> {
    btree_map(1_u64.., ("[a-z]{0,8}", 1_u16..128), 1..12).prop_map(|nodes| {
        let node = |(id, (name, shards)): (u64, (String, u16))| Node {
            id: NodeId::new(id).unwrap(),
            name: name.into(),
            shards,
            leaving: false,
        };
        nodes.into_iter().map(node).collect()
    })
}

fn homes(nodes: &[Node]) -> Vec<Option<NodeId>> {
    let view = View::new(nodes.iter().cloned(), PARTITIONS);
    (0..PARTITIONS).map(|partition| view.home_of(partition)).collect()
}

proptest! {
    #[test]
    fn the_others_keep_theirs(nodes in some_nodes(), which: proptest::sample::Index) {
        let gone = which.index(nodes.len());
        let before = homes(&nodes);
        let mut without = nodes.clone();
        without.remove(gone);
        let mut leaving = nodes.clone();
        leaving[gone].leaving = true;
        let after = homes(&without);
        for (before, after) in before.iter().zip(&after) {
            if *before == Some(nodes[gone].id) {
                prop_assert_ne!(*after, Some(nodes[gone].id));
            } else {
                prop_assert_eq!(before, after);
            }
        }
        prop_assert_eq!(&after, &homes(&leaving));
        let view = View::new(nodes.iter().rev().cloned(), PARTITIONS);
        for node in &nodes {
            for partition in view.partitions_of(node.id) {
                prop_assert_eq!(before[usize::from(partition)], Some(node.id));
            }
        }
        let owned: usize = nodes.iter().map(|node| view.partitions_of(node.id).count()).sum();
        prop_assert_eq!(owned, usize::from(PARTITIONS));
    }
}

#[test]
fn each_has_about_as_many() {
    let node = |number: u64| Node {
        id: NodeId::new(number.wrapping_mul(0x1234_5678_9abc_def1)).unwrap(),
        name: format!("node-{number}").into(),
        shards: 2,
        leaving: false,
    };
    let nodes: Vec<Node> = (1..=16).map(node).collect();
    let view = View::new(nodes.iter().cloned(), 4096);
    for node in &nodes {
        let share = view.partitions_of(node.id).count();
        assert!((256 - 70..256 + 70).contains(&share), "{} has {share} of 4096", node.name);
    }
}
