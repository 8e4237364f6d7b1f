//! `typing`: told to the others at once, kept nowhere, dropped first.

use carillon_protocol::Frame;

use super::{Decided, Decision, Turn, member};
use crate::delivery::Delivery;
use crate::home::room::Room;

/// Tells the other members. In rooms too large for receipts it is too large for this.
pub fn decide(room: &mut Room, turn: &mut Turn<'_>, active: bool) -> Decision {
    member(room, turn.user)?;
    if room.members.len() > turn.settings.receipts_members_max {
        return Ok(Decided::Told(None));
    }
    let others = room.members.others(turn.user);
    let frame = Frame::Typing { room: room.id, user: Some(turn.user), active };
    Ok(Decided::Told(Some(Delivery::ephemeral(room.id, others, &frame))))
}
