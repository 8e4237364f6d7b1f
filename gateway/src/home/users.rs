//! What the store does not know yet of users' rooms: memberships that are durable but not archived.
//!
//! A user's list of rooms is the store's and this, so it is exact at every moment and costs an idle user nothing.

use carillon_protocol::{RoomId, UserId};
use carillon_storage::Positions;
use hashbrown::HashMap;

use crate::shard::message::Membership;

/// Changes of the users of one shard, in the order in which they became durable.
#[derive(Default)]
pub struct Users {
    changes: HashMap<UserId, Vec<Membership>, foldhash::fast::RandomState>,
}

impl Users {
    /// Takes a change.
    pub fn change(&mut self, membership: Membership) {
        self.changes.entry(membership.user).or_default().push(membership);
    }

    /// Forgets what the store has by now.
    pub fn archived(&mut self, positions: &Positions) {
        let is_archived = |change: &Membership| {
            positions.get(usize::from(change.partition)).is_some_and(|&archived| change.position <= archived)
        };
        self.changes.retain(|_, changes| {
            changes.retain(|change| !is_archived(change));
            !changes.is_empty()
        });
        if self.changes.capacity() > 4 * self.changes.len().max(64) {
            self.changes.shrink_to_fit();
        }
    }

    /// Forgets users who are not this home's to know of.
    pub fn forget(&mut self, is_forgotten: impl Fn(UserId) -> bool) {
        self.changes.retain(|&user, _| !is_forgotten(user));
    }

    /// A copy of a user's changes, to lay over what the store is about to say.
    pub fn of(&self, user: UserId) -> Vec<Membership> {
        self.changes.get(&user).cloned().unwrap_or_default()
    }
}

/// Lays changes over a page of the store's list: rooms after `after`, in order of id, at most `limit`.
/// `page_is_last` says that the store has no more behind its page.
pub fn overlay(
    stored: Vec<RoomId>,
    changes: &[Membership],
    after: Option<RoomId>,
    limit: usize,
    page_is_last: bool,
) -> Vec<RoomId> {
    let last = stored.last().copied();
    let mut rooms = stored;
    for change in changes {
        let in_page = Some(change.room) > after && (page_is_last || Some(change.room) <= last);
        let place = rooms.binary_search(&change.room);
        match (change.joined && in_page, place) {
            (true, Err(place)) => rooms.insert(place, change.room),
            (false, Ok(place)) if !change.joined => {
                rooms.remove(place);
            }
            _ => {}
        }
    }
    rooms.truncate(limit);
    rooms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(number: u8) -> RoomId {
        RoomId::from_bytes([number; 16])
    }

    fn change(number: u8, joined: bool) -> Membership {
        Membership {
            user: UserId::new(1).unwrap(),
            room: room(number),
            joined,
            large_seq: None,
            partition: 0,
            position: 5,
        }
    }

    fn laid(stored: &[u8], changes: &[(u8, bool)], after: Option<u8>, last: bool) -> Vec<RoomId> {
        let changes: Vec<_> = changes.iter().map(|&(number, joined)| change(number, joined)).collect();
        overlay(stored.iter().map(|&number| room(number)).collect(), &changes, after.map(room), 10, last)
    }

    #[test]
    fn joins_and_leaves_that_are_not_archived_show() {
        assert_eq!(laid(&[2, 4], &[(3, true), (4, false)], None, true), [room(2), room(3)]);
        assert_eq!(laid(&[2], &[(3, true), (3, false)], None, true), [room(2)]);
        assert_eq!(laid(&[2], &[(2, true)], None, true), [room(2)], "archived meanwhile: once is enough");
    }

    #[test]
    fn a_page_holds_only_rooms_of_its_own_stretch() {
        assert_eq!(
            laid(&[2, 4], &[(1, true), (3, true), (9, true)], Some(1), false),
            [room(2), room(3), room(4)]
        );
        assert_eq!(laid(&[6], &[(1, true), (9, true)], Some(5), true), [room(6), room(9)]);
    }

    #[test]
    fn what_is_archived_is_forgotten() {
        let mut users = Users::default();
        users.change(change(1, true));
        users.archived(&vec![4]);
        assert_eq!(users.of(UserId::new(1).unwrap()).len(), 1);
        users.archived(&vec![5]);
        assert!(users.of(UserId::new(1).unwrap()).is_empty());
    }
}
