//! What a client can ask for: a file a command. Each says what it is, how it is checked, what it does.
//!
//! Commands on a room are decided at its home, in one synchronous step: they look at the room, write into the
//! partition's ledger what shall become durable, and owe the rest until it is. Nothing here waits.

pub mod create_room;
pub mod history;
pub mod membership;
pub mod read;
pub mod rooms;
pub mod send;
pub mod sync;
pub mod typing;

use std::borrow::Cow;

use carillon_protocol::frame::Role;
use carillon_protocol::{ErrorCode, Frame, RoomId, UserId};
use carillon_storage::MemberRow;

use crate::config::Config;
use crate::delivery::Delivery;
use crate::home::ledger::{Ack, After, Ledger};
use crate::home::room::{Head, Room};
use crate::shard::message::{Origin, Reply};

/// When to come back where too much waits.
const RETRY_BUSY_MS: u64 = 200;
/// When to come back where the log, the store or the node is away.
const RETRY_UNAVAILABLE_MS: u64 = 1_000;

/// Why a request was not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Whether to come back.
    pub code: ErrorCode,
    /// What was wrong, for people.
    pub message: Cow<'static, str>,
    /// When to come back.
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    /// A request that will not do, however often it is repeated.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None }
    }

    /// A request that may be repeated later: soon where only too much waits, less soon where something is away.
    pub fn later(code: ErrorCode) -> Self {
        let retry_after_ms = if code == ErrorCode::BUSY { RETRY_BUSY_MS } else { RETRY_UNAVAILABLE_MS };
        Self::after(code, retry_after_ms)
    }

    /// A connection that asks more in a second than it may.
    pub fn too_fast(retry_after_ms: u64) -> Self {
        Self::after(ErrorCode::RATE_LIMITED, retry_after_ms)
    }

    fn after(code: ErrorCode, retry_after_ms: u64) -> Self {
        Self { code, message: code.sentence().into(), retry_after_ms: Some(retry_after_ms) }
    }

    /// A room that is not there, or not for this user: the two look the same from outside.
    pub fn not_a_member() -> Self {
        Self::new(ErrorCode::NOT_A_MEMBER, ErrorCode::NOT_A_MEMBER.sentence())
    }

    /// The answer to the request of that number.
    pub fn frame(self, request: u64) -> Frame<'static> {
        Frame::Error { request, code: self.code, message: self.message, retry_after_ms: self.retry_after_ms }
    }
}

/// What became of a request at its room's home.
pub enum Decided {
    /// Answered now: it asked, and changed nothing.
    Now(Reply),
    /// Answered once it is durable.
    WhenDurable,
    /// Never answered, and told to others at once (typing), if anyone is to hear of it.
    Told(Option<Delivery>),
    /// Answered when the store has given what memory has no more.
    FromStore(sync::FromStore),
    /// Decided when the store has said with which event a moment begins.
    AtMoment(history::Moment),
}

/// The answer to a decision, or why there is none.
pub type Decision = Result<Decided, Refusal>;

/// What a command sees of its turn.
pub struct Turn<'a> {
    /// The gateway's clock, in milliseconds since 1970.
    pub now_ms: u64,
    /// The node's settings.
    pub settings: &'a Config,
    /// Where what shall become durable is written.
    pub ledger: &'a mut Ledger,
    /// Who asks.
    pub user: UserId,
    /// Where the answer goes.
    pub from: Origin,
    /// The request's number.
    pub request: u64,
}

impl Turn<'_> {
    /// Owes the answer to a request that caused (or, when repeated, had caused) the event at `head`.
    pub fn ack(&mut self, head: Head) -> Decision {
        let ack = Ack {
            to: self.from,
            request: self.request,
            seq: head.seq,
            ordinal: head.ordinal,
            at_ms: head.at_ms,
        };
        self.ledger.after(After::Ack(ack));
        Ok(Decided::WhenDurable)
    }
}

/// The asking user's row, if they are a member.
pub fn member(room: &Room, user: UserId) -> Result<&MemberRow, Refusal> {
    room.members.get(user).ok_or_else(Refusal::not_a_member)
}

/// As [`member`], for what only owners may do. Where the last owner has left, every member may.
pub fn owner(room: &Room, user: UserId) -> Result<&MemberRow, Refusal> {
    let row = member(room, user)?;
    if row.role == Role::Owner || !room.members.has_owner() {
        return Ok(row);
    }
    Err(Refusal::new(ErrorCode::FORBIDDEN, "Only an owner of the room may do that."))
}

/// How many of something an answer holds: as many as are asked for, at most `max`, and that where 0 leaves it to us.
pub fn page_len(asked: u64, max: usize) -> usize {
    match usize::try_from(asked).unwrap_or(usize::MAX) {
        0 => max,
        asked => asked.min(max),
    }
}

/// The room a frame is about, when it is about one.
pub fn room_of(frame: &Frame<'_>) -> Option<RoomId> {
    match frame {
        Frame::CreateRoom { room, .. }
        | Frame::AddMembers { room, .. }
        | Frame::RemoveMember { room, .. }
        | Frame::Leave { room, .. }
        | Frame::Send { room, .. }
        | Frame::Sync { room, .. }
        | Frame::History { room, .. }
        | Frame::Members { room, .. }
        | Frame::MarkRead { room, .. }
        | Frame::Typing { room, .. } => Some(*room),
        _ => None,
    }
}

/// Whether a request goes straight to its room's home, rather than asking other shards first.
pub fn is_decided_at_once(frame: &Frame<'_>) -> bool {
    !matches!(frame, Frame::Rooms { .. } | Frame::CreateRoom { .. } | Frame::AddMembers { .. })
}

/// How many bytes the answer may have, about. What asks other shards counts for more than its answer has, so that nobody
/// keeps all of them busy alone. What is never answered counts for nothing.
pub fn answer_bytes(frame: &Frame<'_>, settings: &Config) -> u32 {
    let bytes = match frame {
        Frame::Sync { limit, .. } | Frame::History { limit, .. } => sync::answer_bytes(*limit, settings),
        Frame::Rooms { .. } => rooms::ANSWER_BYTES,
        Frame::Members { .. } => membership::LIST_BYTES,
        Frame::CreateRoom { .. } | Frame::AddMembers { .. } => 4 * 1024,
        Frame::Typing { .. } => 0,
        _ => 64,
    };
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Checks that need no room, made where the connection is: sizes and shapes.
pub fn check(frame: &Frame<'_>, settings: &Config) -> Result<(), Refusal> {
    if room_of(frame) == Some(RoomId::NIL) {
        return Err(Refusal::new(ErrorCode::INVALID, "A room id may not be all zeroes."));
    }
    match frame {
        Frame::Send { text, .. } => send::check(text, settings),
        Frame::CreateRoom { name, members, .. } => create_room::check(name, members, settings),
        Frame::AddMembers { members, .. } => membership::check(members, settings),
        _ => Ok(()),
    }
}

/// Decides a request about a room that exists.
pub fn decide(room: &mut Room, turn: &mut Turn<'_>, frame: &Frame<'_>) -> Decision {
    match frame {
        Frame::Send { client_id, text, .. } => send::decide(room, turn, *client_id, text),
        Frame::CreateRoom { name, members, .. } => create_room::repeat(room, turn, name, members),
        Frame::AddMembers { members, .. } => membership::add(room, turn, members),
        Frame::RemoveMember { user, .. } => membership::remove(room, turn, *user),
        Frame::Leave { .. } => membership::leave(room, turn),
        Frame::Members { after_user, limit, .. } => membership::list(room, turn, *after_user, *limit),
        Frame::Sync { after_seq, limit, .. } => sync::decide(room, turn, *after_seq, *limit),
        Frame::History { from_seq, limit, at_ms, .. } => {
            history::decide(room, turn, (*from_seq, *at_ms), *limit)
        }
        Frame::MarkRead { seq, .. } => read::decide(room, turn, *seq),
        Frame::Typing { active, .. } => typing::decide(room, turn, *active),
        _ => Err(Refusal::new(ErrorCode::UNEXPECTED, ErrorCode::UNEXPECTED.sentence())),
    }
}
