//! `create_room`: its creator chooses the id, so that a retry finds the room there.

use std::borrow::Cow;

use carillon_protocol::frame::Role;
use carillon_protocol::{ErrorCode, EventBody, RoomId, UserId};

use super::{Decision, Refusal, Turn};
use crate::config::Config;
use crate::home::room::{Head, Room};

/// A name and a list of members within the limits.
pub fn check(name: &str, members: &[UserId], settings: &Config) -> Result<(), Refusal> {
    if name.len() > settings.name_bytes_max {
        let message =
            format!("The name has {} bytes; at most {} are taken.", name.len(), settings.name_bytes_max);
        return Err(Refusal::new(ErrorCode::TOO_LARGE, message));
    }
    if members.len() > settings.members_per_request_max {
        return Err(super::membership::too_many_at_once(settings));
    }
    Ok(())
}

/// A room that did not exist: its first event, and everyone in it.
pub fn decide(id: RoomId, turn: &mut Turn<'_>, name: &str, members: &[UserId]) -> Result<Room, Refusal> {
    let mut room = Room::new(id, name);
    let others = distinct(members, turn.user);
    if others.len() + 1 > turn.settings.members_per_room_max {
        return Err(super::membership::room_is_full(turn.settings));
    }
    let first = Head { seq: 1, ordinal: 0, at_ms: turn.now_ms };
    turn.ledger.join(&mut room, turn.user, Role::Owner, first);
    for &user in &others {
        turn.ledger.join(&mut room, user, Role::Member, first);
    }
    let everyone = room.members.list();
    let body = EventBody::RoomCreated { name: Cow::Borrowed(name), members: others };
    room.joined(turn.ledger, &everyone, first.seq, turn.settings.inbox_limit);
    let audience = room.audience();
    let head = turn.ledger.event(&mut room, turn.user, body, audience, turn.now_ms);
    turn.ack(head)?;
    Ok(room)
}

/// A room that exists: the same creator asking for the same room again is answered as before.
pub fn repeat(room: &mut Room, turn: &mut Turn<'_>, name: &str, _members: &[UserId]) -> Decision {
    let is_owner =
        room.members.get(turn.user).is_some_and(|row| row.role == Role::Owner && row.joined_seq == 1);
    if !is_owner || *room.name != *name {
        return Err(Refusal::new(ErrorCode::CONFLICT, "Another room has this id. Choose a new UUID."));
    }
    turn.ack(Head { seq: 1, ordinal: 0, at_ms: 0 })
}

/// The users once each, without `except`.
pub fn distinct(users: &[UserId], except: UserId) -> Vec<UserId> {
    let mut users: Vec<UserId> = users.iter().copied().filter(|&user| user != except).collect();
    users.sort_unstable();
    users.dedup();
    users
}
