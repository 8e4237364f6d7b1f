//! A node whose shards take their turns on the caller's thread, one after the other, with clients within the process.
//!
//! Everything is the gateway's own, from a client's bytes to the bytes for it: handshake, token, session, room, log,
//! delivery, outboxes. Not in it: the kernel's sockets (a client within the process takes what it is given and keeps
//! none of it), the disk (log and store are in memory), threads.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use carillon_gateway::auth::{Expected, Keys};
use carillon_gateway::cluster::presence::Presence;
use carillon_gateway::config::Config;
use carillon_gateway::connections::Key;
use carillon_gateway::directory::Directory;
use carillon_gateway::follow::archive::ArchiveStatus;
use carillon_gateway::limits::Admission;
use carillon_gateway::log::MemoryLog;
use carillon_gateway::mailbox::{Bell, Mailbox, Waker};
use carillon_gateway::route::Route;
use carillon_gateway::shard::message::Message;
use carillon_gateway::shard::{self, BELL, Shard};
use carillon_gateway::stats::NodeStats;
use carillon_protocol::frame::Role;
use carillon_protocol::{RoomId, UserId};
use carillon_storage::{Change, MemoryStore, Store};
use mio::Events;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::client;

const PARTITIONS: u16 = 64;
const LOG_BYTES_MAX: usize = 1 << 30;
const SECRET: &[u8] = b"a secret of more than 32 bytes, for measuring";
const TOKEN_TTL_S: u64 = 24 * 3600;
/// Rows written to the store at a time.
const CHANGES_AT_ONCE: usize = 16_384;
/// All clients come from here.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The node.
pub struct Node {
    shared: Arc<shard::Node>,
    shards: Vec<Shard>,
    mailboxes: Arc<[Mailbox<Message>]>,
    events: Events,
    // Last, because the shards' sockets and timers are registered with it.
    runtime: Runtime,
}

/// A client's connection.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    shard: u16,
    key: Key,
}

impl Client {
    /// Nobody's: no node has given it out.
    pub const NONE: Self = Self { shard: 0, key: Key { index: u32::MAX, generation: u32::MAX } };
}

/// Settings that suit measuring: no limit on clients that all come from one address, nobody goes for being silent.
pub fn config(shards: u16) -> Config {
    Config {
        shards: usize::from(shards),
        partitions: PARTITIONS,
        connections_max: 100_000_000,
        connections_per_ip_max: 0,
        handshake_timeout_ms: 1_000,
        ping_interval_ms: 3_600_000,
        idle_timeout_ms: 7_200_000,
        requests_per_second_max: 1_000_000_000,
        ..Config::default()
    }
}

impl Node {
    /// A node of that many shards on that store.
    pub fn new(shards: u16, store: MemoryStore) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (polls, mailboxes) = mailboxes(shards)?;
        let shared = Arc::new(shared(shards, store));
        let shards = (0..shards).zip(polls).map(|(me, poll)| {
            // No doors: nobody comes from outside.
            runtime.block_on(async {
                Shard::new(me, Arc::clone(&shared), poll, Vec::new(), Arc::clone(&mailboxes))
            })
        });
        let shards = shards.collect::<io::Result<_>>()?;
        Ok(Self { shared, shards, mailboxes, events: Events::with_capacity(1024), runtime })
    }

    /// What a user's client says to become a session.
    pub fn hello(&self, user: UserId) -> Vec<u8> {
        let token = self.shared.keys.mint(user, TOKEN_TTL_S, now_s()).expect("the node has a secret");
        client::hello(&token)
    }

    /// A client connects to that shard over WebSocket and says hello. Its rooms are looked up in the turns that follow.
    pub fn open(&mut self, shard: u16, hello: &[u8]) -> Client {
        let key = self.shards[usize::from(shard)].connect(PEER).expect("the node is not full");
        let client = Client { shard, key };
        self.say(client, client::UPGRADE);
        self.say(client, hello);
        client
    }

    /// A client says something.
    pub fn say(&mut self, client: Client, bytes: &[u8]) {
        let was_heard = self.shards[usize::from(client.shard)].hear(client.key, bytes);
        assert!(was_heard, "a client that takes everything is listened to");
    }

    /// A turn of each shard.
    pub fn turn(&mut self) {
        let Self { shards, events, runtime, .. } = self;
        runtime.block_on(async {
            for shard in shards {
                shard.turn_now(events).await.expect("a shard without sockets has nothing that fails");
            }
            // The runtime wakes in its next pause what it put off in this turn, and forgets that when `block_on` ends.
            tokio::task::yield_now().await;
        });
    }

    /// Turns until everything is decided, durable and handed out.
    pub fn settle(&mut self) {
        self.turn();
        while !self.shards.iter().all(Shard::is_quiet) {
            self.turn();
        }
    }

    /// The log so far counts as archived: it is forgotten, and so is what rooms kept until then.
    pub fn archive(&mut self) {
        let positions = Arc::new(self.shared.log.last());
        self.shared.log.trim(&positions);
        for mailbox in self.mailboxes.iter() {
            // A full mailbox hears of the next step.
            let _ = mailbox.send(vec![Message::Archived(Arc::clone(&positions))]);
        }
    }

    /// What is counted under that name, over all shards.
    pub fn count(&self, name: &str) -> u64 {
        self.shared.stats.total().get(name).and_then(serde_json::Value::as_u64).unwrap_or(0)
    }

    /// The shard that decides about a room.
    pub fn home_of(&self, room: RoomId) -> u16 {
        self.shared.route.home_of_room(room).shard
    }
}

/// A store that holds these rooms, each with users of a range of numbers as its members.
pub fn store(rooms: impl IntoIterator<Item = (RoomId, std::ops::Range<u64>)>) -> MemoryStore {
    let store = MemoryStore::new();
    let runtime = Builder::new_current_thread().build().expect("a runtime that needs nothing of the system");
    let mut changes = Vec::new();
    let apply = |changes: &mut Vec<Change>| {
        let applied = runtime.block_on(async {
            store.apply(std::mem::take(changes), Vec::new()).await?;
            store.persist().await
        });
        applied.expect("a store in memory takes everything");
    };
    for (room, members) in rooms {
        let member_count = members.end - members.start;
        changes.push(Change::Room { room, name: "bench".to_owned(), seq: 0 });
        changes.push(Change::Head { room, seq: 0, ordinal: 0, active_ms: 0, member_count });
        for number in members {
            let user = crate::codec::user(number);
            changes.push(Change::MemberJoined { room, user, role: Role::Member, seq: 0, ordinal: 0 });
            if changes.len() >= CHANGES_AT_ONCE {
                apply(&mut changes);
            }
        }
    }
    apply(&mut changes);
    store
}

type Mailboxes = (Vec<mio::Poll>, Arc<[Mailbox<Message>]>);

fn mailboxes(shards: u16) -> io::Result<Mailboxes> {
    let batches_max = Config::default().mailbox_batches;
    let (mut polls, mut mailboxes) = (Vec::new(), Vec::new());
    for _ in 0..shards {
        let poll = mio::Poll::new()?;
        let bell = Bell::new(Waker::new(mio::Waker::new(poll.registry(), BELL)?));
        mailboxes.push(Mailbox::new(batches_max, Arc::new(bell)));
        polls.push(poll);
    }
    Ok((polls, mailboxes.into()))
}

fn shared(shards: u16, store: MemoryStore) -> shard::Node {
    let config = config(shards);
    let mut keys = Keys::new(Expected::default());
    keys.add_secret("bench", SECRET).expect("the secret is long enough");
    shard::Node {
        route: Route::alone(PARTITIONS, shards),
        presence: Presence::new(PARTITIONS),
        peers: None,
        lease: None,
        cluster: None,
        directory: Directory::default(),
        admission: Admission::new(config.connections_max, config.connections_per_ip_max),
        keys,
        log: Arc::new(MemoryLog::new(PARTITIONS, LOG_BYTES_MAX)),
        store: Arc::new(store),
        cql: None,
        archived: watch::channel(vec![0; usize::from(PARTITIONS)]).1,
        share: None,
        archiving: watch::channel(ArchiveStatus::default()).1,
        counting: None,
        stats: NodeStats::new(shards),
        config: Arc::new(config),
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{ROOM, user};

    #[test]
    fn a_message_reaches_every_session_of_a_small_room_and_of_a_large_one_on_every_shard() {
        for members in [3, 200] {
            let mut node = Node::new(2, store([(ROOM, 1..members + 1)])).expect("a node starts");
            let clients = (1..=members).map(|number| {
                let hello = node.hello(user(number));
                node.open((number % 2) as u16, &hello)
            });
            let clients: Vec<Client> = clients.collect();
            node.settle();
            assert_eq!(node.count("sessions"), members);
            for (number, &client) in clients.iter().enumerate() {
                node.say(client, &client::send(ROOM, number as u64 + 1));
                node.settle();
            }
            assert_eq!(node.count("delivered"), members * members);
            assert_eq!(node.count("refusals"), 0);
        }
    }
}
