//! Who decides: `room → partition → node → shard`. The same rule places users.
//!
//! Mine: call. Another shard's: one message. Another node's: one message, with all others of the turn.

use std::sync::Arc;

use arc_swap::ArcSwap;
use carillon_protocol::{RoomId, UserId};
use carillon_storage::Partition;

use crate::cluster::view::{NodeId, View};

/// A shard of a node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    /// Which node.
    pub node: NodeId,
    /// Which of its shards.
    pub shard: u16,
}

/// Which partitions there are and where each has its home.
#[derive(Clone, Debug)]
pub struct Route {
    /// Set once for a data folder or a cluster.
    pub partitions: Partition,
    /// How many this node has; set at each start.
    pub shards: u16,
    /// This node.
    pub me: NodeId,
    /// Each partition's home, where there are other nodes.
    homes: Option<Arc<ArcSwap<Vec<Place>>>>,
}

impl Route {
    /// A node by itself: all homes are its own.
    pub fn alone(partitions: Partition, shards: u16) -> Self {
        Self { partitions, shards, me: NodeId::ALONE, homes: None }
    }

    /// A node of a cluster that has seen nobody yet, so that all homes are its own.
    pub fn in_cluster(partitions: Partition, shards: u16, me: NodeId) -> Self {
        let homes = (0..partitions).map(|partition| Place { node: me, shard: partition % shards }).collect();
        Self { partitions, shards, me, homes: Some(Arc::new(ArcSwap::from_pointee(homes))) }
    }

    /// From now on, for all clones too, homes are where this view has them. A partition without one stays where it is.
    pub fn follow(&self, view: &View) {
        let Some(homes) = &self.homes else { return };
        let mut now = homes.load().to_vec();
        for (partition, place) in now.iter_mut().enumerate() {
            let partition = partition as Partition;
            if let Some(node) = view.home_of(partition)
                && let Some(shards) = view.shards_of(node).filter(|&shards| shards > 0)
            {
                *place = Place { node, shard: partition % shards };
            }
        }
        homes.store(Arc::new(now));
    }

    /// Whether there may be other nodes.
    pub fn is_in_cluster(&self) -> bool {
        self.homes.is_some()
    }

    /// Whether that is a shard of this node.
    pub fn is_here(&self, place: Place) -> bool {
        place.node == self.me
    }

    /// One of this node's shards.
    pub fn here(&self, shard: u16) -> Place {
        Place { node: self.me, shard }
    }

    /// The partition that owns a room.
    pub fn partition_of_room(&self, room: RoomId) -> Partition {
        let bytes = room.as_bytes();
        let (high, low) = bytes.split_at(8);
        let fold = |half: &[u8]| half.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        self.partition_of(fold(high) ^ mix(fold(low)))
    }

    /// The partition that owns a user.
    pub fn partition_of_user(&self, user: UserId) -> Partition {
        self.partition_of(user.get())
    }

    /// The shard that owns a partition where its home is this node.
    pub fn shard_of(&self, partition: Partition) -> u16 {
        partition % self.shards
    }

    /// The shard that owns a partition.
    pub fn home_of(&self, partition: Partition) -> Place {
        let elsewhere =
            self.homes.as_ref().and_then(|homes| homes.load().get(usize::from(partition)).copied());
        elsewhere.unwrap_or_else(|| self.here(self.shard_of(partition)))
    }

    /// The shard that decides about a room.
    pub fn home_of_room(&self, room: RoomId) -> Place {
        self.home_of(self.partition_of_room(room))
    }

    /// The shard that knows a user's rooms.
    pub fn home_of_user(&self, user: UserId) -> Place {
        self.home_of(self.partition_of_user(user))
    }

    fn partition_of(&self, word: u64) -> Partition {
        (mix(word) % u64::from(self.partitions)) as Partition
    }
}

/// The finalizer of splitmix64 (Steele, Lea, Flood 2014). Partitions outlive processes, so this must never change.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
