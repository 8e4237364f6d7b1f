//! The keys of the tables: fixed widths, numbers big-endian, so that byte order is the order of reading.

use carillon_protocol::{ClientId, RoomId, UserId};

use crate::Partition;

pub(super) type RoomKey = [u8; 16];
pub(super) type EventKey = [u8; 24];
pub(super) type MemberKey = [u8; 24];
pub(super) type UserRoomKey = [u8; 24];
pub(super) type SentKey = [u8; 40];

pub(super) fn room(room: RoomId) -> RoomKey {
    *room.as_bytes()
}

/// `room | seq`. No bucket: one tree holds all rooms, so there is no partition to keep small.
pub(super) fn event(room: RoomId, seq: u64) -> EventKey {
    joined(room.as_bytes(), &seq.to_be_bytes())
}

/// `room | user`.
pub(super) fn member(room: RoomId, user: u64) -> MemberKey {
    joined(room.as_bytes(), &user.to_be_bytes())
}

/// `user | room`.
pub(super) fn user_room(user: UserId, room: RoomId) -> UserRoomKey {
    joined(&user.get().to_be_bytes(), room.as_bytes())
}

/// `room | sender | client id`.
pub(super) fn sent(room: RoomId, sender: UserId, client_id: ClientId) -> SentKey {
    joined(&member(room, sender.get()), client_id.as_bytes())
}

pub(super) fn archived(partition: Partition) -> [u8; 2] {
    partition.to_be_bytes()
}

/// The room that a user-room key ends with.
pub(super) fn room_of_user_room(key: &[u8]) -> Option<RoomId> {
    Some(RoomId::from_bytes(*key.last_chunk()?))
}

/// The number that a key of events or members ends with.
pub(super) fn number_at_end(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*key.last_chunk()?))
}

fn joined<const A: usize, const B: usize, const C: usize>(head: &[u8; A], tail: &[u8; B]) -> [u8; C] {
    const { assert!(A + B == C) };
    let mut key = [0; C];
    key[..A].copy_from_slice(head);
    key[A..].copy_from_slice(tail);
    key
}
