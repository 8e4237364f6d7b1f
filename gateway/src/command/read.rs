//! `mark_read`: a member's marker moves forward, and whoever cares hears of it.

use std::sync::Arc;

use carillon_protocol::{Frame, UserId};
use carillon_storage::MemberRow;

use super::{Decided, Decision, Turn, member};
use crate::delivery::Delivery;
use crate::home::ledger::{Ack, After, Read};
use crate::home::room::{Head, Room};

/// Writes down that everything up to `seq` is read, at most up to the room's last durable event, and never back.
pub fn decide(room: &mut Room, turn: &mut Turn<'_>, seq: u64) -> Decision {
    let row = *member(room, turn.user)?;
    let seq = seq.min(room.durable.seq);
    if seq <= row.read_seq {
        return turn.ack(Head { seq: row.read_seq, ordinal: row.read_ordinal, at_ms: 0 });
    }
    // The home has looked an older event up already; one that even the store does not have counts as nothing read.
    let ordinal = room.ordinal_at(seq).unwrap_or(row.read_ordinal);
    let (user, to, request, at_ms) = (turn.user, turn.from, turn.request, turn.now_ms);
    turn.ledger.read(room, Read { room: room.id, user, seq, ordinal, at_ms, to, request });
    Ok(Decided::WhenDurable)
}

/// That is durable: the reader's own devices hear what is left unread; in rooms that are not too large, everyone hears how
/// far they are. `row` is where the marker stands now.
pub fn tell(
    room: &mut Room,
    read: &Read,
    row: &MemberRow,
    receipts_members_max: usize,
    out: &mut Vec<After>,
) {
    let (user, seq) = (read.user, row.read_seq);
    let mut deliver = |users: Arc<[UserId]>, unread| {
        let frame = Frame::Read { room: read.room, user, seq, unread };
        out.push(After::Deliver(Delivery::ephemeral(read.room, users, &frame)));
    };
    deliver(Arc::new([user]), Some(row.unread(room.durable.ordinal)));
    if room.members.len() <= receipts_members_max {
        let others = room.members.others(user);
        if !others.is_empty() {
            deliver(others, None);
        }
    }
    out.push(After::Ack(Ack {
        to: read.to,
        request: read.request,
        seq,
        ordinal: row.read_ordinal,
        at_ms: 0,
    }));
}
