//! `add_members`, `remove_member`, `leave`, `members`: who belongs to a room.

use carillon_protocol::frame::{Member, Role};
use carillon_protocol::{ErrorCode, EventBody, Frame, UserId};

use super::create_room::distinct;
use super::{Decided, Decision, Refusal, Turn, member, owner, page_len};
use crate::config::Config;
use crate::home::ledger::After;
use crate::home::room::Room;
use crate::shard::message::Reply;

/// How many members a `member_list` holds at most.
const PAGE_MAX: usize = 1000;
/// How many bytes a `member_list` has, about.
pub const LIST_BYTES: usize = 12 * PAGE_MAX;

/// At least one user, and no more than a request may name.
pub fn check(members: &[UserId], settings: &Config) -> Result<(), Refusal> {
    if members.is_empty() {
        return Err(Refusal::new(ErrorCode::INVALID, "Name at least one user to add."));
    }
    if members.len() > settings.members_per_request_max {
        return Err(too_many_at_once(settings));
    }
    Ok(())
}

/// `add_members`: an owner adds users; who is a member already is passed over.
pub fn add(room: &mut Room, turn: &mut Turn<'_>, users: &[UserId]) -> Decision {
    owner(room, turn.user)?;
    let mut new = distinct(users, turn.user);
    new.retain(|&user| room.members.get(user).is_none());
    if new.is_empty() {
        return turn.ack(room.head);
    }
    if room.members.len() + new.len() > turn.settings.members_per_room_max {
        return Err(room_is_full(turn.settings));
    }
    let head = room.head.next(false, turn.now_ms);
    for &user in &new {
        turn.ledger.join(room, user, Role::Member, head);
    }
    room.joined(turn.ledger, &new.as_slice().into(), head.seq, turn.settings.inbox_limit);
    let audience = room.audience();
    let body = EventBody::MembersAdded { members: new };
    let head = turn.ledger.event(room, turn.user, body, audience, turn.now_ms);
    turn.ack(head)
}

/// `remove_member`: an owner removes a member, who is told.
pub fn remove(room: &mut Room, turn: &mut Turn<'_>, user: UserId) -> Decision {
    owner(room, turn.user)?;
    if user == turn.user {
        return Err(Refusal::new(ErrorCode::INVALID, "To remove yourself, leave the room."));
    }
    if room.members.get(user).is_none() {
        return turn.ack(room.head);
    }
    part(room, turn, user, EventBody::MemberRemoved { user })
}

/// `leave`: a member goes.
pub fn leave(room: &mut Room, turn: &mut Turn<'_>) -> Decision {
    member(room, turn.user)?;
    part(room, turn, turn.user, EventBody::MemberLeft)
}

/// `members`: who belongs to the room, in order of id.
pub fn list(room: &Room, turn: &mut Turn<'_>, after_user: u64, limit: u64) -> Decision {
    member(room, turn.user)?;
    let (rows, more) = room.members.page(after_user, page_len(limit, PAGE_MAX));
    let members =
        rows.iter().map(|row| Member { user: row.user, role: row.role, read_seq: row.read_seq }).collect();
    let frame = Frame::MemberList { request: turn.request, room: room.id, members, more };
    // Members join and part in memory before that is durable: the list waits for it, like whoever made it so.
    turn.ledger.after(After::Answer { to: turn.from, request: turn.request, reply: Reply::Frame(frame) });
    Ok(Decided::WhenDurable)
}

/// Takes a member out; they are still among those who hear of it.
fn part(room: &mut Room, turn: &mut Turn<'_>, user: UserId, body: EventBody<'_>) -> Decision {
    let audience = room.audience();
    turn.ledger.part(room, user);
    let head = turn.ledger.event(room, turn.user, body, audience, turn.now_ms);
    // A room that was large once may have subscribers still.
    turn.ledger.after(After::Unsubscribe(room.id, user));
    turn.ledger.membership(room.id, user, false, None);
    turn.ack(head)
}

/// More users in one request than it may name.
pub fn too_many_at_once(settings: &Config) -> Refusal {
    let message = format!("At most {} users may be named in one request.", settings.members_per_request_max);
    Refusal::new(ErrorCode::LIMIT, message)
}

/// More members than a room may have.
pub fn room_is_full(settings: &Config) -> Refusal {
    let message = format!("A room has at most {} members.", settings.members_per_room_max);
    Refusal::new(ErrorCode::LIMIT, message)
}
