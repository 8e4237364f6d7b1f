//! Who belongs to a room, what they may do, and how far they have read.

use std::sync::Arc;

use carillon_protocol::UserId;
use carillon_protocol::frame::Role;
use carillon_storage::MemberRow;
use hashbrown::HashMap;

use super::room::Head;

/// A room's members.
#[derive(Default)]
pub struct Members {
    rows: HashMap<UserId, MemberRow, foldhash::fast::RandomState>,
    /// The same as a list to hand out; made when first needed after a change.
    list: Option<Arc<[UserId]>>,
}

impl Members {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none: everybody left.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A member's row.
    pub fn get(&self, user: UserId) -> Option<&MemberRow> {
        self.rows.get(&user)
    }

    /// A member's row, to move markers in.
    pub fn get_mut(&mut self, user: UserId) -> Option<&mut MemberRow> {
        self.rows.get_mut(&user)
    }

    /// Whether anyone is an owner.
    pub fn has_owner(&self) -> bool {
        self.rows.values().any(|row| row.role == Role::Owner)
    }

    /// Takes a member as the store has it.
    pub fn insert(&mut self, row: MemberRow) {
        self.rows.insert(row.user, row);
        self.list = None;
    }

    /// Somebody joins with the event at `head`: what came before is neither theirs to read nor unread.
    pub fn join(&mut self, user: UserId, role: Role, head: Head) {
        self.insert(MemberRow {
            user,
            role,
            joined_seq: head.seq,
            joined_ordinal: head.ordinal,
            read_seq: head.seq,
            read_ordinal: head.ordinal,
            read_ms: 0,
            own_ordinal: 0,
        });
    }

    /// What a member was before a change is what they are again.
    pub fn put_back(&mut self, user: UserId, before: Option<MemberRow>) {
        match before {
            Some(row) => self.insert(row),
            None => self.remove(user),
        }
    }

    /// Somebody is no longer a member.
    pub fn remove(&mut self, user: UserId) {
        self.rows.remove(&user);
        self.list = None;
    }

    /// Everyone, as a list that recipients share.
    pub fn list(&mut self) -> Arc<[UserId]> {
        let rows = &self.rows;
        Arc::clone(self.list.get_or_insert_with(|| rows.keys().copied().collect()))
    }

    /// Everyone but this one.
    pub fn others(&mut self, except: UserId) -> Arc<[UserId]> {
        self.list().iter().copied().filter(|&user| user != except).collect()
    }

    /// Members with ids above `after`, in order of id, at most `limit`, and whether there are more.
    pub fn page(&self, after: u64, limit: usize) -> (Vec<MemberRow>, bool) {
        let mut rows: Vec<MemberRow> =
            self.rows.values().filter(|row| row.user.get() > after).copied().collect();
        let more = rows.len() > limit;
        // Only what is shown is sorted: a page of a large room is asked for often.
        if more {
            rows.select_nth_unstable_by_key(limit, |row| row.user);
            rows.truncate(limit);
        }
        rows.sort_unstable_by_key(|row| row.user);
        (rows, more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_in_order_of_id() {
        let mut members = Members::default();
        for number in [5, 3, 9, 1, 7] {
            members.join(UserId::new(number).unwrap(), Role::Member, Head::default());
        }
        let page = |after, limit| {
            let (rows, more) = members.page(after, limit);
            (rows.iter().map(|row| row.user.get()).collect::<Vec<_>>(), more)
        };
        assert_eq!(page(0, 2), (vec![1, 3], true));
        assert_eq!(page(3, 2), (vec![5, 7], true));
        assert_eq!(page(7, 2), (vec![9], false));
        assert_eq!(page(0, 5), (vec![1, 3, 5, 7, 9], false));
    }
}
