//! What a turn decided in one partition, until it is one append.

use carillon_protocol::frame::Role;
use carillon_protocol::{EventBody, Frame, RoomId, UserId};
use carillon_storage::{MemberRow, Partition};

use tokio::sync::mpsc::UnboundedSender;

use super::recent::RecentEvent;
use super::room::{Head, Room, preview};
use crate::delivery::{Audience, Delivery};
use crate::encoded::Class;
use crate::log::{Batch, Record};
use crate::shard::message::{Membership, Origin, Reply};

/// A partition's record in the making.
pub struct Ledger {
    /// Which partition.
    pub partition: Partition,
    /// The position of its last append, under way or done.
    pub position: u64,
    /// How far it is archived.
    pub archived: u64,
    /// Requests decided since the last seal.
    pub requests: usize,
    /// Who hears of it when the partition is this home's no more, where there are other nodes.
    pub gone: Option<UnboundedSender<Gone>>,
    /// It is about to be another node's: nothing more is decided.
    pub closing: bool,
    records: Vec<u8>,
    after: Vec<After>,
    undo: Vec<Undo>,
    /// Scratch.
    event: Vec<u8>,
}

/// A partition that is not this node's to decide about any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gone {
    /// Which.
    pub partition: Partition,
    /// Another node has taken it, or this node had not been heard of for too long; else it was released in order.
    pub is_deposed: bool,
}

/// What is owed once an append is durable, in this order.
#[derive(Debug)]
pub enum After {
    /// An event: its room now stands there for everyone, and its members get it.
    Event {
        /// Where the room stands.
        head: Head,
        /// Who wrote it and how it begins, when it is a message.
        preview: Option<(UserId, Box<str>)>,
        /// For the members.
        delivery: Delivery,
    },
    /// The answer to a request.
    Ack(Ack),
    /// The answer to a question about what may still be under way.
    Answer {
        /// Where it goes.
        to: Origin,
        /// The question's number.
        request: u64,
        /// The answer.
        reply: Reply,
    },
    /// A member has read on: their marker moves, and whoever cares hears of it.
    Read(Read),
    /// A receipt, or the like: nothing moves, somebody hears of it.
    Deliver(Delivery),
    /// A user's list of rooms changed.
    Membership(Membership),
    /// Members whose sessions subscribe to a large room.
    Subscribe(RoomId, std::sync::Arc<[UserId]>),
    /// A member whose sessions unsubscribe from a large room.
    Unsubscribe(RoomId, UserId),
}

/// The answer to a request that is done.
#[derive(Clone, Copy, Debug)]
pub struct Ack {
    /// Where it goes.
    pub to: Origin,
    /// The request's number.
    pub request: u64,
    /// The event's place.
    pub seq: u64,
    /// Its ordinal.
    pub ordinal: u64,
    /// When it was decided.
    pub at_ms: u64,
}

impl Ack {
    /// As the client gets it.
    pub fn reply(self) -> Reply {
        let Self { request, seq, ordinal, at_ms, .. } = self;
        Reply::Frame(Frame::Ack { request, seq, ordinal, at_ms })
    }
}

/// A read marker that moves once it is durable.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// In which room.
    pub room: RoomId,
    /// Whose.
    pub user: UserId,
    /// Everything up to here has been read.
    pub seq: u64,
    /// The room's ordinal there.
    pub ordinal: u64,
    /// When it moves.
    pub at_ms: u64,
    /// Whom to answer.
    pub to: Origin,
    /// The request's number.
    pub request: u64,
}

/// How to take back a decision about members, which holds from the moment it is made. (Heads and markers need no such
/// thing: a room knows what is durable of them.)
#[derive(Clone, Debug)]
pub enum Undo {
    /// A member joined or parted.
    Member {
        /// In which room.
        room: RoomId,
        /// Who.
        user: UserId,
        /// What they were before.
        before: Option<MemberRow>,
    },
    /// The room became large.
    Large(RoomId),
}

/// What was written since the last seal.
#[derive(Default)]
pub struct Page {
    /// For the log, if anything is.
    pub batch: Option<Batch>,
    /// What is owed once that is durable.
    pub after: Vec<After>,
    /// What is taken back when it never is, the last first.
    pub undo: Vec<Undo>,
}

impl Ledger {
    /// A partition whose log ends at `position` and is archived that far.
    pub fn new(partition: Partition, position: u64) -> Self {
        Self {
            partition,
            position,
            archived: position,
            requests: 0,
            gone: None,
            closing: false,
            records: Vec::new(),
            after: Vec::new(),
            undo: Vec::new(),
            event: Vec::new(),
        }
    }

    /// The position that what is written now will get.
    pub fn next_position(&self) -> u64 {
        self.position + 1
    }

    /// Gives an event its place in the room, writes it down, and owes it to `audience`.
    pub fn event(
        &mut self,
        room: &mut Room,
        sender: UserId,
        body: EventBody<'_>,
        audience: Audience,
        now_ms: u64,
    ) -> Head {
        let event = room.next_event(sender, body, now_ms);
        let head = Head { seq: event.seq, ordinal: event.ordinal, at_ms: event.at_ms };
        self.event.clear();
        carillon_protocol::encode_event(&event, &mut self.event);
        let recent = RecentEvent::new(&self.event, self.next_position());
        let encoded = recent.encoded.clone();
        Record::Event { member_count: room.members.len() as u64, event: recent.event() }
            .encode(&mut self.records);
        room.recent.push(head.seq, recent);
        room.head = head;
        room.position = self.next_position();
        let preview = match &event.body {
            EventBody::Message { text, .. } => Some((sender, preview(text).into())),
            _ => None,
        };
        let delivery = Delivery { room: room.id, class: Class::Events { seq: head.seq }, encoded, audience };
        self.after.push(After::Event { head, preview, delivery });
        head
    }

    /// Somebody joins with the event at `head`.
    pub fn join(&mut self, room: &mut Room, user: UserId, role: Role, head: Head) {
        self.undo.push(Undo::Member { room: room.id, user, before: room.members.get(user).copied() });
        room.members.join(user, role, head);
    }

    /// Somebody is no longer a member.
    pub fn part(&mut self, room: &mut Room, user: UserId) {
        self.undo.push(Undo::Member { room: room.id, user, before: room.members.get(user).copied() });
        room.members.remove(user);
    }

    /// The room is large from now on.
    pub fn enlarge(&mut self, room: &mut Room) {
        self.undo.push(Undo::Large(room.id));
        room.large = true;
    }

    /// Writes down how far a member has read; their marker moves once that is durable.
    pub fn read(&mut self, room: &mut Room, read: Read) {
        let Read { room: id, user, seq, ordinal, at_ms, .. } = read;
        Record::Read { room: id, user, seq, ordinal, at_ms }.encode(&mut self.records);
        room.position = self.next_position();
        self.after.push(After::Read(read));
    }

    /// Owes a user's home the news that their list of rooms changed with what is being written.
    /// `large_seq` is its event in a large room.
    pub fn membership(&mut self, room: RoomId, user: UserId, joined: bool, large_seq: Option<u64>) {
        let (partition, position) = (self.partition, self.next_position());
        self.after.push(After::Membership(Membership { user, room, joined, large_seq, partition, position }));
    }

    /// Owes something once what was written so far is durable.
    pub fn after(&mut self, after: After) {
        self.after.push(after);
    }

    /// Whether anything was written or owed since the last seal.
    pub fn has_any(&self) -> bool {
        !self.records.is_empty() || !self.after.is_empty()
    }

    /// Bytes written since the last seal.
    pub fn bytes(&self) -> usize {
        self.records.len()
    }

    /// Closes the turn: what was written since the last time as one batch, if anything was, and what is owed.
    pub fn seal(&mut self) -> Page {
        let mut page = self.take();
        if let Some(batch) = &mut page.batch {
            self.position += 1;
            batch.position = self.position;
        }
        page
    }

    /// Takes back everything that was written since the last seal, and the position to what is really durable.
    pub fn abandon(&mut self, durable: u64) -> Page {
        self.position = durable;
        self.take()
    }

    fn take(&mut self) -> Page {
        let records = std::mem::take(&mut self.records);
        let batch = Batch { partition: self.partition, position: self.position, records };
        Page {
            batch: (!batch.records.is_empty()).then_some(batch),
            after: std::mem::take(&mut self.after),
            undo: std::mem::take(&mut self.undo),
        }
    }
}
