//! Who is connected where: on a node, which shards hold sessions of a user.
//!
//! Soft state, shared by all shards: each writes its own bit and reads the others' without a lock.

use carillon_protocol::UserId;
use papaya::{Compute, HashMap, Operation};

/// The most shards a node may have: one bit each.
pub const SHARDS_MAX: usize = 128;

/// The shards that hold sessions of a user.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ShardSet(u128);

impl ShardSet {
    /// No shard.
    pub const NONE: Self = Self(0);

    /// Adds a shard.
    pub fn with(self, shard: u16) -> Self {
        Self(self.0 | 1 << shard)
    }

    /// Takes a shard out.
    pub fn without(self, shard: u16) -> Self {
        Self(self.0 & !(1 << shard))
    }

    /// The shards of both.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether a shard is among them.
    pub fn has(self, shard: u16) -> bool {
        self.0 & 1 << shard != 0
    }

    /// One bit for each shard, the first the lowest.
    pub fn bits(self) -> u128 {
        self.0
    }

    /// The shards of those bits.
    pub fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each shard, in order.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        let mut bits = self.0;
        std::iter::from_fn(move || {
            (bits != 0).then(|| {
                let shard = bits.trailing_zeros() as u16;
                bits &= bits - 1;
                shard
            })
        })
    }
}

/// The node's directory.
#[derive(Default)]
pub struct Directory {
    users: HashMap<UserId, ShardSet, foldhash::fast::RandomState>,
}

impl Directory {
    /// A shard has its first session of this user.
    pub fn arrive(&self, user: UserId, shard: u16) {
        self.users.pin().update_or_insert(user, |set| set.with(shard), ShardSet::NONE.with(shard));
    }

    /// A shard has no session of this user any more.
    pub fn leave(&self, user: UserId, shard: u16) {
        let users = self.users.pin();
        let computed = users.compute(user, |entry| match entry.map(|(_, set)| set.without(shard)) {
            None => Operation::Abort(()),
            Some(set) if set.is_empty() => Operation::Remove,
            Some(set) => Operation::Insert(set),
        });
        debug_assert!(!matches!(computed, Compute::Aborted(())), "a user leaves who never arrived");
    }

    /// Where sessions of these users are.
    pub fn shards_of(&self, users: &[UserId]) -> ShardSet {
        let map = self.users.pin();
        users.iter().fold(ShardSet::NONE, |all, user| map.get(user).map_or(all, |&set| all.union(set)))
    }

    /// Where sessions of this user are.
    pub fn shards_of_user(&self, user: UserId) -> ShardSet {
        self.users.pin().get(&user).copied().unwrap_or_default()
    }

    /// Calls `each` for every user who is connected.
    pub fn each_user(&self, mut each: impl FnMut(UserId)) {
        self.users.pin().keys().for_each(|&user| each(user));
    }

    /// How many users are connected.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether nobody is connected.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_where_their_sessions_are_and_gone_with_the_last() {
        let directory = Directory::default();
        let [ann, bob] = [1, 2].map(|id| UserId::new(id).unwrap());
        directory.arrive(ann, 0);
        directory.arrive(ann, 127);
        directory.arrive(bob, 3);
        let shards: Vec<u16> = directory.shards_of(&[ann, bob]).iter().collect();
        assert_eq!(shards, [0, 3, 127]);
        directory.leave(ann, 0);
        directory.leave(ann, 127);
        assert!(directory.shards_of_user(ann).is_empty());
        assert_eq!(directory.len(), 1);
    }
}
