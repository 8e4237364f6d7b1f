//! `typing`: told to the others at once, kept nowhere, dropped first.

use std::sync::Arc;

use carillon_protocol::{Frame, UserId};

use super::{Decided, Decision, Turn, member};
use crate::delivery::{Audience, Delivery};
use crate::encoded::{Class, Encoded};
use crate::home::room::Room;

/// Tells the other members. In rooms too large for receipts it is too large for this.
pub fn decide(room: &mut Room, turn: &mut Turn<'_>, active: bool) -> Decision {
    member(room, turn.user)?;
    if room.members.len() > turn.settings.receipts_members_max {
        return Ok(Decided::Told(None));
    }
    let user = turn.user;
    let others: Arc<[UserId]> = room.members.list().iter().copied().filter(|&other| other != user).collect();
    let frame = Frame::Typing { room: room.id, user: Some(user), active };
    Ok(Decided::Told(Some(Delivery {
        room: room.id,
        class: Class::Ephemeral,
        encoded: Encoded::frame(&frame),
        audience: Audience::Users(others),
    })))
}
