//! What shards of different nodes say to each other, as bytes.
//!
//! ```text
//! batch:    version 1 │ message …
//! message:  length │ kind 1 │ target │ fields …
//! target:   0 whoever it concerns │ 1, sixteen bytes of shards │ shard + 2
//! ```
//!
//! Numbers are varints. Nodes of two versions run side by side during an upgrade: a message of an unknown kind is passed over,
//! and so is what a later version appends to one. The version changes only where that does not do.
//!
//! Frames for clients travel as the binary frames they are; the receiver makes the other forms of them.

mod fields;

use carillon_protocol::Frame;
use carillon_protocol::frame::Head;

use self::fields::{Reader, Write, sized};
use super::Target;
use crate::connections::Key;
use crate::delivery::{Audience, Delivery};
use crate::directory::ShardSet;
use crate::encoded::{Class, Encoded};
use crate::home::Standing;
use crate::route::Place;
use crate::shard::message::{Answer, Membership, Message, Origin, Question, Reply, Request, RollCall};

const VERSION: u8 = 1;

/// What a message is. Never reused.
mod kind {
    pub(super) const REQUEST: u8 = 1;
    pub(super) const REPLY_FRAME: u8 = 2;
    pub(super) const REPLY_BYTES: u8 = 3;
    pub(super) const DELIVER: u8 = 4;
    pub(super) const MEMBERSHIP: u8 = 5;
    pub(super) const SUBSCRIBE: u8 = 6;
    pub(super) const UNSUBSCRIBE: u8 = 7;
    pub(super) const INTEREST: u8 = 8;
    pub(super) const INTERESTING: u8 = 9;
    pub(super) const REPLACED: u8 = 10;
    pub(super) const ASK: u8 = 11;
    pub(super) const TELL: u8 = 12;
    pub(super) const MOVED_AWAY: u8 = 13;
    pub(super) const FORWARD: u8 = 14;
    pub(super) const PRESENCE: u8 = 15;
    pub(super) const ANNOUNCED: u8 = 16;
    pub(super) const RELEASED: u8 = 17;
    pub(super) const ROLL_CALL: u8 = 18;
}

/// Why bytes are not a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// The batch is of another version.
    #[error("a batch of version {0}")]
    Version(u8),
    /// They end before their end.
    #[error("cut short")]
    Cut,
    /// A field has a value that it cannot have in this version.
    #[error("`{0}` has a value it cannot have")]
    Value(&'static str),
    /// The frame in it is none.
    #[error(transparent)]
    Frame(#[from] carillon_protocol::Malformed),
}

/// Appends a message to a batch, which may be empty. Says whether it was appended: what concerns one process alone does
/// not cross.
pub fn append(batch: &mut Vec<u8>, to: Target, message: &Message) -> bool {
    let before = batch.len();
    let mut crosses = true;
    if batch.is_empty() {
        batch.push(VERSION);
    }
    sized(batch, |out| {
        let at = out.len();
        out.push(0);
        match to {
            Target::Users => out.int(0),
            Target::Shards(shards) => {
                out.int(1);
                out.extend_from_slice(&shards.bits().to_be_bytes());
            }
            Target::Shard(shard) => out.int(u64::from(shard) + 2),
        }
        match write(message, out) {
            Some(kind) => out[at] = kind,
            None => crosses = false,
        }
    });
    if !crosses {
        batch.truncate(before);
    }
    crosses
}

/// The messages of a batch, and whom each is for.
///
/// A message that cannot be read is an error in its place, and the next one follows; where the batch itself is broken, an error is
/// the last.
pub fn messages(batch: &[u8]) -> Messages<'_> {
    match batch.split_first() {
        None => Messages { rest: batch, failed: None },
        Some((&VERSION, rest)) => Messages { rest, failed: None },
        Some((&version, _)) => Messages { rest: &[], failed: Some(Malformed::Version(version)) },
    }
}

/// The messages of a batch that are still to be read.
pub struct Messages<'a> {
    rest: &'a [u8],
    failed: Option<Malformed>,
}

impl Iterator for Messages<'_> {
    type Item = Result<(Target, Message), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(malformed) = self.failed.take() {
                return Some(Err(malformed));
            }
            if self.rest.is_empty() {
                return None;
            }
            let mut reader = Reader(self.rest);
            let body = reader.bytes();
            self.rest = if body.is_ok() { reader.0 } else { &[] };
            if let Some(message) = body.and_then(read).transpose() {
                return Some(message);
            }
        }
    }
}

/// Writes the fields; says what kind they are, or nothing where the message concerns this process alone.
fn write(message: &Message, out: &mut Vec<u8>) -> Option<u8> {
    Some(match message {
        Message::Request(Request { from, user, frame }) => {
            origin(*from, out);
            out.user(*user);
            out.frame(frame);
            kind::REQUEST
        }
        Message::Reply(to, Reply::Frame(frame)) => {
            origin(*to, out);
            out.frame(frame);
            kind::REPLY_FRAME
        }
        Message::Reply(to, Reply::Bytes(frames)) => {
            origin(*to, out);
            out.bytes(frames);
            kind::REPLY_BYTES
        }
        Message::Deliver(delivery) => {
            write_delivery(delivery, out);
            kind::DELIVER
        }
        Message::Membership(membership) => {
            write_membership(membership, out);
            kind::MEMBERSHIP
        }
        Message::Subscribe { room, users, head_seq } => {
            out.room(*room);
            out.users(users);
            out.optional(*head_seq);
            kind::SUBSCRIBE
        }
        Message::Unsubscribe { room, user } => {
            out.room(*room);
            out.user(*user);
            kind::UNSUBSCRIBE
        }
        Message::Interest { room, place, wanted } => {
            out.room(*room);
            write_place(*place, out);
            out.bool(*wanted);
            kind::INTEREST
        }
        Message::Interesting(head) => {
            write_head(head, out);
            kind::INTERESTING
        }
        Message::Replaced { user, device, at_ms } => {
            out.user(*user);
            out.bytes(device.as_bytes());
            out.int(*at_ms);
            kind::REPLACED
        }
        Message::Ask(place, number, question) => {
            write_place(*place, out);
            out.int(*number);
            write_question(question, out);
            kind::ASK
        }
        Message::Tell(number, answer) => {
            out.int(*number);
            write_answer(answer, out);
            kind::TELL
        }
        Message::MovedAway(from) => {
            origin(*from, out);
            kind::MOVED_AWAY
        }
        Message::Forward { from, hops, message } => {
            out.node(*from);
            out.push(*hops);
            let at = out.len();
            out.push(0);
            out[at] = write(message, out)?;
            kind::FORWARD
        }
        Message::Presence { user, node, here } => {
            out.user(*user);
            out.node(*node);
            out.bool(*here);
            kind::PRESENCE
        }
        Message::RollCall(call) => {
            out.node(call.home);
            out.int(u64::from(call.shards));
            out.int(call.number);
            out.int(call.partitions.len() as u64);
            call.partitions.iter().for_each(|&partition| out.int(u64::from(partition)));
            kind::ROLL_CALL
        }
        Message::Announced(node, partition, number) => {
            out.node(*node);
            out.int(u64::from(*partition));
            out.int(*number);
            kind::ANNOUNCED
        }
        Message::Released(node, partition) => {
            out.node(*node);
            out.int(u64::from(*partition));
            kind::RELEASED
        }
        Message::Archived(_)
        | Message::Certificate(_)
        | Message::Drain
        | Message::Moved(_)
        | Message::Announce(_)
        | Message::Rehomed(_)
        | Message::CallRoll(..)
        | Message::PeerGone(_)
        | Message::PeerLost { .. }
        | Message::Take(_)
        | Message::Release(_) => return None,
    })
}

/// A message, or nothing where this version does not know its kind.
fn read(body: &[u8]) -> Result<Option<(Target, Message)>, Malformed> {
    let body = &mut Reader(body);
    let kind = body.byte()?;
    let to = match body.int()? {
        0 => Target::Users,
        1 => Target::Shards(ShardSet::from_bits(u128::from_be_bytes(body.array()?))),
        shard => Target::Shard(u16::try_from(shard - 2).map_err(|_| Malformed::Value("shard"))?),
    };
    Ok(read_kind(kind, body)?.map(|message| (to, message)))
}

/// The fields of a message of that kind; nothing where this version does not know it.
fn read_kind(kind: u8, body: &mut Reader<'_>) -> Result<Option<Message>, Malformed> {
    let message = match kind {
        kind::REQUEST => {
            Message::Request(Request { from: read_origin(body)?, user: body.user()?, frame: body.frame()? })
        }
        kind::REPLY_FRAME => Message::Reply(read_origin(body)?, Reply::Frame(body.frame()?)),
        kind::REPLY_BYTES => Message::Reply(read_origin(body)?, Reply::Bytes(body.bytes()?.into())),
        kind::DELIVER => Message::Deliver(read_delivery(body)?),
        kind::MEMBERSHIP => Message::Membership(read_membership(body)?),
        kind::SUBSCRIBE => {
            Message::Subscribe { room: body.room()?, users: body.users()?, head_seq: body.optional()? }
        }
        kind::UNSUBSCRIBE => Message::Unsubscribe { room: body.room()?, user: body.user()? },
        kind::INTEREST => {
            Message::Interest { room: body.room()?, place: read_place(body)?, wanted: body.bool("wanted")? }
        }
        kind::INTERESTING => Message::Interesting(read_head(body)?),
        kind::REPLACED => {
            Message::Replaced { user: body.user()?, device: body.text()?.into(), at_ms: body.int()? }
        }
        kind::ASK => Message::Ask(read_place(body)?, body.int()?, read_question(body)?),
        kind::TELL => Message::Tell(body.int()?, read_answer(body)?),
        kind::MOVED_AWAY => Message::MovedAway(read_origin(body)?),
        kind::FORWARD => {
            let (from, hops, kind) = (body.node()?, body.byte()?, body.byte()?);
            // Nothing that is forwarded forwards: a message cannot nest as deep as somebody likes.
            let is_for_users =
                matches!(kind, kind::DELIVER | kind::SUBSCRIBE | kind::UNSUBSCRIBE | kind::REPLACED);
            if !is_for_users {
                return Ok(None);
            }
            let Some(message) = read_kind(kind, body)? else { return Ok(None) };
            Message::Forward { from, hops, message: Box::new(message) }
        }
        kind::PRESENCE => {
            Message::Presence { user: body.user()?, node: body.node()?, here: body.bool("here")? }
        }
        kind::ANNOUNCED => Message::Announced(body.node()?, body.small("partition")?, body.int()?),
        kind::ROLL_CALL => Message::RollCall(RollCall {
            home: body.node()?,
            shards: body.small("shards")?,
            number: body.int()?,
            partitions: body.list(1, |body| body.small("partition"))?.into(),
        }),
        kind::RELEASED => Message::Released(body.node()?, body.small("partition")?),
        _ => return Ok(None),
    };
    Ok(Some(message))
}

fn write_place(place: Place, out: &mut Vec<u8>) {
    out.node(place.node);
    out.int(u64::from(place.shard));
}

fn read_place(body: &mut Reader<'_>) -> Result<Place, Malformed> {
    Ok(Place { node: body.node()?, shard: body.small("shard")? })
}

fn origin(origin: Origin, out: &mut Vec<u8>) {
    write_place(origin.place, out);
    out.int(origin.ticket);
    out.int(u64::from(origin.connection.index));
    out.int(u64::from(origin.connection.generation));
    out.int(u64::from(origin.owed_bytes));
}

fn read_origin(body: &mut Reader<'_>) -> Result<Origin, Malformed> {
    Ok(Origin {
        place: read_place(body)?,
        ticket: body.int()?,
        connection: Key { index: body.small("connection")?, generation: body.small("connection")? },
        owed_bytes: body.small("owed_bytes")?,
    })
}

fn write_delivery(delivery: &Delivery, out: &mut Vec<u8>) {
    out.reserve(64 + delivery.encoded.frames().len());
    out.room(delivery.room);
    // Seqs start at 1.
    out.int(match delivery.class {
        Class::Ephemeral => 0,
        Class::Events { seq } => seq,
    });
    match &delivery.audience {
        Audience::Subscribers => out.bool(false),
        Audience::Users(users) => {
            out.bool(true);
            out.users(users);
        }
    }
    out.bytes(delivery.encoded.frames());
}

fn read_delivery(body: &mut Reader<'_>) -> Result<Delivery, Malformed> {
    let room = body.room()?;
    let class = match body.int()? {
        0 => Class::Ephemeral,
        seq => Class::Events { seq },
    };
    let audience =
        if body.bool("audience")? { Audience::Users(body.users()?) } else { Audience::Subscribers };
    Ok(Delivery { room, class, encoded: Encoded::new(body.bytes()?), audience })
}

fn write_membership(membership: &Membership, out: &mut Vec<u8>) {
    out.user(membership.user);
    out.room(membership.room);
    out.bool(membership.joined);
    out.optional(membership.large_seq);
    out.int(u64::from(membership.partition));
    out.int(membership.position);
}

fn read_membership(body: &mut Reader<'_>) -> Result<Membership, Malformed> {
    Ok(Membership {
        user: body.user()?,
        room: body.room()?,
        joined: body.bool("joined")?,
        large_seq: body.optional()?,
        partition: body.small("partition")?,
        position: body.int()?,
    })
}

fn write_head(head: &Head, out: &mut Vec<u8>) {
    out.room(head.room);
    out.int(head.seq);
}

fn read_head(body: &mut Reader<'_>) -> Result<Head, Malformed> {
    Ok(Head { room: body.room()?, seq: body.int()? })
}

/// Which question, or which answer.
mod about {
    pub(super) const USER_ROOMS: u8 = 1;
    pub(super) const HEADS: u8 = 2;
    pub(super) const FULL: u8 = 3;
    pub(super) const LARGE: u8 = 4;
    pub(super) const ANNOUNCE: u8 = 5;
    pub(super) const PRESENT: u8 = 6;
    pub(super) const MOVED: u8 = 7;
    pub(super) const FAILED: u8 = 0;
}

fn write_question(question: &Question, out: &mut Vec<u8>) {
    match question {
        Question::UserRooms { user, after, limit } => {
            out.push(about::USER_ROOMS);
            out.user(*user);
            out.rooms(after.as_slice());
            out.int(*limit as u64);
        }
        Question::Heads { user, rooms } => {
            out.push(about::HEADS);
            out.user(*user);
            out.rooms(rooms);
        }
        Question::Full { users, max } => {
            out.push(about::FULL);
            out.users(users);
            out.int(*max as u64);
        }
        Question::Large { user, rooms } => {
            out.push(about::LARGE);
            out.user(*user);
            out.rooms(rooms);
        }
        Question::Announce { user } => {
            out.push(about::ANNOUNCE);
            out.user(*user);
        }
        Question::Present { user, node } => {
            out.push(about::PRESENT);
            out.user(*user);
            out.node(*node);
        }
    }
}

fn read_question(body: &mut Reader<'_>) -> Result<Question, Malformed> {
    Ok(match body.byte()? {
        about::USER_ROOMS => Question::UserRooms {
            user: body.user()?,
            after: body.list(16, Reader::room)?.pop(),
            limit: body.small("limit")?,
        },
        about::HEADS => Question::Heads { user: body.user()?, rooms: body.list(16, Reader::room)? },
        about::FULL => Question::Full { users: body.list(1, Reader::user)?, max: body.small("max")? },
        about::LARGE => Question::Large { user: body.user()?, rooms: body.list(16, Reader::room)? },
        about::ANNOUNCE => Question::Announce { user: body.user()? },
        about::PRESENT => Question::Present { user: body.user()?, node: body.node()? },
        _ => return Err(Malformed::Value("question")),
    })
}

fn write_answer(answer: &Answer, out: &mut Vec<u8>) {
    match answer {
        Answer::Rooms(rooms) => {
            out.push(about::USER_ROOMS);
            out.rooms(rooms);
        }
        Answer::Heads(standings) => {
            out.push(about::HEADS);
            write_standings(standings, out);
        }
        Answer::Full(users) => {
            out.push(about::FULL);
            out.users(users);
        }
        Answer::Large(heads) => {
            out.push(about::LARGE);
            out.int(heads.len() as u64);
            heads.iter().for_each(|head| write_head(head, out));
        }
        Answer::Known => out.push(about::PRESENT),
        Answer::Moved => out.push(about::MOVED),
        Answer::Failed(why) => {
            out.push(about::FAILED);
            out.bytes(why.as_bytes());
        }
    }
}

fn read_answer(body: &mut Reader<'_>) -> Result<Answer, Malformed> {
    Ok(match body.byte()? {
        about::USER_ROOMS => Answer::Rooms(body.list(16, Reader::room)?),
        about::HEADS => Answer::Heads(read_standings(body)?),
        about::FULL => Answer::Full(body.list(1, Reader::user)?),
        about::LARGE => Answer::Large(body.list(17, read_head)?),
        about::PRESENT => Answer::Known,
        about::MOVED => Answer::Moved,
        about::FAILED => Answer::Failed(body.text()?.into()),
        _ => return Err(Malformed::Value("answer")),
    })
}

/// When each changed, or that there is none; then the entries of those that there are, as the frame that clients get them in.
fn write_standings(standings: &[Option<Standing>], out: &mut Vec<u8>) {
    out.int(standings.len() as u64);
    standings.iter().for_each(|standing| out.optional(standing.as_ref().map(|it| it.changed_ms)));
    let rooms = standings.iter().flatten().map(|standing| standing.entry.clone()).collect();
    out.frame(&Frame::RoomList { request: 0, cursor: 0, rooms, next: None });
}

fn read_standings(body: &mut Reader<'_>) -> Result<Vec<Option<Standing>>, Malformed> {
    let changed = body.list(1, Reader::optional)?;
    let Frame::RoomList { rooms, .. } = body.frame()? else { return Err(Malformed::Value("rooms")) };
    if changed.iter().flatten().count() != rooms.len() {
        return Err(Malformed::Value("rooms"));
    }
    let mut rooms = rooms.into_iter();
    let mut standing = |changed_ms| rooms.next().map(|entry| Standing { entry, changed_ms });
    Ok(changed.into_iter().map(|changed| changed.and_then(&mut standing)).collect())
}
