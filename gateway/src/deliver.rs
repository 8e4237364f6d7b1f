//! Handing events to the sessions of this shard: which connections a delivery is for.

use carillon_protocol::frame::Head;
use carillon_protocol::{RoomId, UserId};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::connections::Key;
use crate::delivery::{Audience, Delivery};
use crate::encoded::{Class, Encoded};

/// The sessions of this shard, by user and by large room.
#[derive(Default)]
pub struct Local {
    users: HashMap<UserId, Few, foldhash::fast::RandomState>,
    subscribers: HashMap<RoomId, Subscribers, foldhash::fast::RandomState>,
    subscriptions: usize,
}

/// Nearly everyone has one session a shard.
enum Few {
    One(Key),
    More(Vec<Key>),
}

/// A large room's sessions here, as a dense list to run along.
#[derive(Default)]
struct Subscribers {
    keys: Vec<Key>,
    head_seq: u64,
    /// The tick in which an event was last handed on.
    moved: u32,
}

impl Few {
    fn as_slice(&self) -> &[Key] {
        match self {
            Few::One(key) => std::slice::from_ref(key),
            Few::More(keys) => keys,
        }
    }
}

impl Local {
    /// A session begins. Says whether it is the user's first here.
    pub fn arrive(&mut self, user: UserId, key: Key) -> bool {
        match self.users.entry(user) {
            Entry::Vacant(entry) => {
                entry.insert(Few::One(key));
                true
            }
            Entry::Occupied(mut entry) => {
                let mut keys = entry.get().as_slice().to_vec();
                keys.push(key);
                entry.insert(Few::More(keys));
                false
            }
        }
    }

    /// A session ends. Says whether it was the user's last here.
    pub fn leave(&mut self, user: UserId, key: Key) -> bool {
        let Entry::Occupied(mut entry) = self.users.entry(user) else { return false };
        let keys: Vec<Key> = entry.get().as_slice().iter().copied().filter(|&other| other != key).collect();
        match keys[..] {
            [] => {
                entry.remove();
                return true;
            }
            [key] => entry.insert(Few::One(key)),
            _ => entry.insert(Few::More(keys)),
        };
        false
    }

    /// The sessions of a user.
    pub fn of_user(&self, user: UserId) -> &[Key] {
        self.users.get(&user).map_or(&[], Few::as_slice)
    }

    /// A session gets a large room's events from now on. Says whether it is the room's first here.
    pub fn subscribe(&mut self, room: RoomId, key: Key) -> bool {
        let subscribers = self.subscribers.entry(room).or_default();
        subscribers.keys.push(key);
        self.subscriptions += 1;
        subscribers.keys.len() == 1
    }

    /// A session does not get a large room's events any more. Says whether it was the room's last here.
    pub fn unsubscribe(&mut self, room: RoomId, key: Key) -> bool {
        let Entry::Occupied(mut entry) = self.subscribers.entry(room) else { return false };
        let before = entry.get().keys.len();
        entry.get_mut().keys.retain(|&other| other != key);
        self.subscriptions -= before - entry.get().keys.len();
        let is_last = entry.get().keys.is_empty();
        if is_last {
            entry.remove();
        }
        is_last
    }

    /// The large rooms that sessions here get.
    pub fn large_rooms(&self) -> impl Iterator<Item = RoomId> {
        self.subscribers.keys().copied()
    }

    /// How many large rooms all sessions here get, each counted for itself.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// Whether any session here gets this large room's events.
    pub fn has_subscribers(&self, room: RoomId) -> bool {
        self.subscribers.contains_key(&room)
    }

    /// Up to where a large room's events were handed on here; 0 where none was.
    pub fn head_seq(&self, room: RoomId) -> u64 {
        self.subscribers.get(&room).map_or(0, |subscribers| subscribers.head_seq)
    }

    /// The subscribers of a large room, where less than up to `head` was handed on here.
    pub fn behind(&mut self, head: Head) -> Vec<Key> {
        match self.subscribers.get_mut(&head.room) {
            Some(subscribers) if subscribers.head_seq < head.seq => {
                subscribers.head_seq = head.seq;
                subscribers.keys.clone()
            }
            _ => Vec::new(),
        }
    }

    /// A large room's last seq, if it moved at this tick or after.
    pub fn moved_since(&self, room: RoomId, tick: u32) -> Option<u64> {
        let subscribers = self.subscribers.get(&room)?;
        (subscribers.moved >= tick && subscribers.head_seq > 0).then_some(subscribers.head_seq)
    }

    /// Calls `each` for every session a delivery is for, in the tick of that number.
    pub fn recipients(&mut self, delivery: &Delivery, tick: u32, mut each: impl FnMut(Key)) {
        match &delivery.audience {
            Audience::Users(users) => {
                for user in users.iter() {
                    self.of_user(*user).iter().copied().for_each(&mut each);
                }
            }
            Audience::Subscribers => {
                let Some(subscribers) = self.subscribers.get_mut(&delivery.room) else { return };
                if let Class::Events { seq } = delivery.class {
                    subscribers.head_seq = subscribers.head_seq.max(seq);
                    subscribers.moved = tick;
                }
                subscribers.keys.iter().copied().for_each(&mut each);
            }
        }
    }
}

/// Makes one delivery of neighbours that are for the same large room, so that a burst costs each subscriber one
/// reference and one write. Small rooms' deliveries stay as they are: joining would copy more than it spares.
pub fn join_bursts(deliveries: Vec<Delivery>) -> Vec<Delivery> {
    let mut joined: Vec<Delivery> = Vec::with_capacity(deliveries.len());
    let mut burst: Vec<Encoded> = Vec::new();
    let mut deliveries = deliveries.into_iter().peekable();
    while let Some(delivery) = deliveries.next() {
        let goes_on = deliveries.peek().is_some_and(|next| is_same_burst(&delivery, next));
        if goes_on || !burst.is_empty() {
            burst.push(delivery.encoded.clone());
        }
        match (goes_on, burst.is_empty()) {
            (true, _) => {}
            (false, true) => joined.push(delivery),
            (false, false) => {
                let first_seq = match delivery.class {
                    Class::Events { seq } => seq + 1 - burst.len() as u64,
                    Class::Ephemeral => 0,
                };
                joined.push(Delivery {
                    class: Class::Events { seq: first_seq },
                    encoded: Encoded::joined(&burst),
                    ..delivery
                });
                burst.clear();
            }
        }
    }
    joined
}

/// Whether `next` is the event right after `delivery`, for the same subscribers.
fn is_same_burst(delivery: &Delivery, next: &Delivery) -> bool {
    let follows = match (delivery.class, next.class) {
        (Class::Events { seq }, Class::Events { seq: next_seq }) => next_seq == seq + 1,
        _ => false,
    };
    follows
        && delivery.room == next.room
        && matches!((&delivery.audience, &next.audience), (Audience::Subscribers, Audience::Subscribers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(number: u8) -> RoomId {
        RoomId::from_bytes([number; 16])
    }

    fn event(number: u8, seq: u64) -> Delivery {
        Delivery {
            room: room(number),
            class: Class::Events { seq },
            encoded: Encoded::new(&[seq as u8]),
            audience: Audience::Subscribers,
        }
    }

    fn shape(deliveries: &[Delivery]) -> Vec<(RoomId, Class, Vec<u8>)> {
        deliveries.iter().map(|one| (one.room, one.class, one.encoded.frames().to_vec())).collect()
    }

    #[test]
    fn a_burst_of_a_large_room_is_one_delivery_that_starts_at_its_first_event() {
        let joined = join_bursts(vec![event(1, 5), event(1, 6), event(1, 7), event(2, 1), event(1, 8)]);
        let expected = [
            (room(1), Class::Events { seq: 5 }, vec![5, 6, 7]),
            (room(2), Class::Events { seq: 1 }, vec![1]),
            (room(1), Class::Events { seq: 8 }, vec![8]),
        ];
        assert_eq!(shape(&joined), expected);
    }

    #[test]
    fn a_session_hears_of_a_room_once_and_never_after_it_left() {
        let mut local = Local::default();
        let [a, b] = [0, 1].map(|index| Key { index, generation: 0 });
        let user = UserId::new(1).unwrap();
        assert!(local.arrive(user, a));
        assert!(!local.arrive(user, b));
        assert!(local.subscribe(room(1), a));
        assert!(!local.subscribe(room(1), b));
        let mut heard = Vec::new();
        local.recipients(&event(1, 1), 7, |key| heard.push(key));
        assert_eq!(heard, [a, b]);
        assert_eq!(local.moved_since(room(1), 7), Some(1));
        assert_eq!(local.moved_since(room(1), 8), None);
        assert!(!local.leave(user, a));
        assert!(local.leave(user, b));
        assert!(!local.unsubscribe(room(1), a));
        assert!(local.unsubscribe(room(1), b));
        local.recipients(&event(1, 2), 8, |_| panic!("nobody is here"));
    }
}
