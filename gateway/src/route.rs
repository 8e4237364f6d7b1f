//! Who decides: `room → partition → shard`. The same rule places users.
//!
//! Mine: call. Another shard's: one message. (Another node's: one request, when there are several.)

use carillon_protocol::{RoomId, UserId};
use carillon_storage::Partition;

/// How many partitions and shards there are; fixed while the process lives.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// Set once for a data folder (later: a cluster).
    pub partitions: Partition,
    /// Set at each start.
    pub shards: u16,
}

impl Route {
    /// The partition that owns a room.
    pub fn partition_of_room(self, room: RoomId) -> Partition {
        let bytes = room.as_bytes();
        let (high, low) = bytes.split_at(8);
        let fold = |half: &[u8]| half.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
        self.partition_of(fold(high) ^ mix(fold(low)))
    }

    /// The partition that owns a user.
    pub fn partition_of_user(self, user: UserId) -> Partition {
        self.partition_of(user.get())
    }

    /// The shard that owns a partition.
    pub fn shard_of(self, partition: Partition) -> u16 {
        partition % self.shards
    }

    /// The shard that decides about a room.
    pub fn home_of_room(self, room: RoomId) -> u16 {
        self.shard_of(self.partition_of_room(room))
    }

    /// The shard that knows a user's rooms.
    pub fn home_of_user(self, user: UserId) -> u16 {
        self.shard_of(self.partition_of_user(user))
    }

    fn partition_of(self, word: u64) -> Partition {
        (mix(word) % u64::from(self.partitions)) as Partition
    }
}

/// The finalizer of splitmix64 (Steele, Lea, Flood 2014). Partitions outlive processes, so this must never change.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
