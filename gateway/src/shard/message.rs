//! What shards say to each other, on one node and from one to another.

use carillon_protocol::frame::Head;
use carillon_protocol::{Frame, RoomId, UserId};
use carillon_storage::{Partition, Positions};
use tokio::sync::mpsc::UnboundedSender;

use crate::cluster::view::NodeId;
use crate::connections::Key;
use crate::delivery::Delivery;
use crate::home::Standing;
use crate::home::ledger::Gone;
use crate::log::Batch;
use crate::route::Place;

/// Where a request came from and its answer goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The shard that holds the connection.
    pub place: Place,
    /// Under which number that shard remembers the request while it is at another node; 0 where it is not.
    pub ticket: u64,
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
#[derive(Clone, Debug)]
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
        place: Place,
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
        /// When, in milliseconds since 1970: a session that began later is not older.
        at_ms: u64,
    },
    /// A question that may take a while; answered by `Tell` with the same number.
    Ask(Place, u64, Question),
    /// The answer.
    Tell(u64, Answer),
    /// How far the archiver has come.
    Archived(std::sync::Arc<Positions>),
    /// New connections over TLS are shown another certificate.
    Certificate(std::sync::Arc<rustls::ServerConfig>),
    /// The node stops: say go-away, finish what is under way.
    Drain,
    /// The room of this request of yours is not decided about here.
    Moved(Request<'static>),
    /// The same of a request of another node, which remembers it by its ticket.
    MovedAway(Origin),
    /// For sessions of users who live here, on whichever nodes they are.
    Forward {
        /// The node that has told its own sessions.
        from: NodeId,
        /// How many nodes have passed it on.
        hops: u8,
        /// What they get; names its users.
        message: Box<Message>,
    },
    /// A user's first session on this node began, or the last ended: the shard that announces them tells their home.
    Announce(UserId),
    /// A node has a first session of a user who lives here, or has none any more.
    Presence {
        /// Whose.
        user: UserId,
        /// Which node.
        node: NodeId,
        /// Whether they have a session there.
        here: bool,
    },
    /// A node that begins to be the home of partitions asks another who is there.
    RollCall(RollCall),
    /// The shard that is told so asks these nodes.
    CallRoll(std::sync::Arc<[NodeId]>, RollCall),
    /// A node has said of all its users in a partition that they are there, at the roll call of this number.
    Announced(NodeId, Partition, u64),
    /// A node has released a partition, which its next home may take without waiting.
    Released(NodeId, Partition),
    /// Homes are elsewhere than before: of these partitions, in order.
    Rehomed(std::sync::Arc<[Partition]>),
    /// A node is not there any more: what was on its way to it goes to the homes that there are now.
    PeerGone(NodeId),
    /// What was on its way from and to a node is lost, and so is what it has said of its sessions: it says that again. Comes
    /// before whatever the node says after that.
    PeerLost {
        /// Which node.
        node: NodeId,
        /// Whether it lives.
        is_alive: bool,
    },
    /// This node is a partition's home from now on.
    Take(Taken),
    /// This node is to be a partition's home no more: nothing is decided any more, and what is under way ends.
    Release(Partition),
}

/// A question to a node: which of its users who live in these partitions, and which of its shards that want the events of large
/// rooms there, are there?
///
/// Nodes say that by themselves too, to the home that they see. But nodes see homes change at different times, so what a
/// node hears before it begins to be a home may be of an earlier time than that: it forgets it, and asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RollCall {
    /// Who asks.
    pub home: NodeId,
    /// How many shards it has.
    pub shards: u16,
    /// Larger than those of earlier calls.
    pub number: u64,
    /// Which partitions, in order.
    pub partitions: std::sync::Arc<[Partition]>,
}

impl RollCall {
    /// Where what is said of a partition goes to, if it is one of those.
    pub fn place_of(&self, partition: Partition) -> Option<Place> {
        let shard = partition.checked_rem(self.shards)?;
        self.partitions.binary_search(&partition).is_ok().then_some(Place { node: self.home, shard })
    }
}

/// A partition that this node has taken over.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Which.
    pub partition: Partition,
    /// Where its log ends; all of that is archived.
    pub position: u64,
    /// What the home before may not have delivered.
    pub undelivered: Vec<Batch>,
    /// Who hears of it when it is this node's no more.
    pub gone: UnboundedSender<Gone>,
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
    /// Tell the home of this user, who has a session on your node, that they do. For the shard that announces them.
    Announce {
        /// Whose.
        user: UserId,
    },
    /// This user has a session on this node; for the user's home.
    Present {
        /// Whose.
        user: UserId,
        /// Which node.
        node: NodeId,
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
    /// To `Announce` and `Present`.
    Known,
    /// It is not decided about there, or the node is gone: ask whoever it is decided by now.
    Moved,
    /// The store did not answer; a sentence for the log.
    Failed(String),
}

impl Answer {
    /// Why it is not the answer that was hoped for.
    pub fn failure(self) -> String {
        match self {
            Self::Failed(why) => why,
            Self::Moved => "its home is not to be had".into(),
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
