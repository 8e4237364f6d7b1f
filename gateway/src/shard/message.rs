//! What shards say to each other.

use carillon_protocol::frame::Head;
use carillon_protocol::{Frame, RoomId, UserId};
use carillon_storage::Positions;

use crate::connections::Key;
use crate::delivery::Delivery;
use crate::home::Standing;

/// Where a request came from and its answer goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The shard that holds the connection.
    pub shard: u16,
    /// The connection; long gone, perhaps, when the answer comes.
    pub connection: Key,
    /// What the answer was reckoned to take of the connection's outbox; free again when it comes.
    pub owed_bytes: u32,
}

/// Something a session asks of a room's home.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Where the answer goes.
    pub from: Origin,
    /// Who asks.
    pub user: UserId,
    /// What: a frame that names a room.
    pub frame: Frame<'a>,
}

/// An answer on its way to a connection.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A frame still to be encoded.
    Frame(Frame<'static>),
    /// A frame that was made of stored bytes.
    Bytes(Vec<u8>),
}

/// One thing one shard has for another.
#[derive(Debug)]
pub enum Message {
    /// A request for a room that lives there.
    Request(Request<'static>),
    /// An answer for a connection there.
    Reply(Origin, Reply),
    /// Frames for sessions there.
    Deliver(Delivery),
    /// A user's membership changed; for the user's home.
    Membership(Membership),
    /// A room has become large, or has new members: their sessions there subscribe.
    Subscribe {
        /// Which room.
        room: RoomId,
        /// Whose sessions.
        users: std::sync::Arc<[UserId]>,
        /// Where the room stands, for sessions that the room's home did not know of and so may not have had that event.
        head_seq: Option<u64>,
    },
    /// Members left a large room: their sessions there unsubscribe.
    Unsubscribe {
        /// Which room.
        room: RoomId,
        /// Whose sessions.
        user: UserId,
    },
    /// A shard has subscribers of a room that lives there, or has none any more.
    Interest {
        /// Which room.
        room: RoomId,
        /// Which shard.
        shard: u16,
        /// Whether it wants the room's events.
        wanted: bool,
    },
    /// The answer to a shard that wants a room's events: where the room stood when they began to be sent.
    Interesting(Head),
    /// A device opened a session elsewhere: an older one of it there ends.
    Replaced {
        /// Whose.
        user: UserId,
        /// Which device.
        device: Box<str>,
    },
    /// A question that may take a while; answered by `Tell` with the same number.
    Ask(u16, u64, Question),
    /// The answer.
    Tell(u64, Answer),
    /// How far the archiver has come.
    Archived(std::sync::Arc<Positions>),
    /// New connections over TLS are shown another certificate.
    Certificate(std::sync::Arc<rustls::ServerConfig>),
    /// The node stops: say go-away, finish what is under way.
    Drain,
}

/// A change of a user's rooms that is durable but perhaps not archived yet.
#[derive(Clone, Copy, Debug)]
pub struct Membership {
    /// Whose.
    pub user: UserId,
    /// Which room.
    pub room: RoomId,
    /// Whether they are a member now.
    pub joined: bool,
    /// The event that made it so, where that goes to subscribers.
    pub large_seq: Option<u64>,
    /// The room's partition.
    pub partition: carillon_storage::Partition,
    /// The log position that made it so.
    pub position: u64,
}

/// What one shard may ask another outside the path of a message.
#[derive(Clone, Debug)]
pub enum Question {
    /// A user's rooms, in order of id; for the user's home.
    UserRooms {
        /// Whose.
        user: UserId,
        /// Only ids after this one.
        after: Option<RoomId>,
        /// At most so many.
        limit: usize,
    },
    /// How rooms stand for a user, in the order asked for; for the rooms' home.
    Heads {
        /// For whom.
        user: UserId,
        /// Which rooms.
        rooms: Vec<RoomId>,
    },
    /// Which of these users have as many rooms as a user may have; for the users' home.
    Full {
        /// Which users.
        users: Vec<UserId>,
        /// How many rooms that is.
        max: usize,
    },
    /// Which of these rooms are large; for the rooms' home, which from then on sends their events to who asks.
    Large {
        /// Who listens; a room that they are not in is none of theirs.
        user: UserId,
        /// Which rooms.
        rooms: Vec<RoomId>,
    },
}

/// What comes back.
#[derive(Clone, Debug)]
pub enum Answer {
    /// To `UserRooms`.
    Rooms(Vec<RoomId>),
    /// To `Large`: those that are, and where they stood when their events began to be sent.
    Large(Vec<Head>),
    /// To `Heads`: nothing where the user is not a member, or there is no such room.
    Heads(Vec<Option<Standing>>),
    /// To `Full`.
    Full(Vec<UserId>),
    /// The store did not answer; a sentence for the log.
    Failed(String),
}

impl Answer {
    /// Why it is not the answer that was hoped for.
    pub fn failure(self) -> String {
        match self {
            Self::Failed(why) => why,
            _ => "an answer to another question".into(),
        }
    }
}

impl Request<'_> {
    /// The same request, owning its texts, to cross to another shard or to wait.
    pub fn into_owned(self) -> Request<'static> {
        Request { from: self.from, user: self.user, frame: self.frame.into_owned() }
    }
}
