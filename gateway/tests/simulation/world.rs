//! A cluster in one thread: nodes with the real homes, links and rules of requests on their way, over a log, a store, a
//! network and a clock that are simulated. What happens next, and every fault, comes from a seed.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use bytes::Bytes;
use carillon_gateway::cluster::link::LinkConfig;
use carillon_gateway::cluster::view::{self, NodeId, View};
use carillon_gateway::config::Config;
use carillon_gateway::follow::changes::{add_changes, last_only};
use carillon_gateway::home::stored_entry;
use carillon_gateway::log::{Partition, Positions, record};
use carillon_protocol::{ClientId, Frame, RoomId, UserId};
use carillon_storage::Store;
use futures_util::FutureExt;

use super::checker::Checker;
use super::client::{Client, What};
use super::counts::Counts;
use super::log::{Message, SimLog};
use super::node::{Mail, Node, Reading};
use super::random::Random;
use super::store::SlowStore;
use super::writer::Heard;

pub const PARTITIONS: Partition = 3;
pub const LINK: LinkConfig = LinkConfig {
    unacknowledged_bytes_max: 100_000,
    datagram_bytes_max: 2_000,
    ack_delay_ms: 10,
    resend_after_ms: 50,
    resend_after_ms_max: 200,
    lost_after_ms: 400,
};
/// A node that is not heard of for so long is dead for the others.
const TTL_MS: u64 = 300;
const BEAT_MS: u64 = 80;
/// A node that was not heard of for so long decides nothing, where nodes look at that.
pub const LEASE_MS: u64 = 220;
/// How long a client waits for an answer before it asks another node.
const PATIENCE_MS: u64 = 500;
/// How long everything may take once all faults are over.
const FINISH_WITHIN_MS: u64 = 30_000;

/// What is taken away, to see that it is noticed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Without {
    Nothing,
    /// The log's fence.
    Fence,
    /// What is read of the store is taken for what the room is now, whenever it was read.
    Takes,
    /// A client's name for its message: each time it is asked it is another.
    ClientIds,
    /// Waiting for the log: whoever appends is answered at once.
    Durability,
}

/// What happens, and when.
pub enum Happening {
    Mail(usize, u32, Mail),
    Turn(usize, u32),
    AtLog { node: usize, life: u32, partition: Partition, number: u64, asked: Asked },
    Datagram { from: NodeId, to: NodeId, bytes: Bytes },
    Reading(u64),
    Archive(usize),
    Client(usize),
    Told { client: usize, session: u32, frame: Frame<'static> },
    Beat(usize, u32),
    Expire,
    Fault,
    Restart(usize),
}

/// What a node asks of the log's servers.
pub enum Asked {
    Publish {
        expected: u64,
        message: Message,
    },
    End,
    /// Where all partitions end.
    Ends,
}

struct Entry {
    at_ms: u64,
    number: u64,
    what: Happening,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The first is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at_ms, other.number).cmp(&(self.at_ms, self.number))
    }
}

/// A store and what has come into it.
pub struct Archive {
    pub store: SlowStore,
    /// Messages of each partition that are in it.
    count: Vec<usize>,
    pub applied: Positions,
    stalled_until: u64,
    /// The node whose own it is; all nodes' otherwise.
    pub owner: Option<usize>,
}

pub struct World {
    pub now_ms: u64,
    pub random: Random,
    pub without: Without,
    pub settings: Arc<Config>,
    pub has_lease: bool,
    pub is_store_slow: bool,
    queue: BinaryHeap<Entry>,
    number: u64,
    pub log: SimLog,
    pub nodes: Vec<Node>,
    pub archives: Vec<Archive>,
    pub readings: BTreeMap<u64, Reading>,
    /// Who is registered, and until when.
    registered: BTreeMap<NodeId, (view::Node, u64)>,
    /// Nodes that do not hear each other.
    parted: BTreeMap<(usize, usize), u64>,
    full_until: u64,
    lossy: u64,
    clients: Vec<Client>,
    rooms: Vec<RoomId>,
    ready: BTreeSet<RoomId>,
    /// What was asked under each number, and by whom.
    pub asked: BTreeMap<u64, (UserId, What)>,
    /// Requests that were refused for good by a home that is none any more.
    pub refused_by_stale: BTreeSet<u64>,
    faults_until: u64,
    pub checker: Checker,
    pub counts: Counts,
    /// Everything that happened, as one number.
    pub digest: u64,
}

impl World {
    pub fn new(seed: u64, without: Without) -> Self {
        let mut random = Random::new(seed);
        let settings = Config {
            room_events_kept: random.between(1, 4) as usize,
            dedupe_ids_kept: random.between(1, 4) as usize,
            room_idle_ms: random.between(10, 200),
            requests_waiting_max: if random.chance(10) { 6 } else { 1_000 },
            ..Config::default()
        };
        let count = random.between(2, 3) as usize;
        let is_shared = random.chance(50);
        let shards = random.between(1, 2) as u16;
        let archive = |owner| Archive {
            store: SlowStore::default(),
            count: vec![0; usize::from(PARTITIONS)],
            applied: vec![0; usize::from(PARTITIONS)],
            stalled_until: 0,
            owner,
        };
        let archives: Vec<Archive> = if is_shared {
            vec![archive(None)]
        } else {
            (0..count).map(|node| archive(Some(node))).collect()
        };
        let rooms = (1..=random.between(1, 3)).map(|number| RoomId::from_bytes([number as u8; 16])).collect();
        let user = |number| UserId::new(number).unwrap();
        let clients = (1..=3).map(|number| Client::new(user(number), number == 3)).collect();
        let mut log = SimLog::new(PARTITIONS);
        log.is_fenced = without != Without::Fence;
        let mut world = Self {
            now_ms: 1_000,
            has_lease: random.chance(50),
            // A room is read for long enough to be another's meanwhile.
            is_store_slow: random.chance(30) || without == Without::Takes,
            lossy: if random.chance(50) { 0 } else { random.between(1, 15) },
            faults_until: 1_000 + random.between(700, 1_500),
            random,
            without,
            settings: Arc::new(settings),
            queue: BinaryHeap::new(),
            number: 0,
            log,
            nodes: Vec::new(),
            archives,
            readings: BTreeMap::new(),
            registered: BTreeMap::new(),
            parted: BTreeMap::new(),
            full_until: 0,
            clients,
            rooms,
            ready: BTreeSet::new(),
            asked: BTreeMap::new(),
            refused_by_stale: BTreeSet::new(),
            checker: Checker::default(),
            counts: Counts::default(),
            digest: seed,
        };
        for index in 0..count {
            let archive = if is_shared { 0 } else { index };
            world.nodes.push(Node::new(index, shards, archive));
            world.start(index);
        }
        world.begin();
        world
    }

    fn begin(&mut self) {
        for archive in 0..self.archives.len() {
            self.after(10, Happening::Archive(archive));
        }
        self.after(TTL_MS, Happening::Expire);
        self.after(100, Happening::Fault);
        let members: Vec<UserId> = self.clients.iter().map(|client| client.user).collect();
        for room in self.rooms.clone() {
            self.clients[0].wish(What::Create { room, members: members.clone() });
        }
        for client in 0..self.clients.len() {
            self.after(1, Happening::Client(client));
        }
    }

    /// Plays the history to its end. What was not as it should be, if anything.
    pub fn play(&mut self) -> Result<(), String> {
        while let Some(Entry { at_ms, what, .. }) = self.queue.pop() {
            self.now_ms = at_ms;
            self.happen(what);
            if let Some(fault) = self.checker.fault.take() {
                return Err(format!("at {} ms: {fault}", self.now_ms));
            }
            if self.is_over() {
                return self.check_end();
            }
            if self.now_ms > self.faults_until + FINISH_WITHIN_MS {
                return Err(format!("not done {FINISH_WITHIN_MS} ms after the last fault: {}", self.left()));
            }
        }
        Err("nothing happens any more".into())
    }

    /// Something happens after so long.
    pub fn after(&mut self, ms: u64, what: Happening) {
        self.number += 1;
        self.queue.push(Entry { at_ms: self.now_ms + ms, number: self.number, what });
    }

    fn note(&mut self, word: u64) {
        self.digest = (self.digest ^ word ^ self.now_ms).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }

    pub fn has_faults(&self) -> bool {
        self.now_ms < self.faults_until
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Mail(node, life, mail) => {
                self.note(1 + node as u64);
                if self.nodes[node].is_up && self.nodes[node].life == life {
                    self.nodes[node].inbox.push_back(mail);
                    self.wake(node);
                }
            }
            Happening::Turn(node, life) => {
                if self.nodes[node].life != life || !self.nodes[node].is_up {
                    return;
                }
                let stopped_until = self.nodes[node].stopped_until;
                if stopped_until > self.now_ms {
                    return self.after(stopped_until - self.now_ms, Happening::Turn(node, life));
                }
                self.nodes[node].is_woken = false;
                self.turn(node);
            }
            Happening::AtLog { node, life, partition, number, asked } => {
                self.at_log(node, life, partition, number, asked);
            }
            Happening::Datagram { from, to, bytes } => {
                self.note(bytes.len() as u64);
                if let Some(index) = self.nodes.iter().position(|node| node.id == to && node.is_up) {
                    let life = self.nodes[index].life;
                    self.happen(Happening::Mail(index, life, Mail::Datagram(from, bytes)));
                }
            }
            Happening::Reading(number) => self.read_on(number),
            Happening::Archive(archive) => self.archive(archive),
            Happening::Client(client) => self.client(client),
            Happening::Told { client, session, frame } => self.told(client, session, frame),
            Happening::Beat(node, life) => self.beat(node, life),
            Happening::Expire => self.expire(),
            Happening::Fault => self.strike(),
            Happening::Restart(node) => self.start(node),
        }
    }

    /// The node has a turn soon.
    pub fn wake(&mut self, node: usize) {
        if !std::mem::replace(&mut self.nodes[node].is_woken, true) {
            let (ms, life) = (self.random.below(3), self.nodes[node].life);
            self.after(ms, Happening::Turn(node, life));
        }
    }
}

/// The network, and the log's servers behind it.
impl World {
    pub fn is_cut(&self, node: usize) -> bool {
        self.nodes[node].cut_until > self.now_ms
    }

    /// Something on its way from or to a node is lost.
    fn is_lost(&mut self, node: usize) -> bool {
        let lossy = self.lossy;
        self.is_cut(node) || (self.has_faults() && self.random.chance(lossy))
    }

    pub fn send_datagram(&mut self, from: usize, to: NodeId, bytes: Bytes) {
        let other = self.nodes.iter().position(|node| node.id == to);
        let pair = (from.min(other.unwrap_or(from)), from.max(other.unwrap_or(from)));
        let is_parted = self.parted.get(&pair).is_some_and(|&until| until > self.now_ms);
        if is_parted || self.is_lost(from) || other.is_some_and(|other| self.is_cut(other)) {
            return;
        }
        let from = self.nodes[from].id;
        let ms = self.random.between(1, 8);
        self.after(ms, Happening::Datagram { from, to, bytes });
    }

    pub fn ask_log(&mut self, node: usize, partition: Partition, number: u64, asked: Asked) {
        if self.is_lost(node) {
            return;
        }
        let life = self.nodes[node].life;
        // What comes late is where a stopped or cut off home's last words would do harm.
        if let Asked::Publish { expected, message } = &asked
            && self.has_faults()
            && self.random.chance(5)
        {
            let asked = Asked::Publish { expected: *expected, message: message.clone() };
            let ms = self.random.between(20, 900);
            self.after(ms, Happening::AtLog { node, life, partition, number, asked });
        }
        let ms = self.random.between(1, 6);
        self.after(ms, Happening::AtLog { node, life, partition, number, asked });
    }

    fn at_log(&mut self, node: usize, life: u32, partition: Partition, number: u64, asked: Asked) {
        self.note(number);
        let mail = match asked {
            Asked::Publish { expected, message } => {
                let heard = if self.full_until > self.now_ms && message.batch.is_some() {
                    self.counts.full += 1;
                    Heard::Full
                } else {
                    self.publish(partition, expected, message)
                };
                Mail::Heard(partition, number, heard)
            }
            Asked::End => {
                let behind = usize::from(self.has_faults() && self.random.chance(5));
                Mail::Heard(partition, number, Heard::End(self.log.end(partition, behind)))
            }
            Asked::Ends => {
                Mail::Ends(partition, number, (0..PARTITIONS).map(|it| self.log.last(it)).collect())
            }
        };
        if !self.is_lost(node) {
            let ms = self.random.between(1, 6);
            self.after(ms, Happening::Mail(node, life, mail));
        }
    }

    fn publish(&mut self, partition: Partition, expected: u64, message: Message) -> Heard {
        let batch = message.batch.clone();
        match self.log.publish(partition, expected, message) {
            Some(sequence) => {
                if let Some(batch) = batch {
                    self.counts.appends += 1;
                    self.note(batch.records.len() as u64);
                    self.checker.durable(&batch);
                }
                Heard::Stored(sequence)
            }
            None => {
                self.counts.fenced += u64::from(batch.is_some());
                Heard::NotNext
            }
        }
    }
}

/// The archivers.
impl World {
    fn archive(&mut self, index: usize) {
        let ms = if self.has_faults() { self.random.between(2, 40) } else { 5 };
        self.after(ms, Happening::Archive(index));
        let Archive { stalled_until, owner, .. } = self.archives[index];
        let is_resting = owner.is_some_and(|node| {
            !self.nodes[node].is_up || self.nodes[node].stopped_until > self.now_ms || self.is_cut(node)
        });
        if is_resting || (self.has_faults() && stalled_until > self.now_ms) {
            return;
        }
        let first = self.random.below(PARTITIONS.into()) as Partition;
        let partition = (first..PARTITIONS)
            .chain(0..first)
            .find(|&it| !self.log.after(it, self.archives[index].count[usize::from(it)]).is_empty());
        let Some(partition) = partition else { return };
        let place = usize::from(partition);
        let limit = self.random.between(1, 6) as usize;
        let archive = &mut self.archives[index];
        let messages = self.log.after(partition, archive.count[place]);
        let messages = &messages[..messages.len().min(limit)];
        let mut changes = Vec::new();
        for batch in messages.iter().filter_map(|message| message.batch.as_ref()) {
            for bytes in record::split(&batch.records) {
                add_changes(bytes.unwrap(), &mut changes).unwrap();
            }
        }
        let changes = last_only(changes);
        let last = messages[messages.len() - 1].last;
        let count = messages.len();
        // Killed in the middle of it: the next one begins again.
        if self.random.chance(10) && self.now_ms < self.faults_until {
            let some = self.random.index(changes.len() + 1);
            let partly = archive.store.apply(changes[..some].to_vec(), Vec::new());
            return partly.now_or_never().unwrap().unwrap();
        }
        let whole = archive.store.apply(changes, vec![(partition, last)]);
        whole.now_or_never().unwrap().unwrap();
        archive.count[place] += count;
        archive.applied[place] = last.max(archive.applied[place]);
        let applied = Arc::new(archive.applied.clone());
        for node in 0..self.nodes.len() {
            if self.nodes[node].archive == index && self.nodes[node].is_up {
                self.nodes[node].saw(partition, last);
                let (ms, life) = (self.random.below(20), self.nodes[node].life);
                self.after(ms, Happening::Mail(node, life, Mail::Archived(Arc::clone(&applied))));
            }
        }
    }
}

/// Members.
impl World {
    fn start(&mut self, index: usize) {
        let id = NodeId::new(self.random.between(1, u64::MAX >> 1)).unwrap();
        let settings = Arc::clone(&self.settings);
        self.nodes[index].start(id, settings, self.now_ms);
        let (life, ms) = (self.nodes[index].life, self.random.below(20));
        self.after(ms, Happening::Beat(index, life));
        self.after(20, Happening::Mail(index, life, Mail::Tick));
    }

    fn beat(&mut self, index: usize, life: u32) {
        let node = &mut self.nodes[index];
        if node.life != life || !node.is_up {
            return;
        }
        if node.stopped_until > self.now_ms {
            let ms = node.stopped_until - self.now_ms;
            return self.after(ms, Happening::Beat(index, life));
        }
        self.after(BEAT_MS, Happening::Beat(index, life));
        if self.is_cut(index) {
            return;
        }
        let node = &mut self.nodes[index];
        node.heard_of_ms = self.now_ms;
        let known = view::Node {
            id: node.id,
            name: node.name.clone(),
            shards: node.shards.len() as u16,
            leaving: node.leaving_since.is_some(),
        };
        let before = self.registered.insert(known.id, (known.clone(), self.now_ms + TTL_MS));
        if before.map(|(known, _)| known) != Some(known) {
            self.announce();
        }
        let is_quiet = self.nodes[index].has_left(self.now_ms);
        if is_quiet {
            let id = self.nodes[index].id;
            self.registered.remove(&id);
            self.down(index);
            self.announce();
        }
    }

    fn expire(&mut self) {
        self.after(20, Happening::Expire);
        let (count, now_ms) = (self.registered.len(), self.now_ms);
        self.registered.retain(|_, (_, until)| *until > now_ms);
        if self.registered.len() != count {
            self.announce();
        }
    }

    /// Everyone hears of who lives, each in their time.
    fn announce(&mut self) {
        let view = Arc::new(self.view());
        for node in 0..self.nodes.len() {
            let (ms, life) = (self.random.between(1, 60), self.nodes[node].life);
            self.after(ms, Happening::Mail(node, life, Mail::View(self.number, Arc::clone(&view))));
        }
    }

    fn view(&self) -> View {
        View::new(self.registered.values().map(|(node, _)| node.clone()), PARTITIONS)
    }
}

/// Faults.
impl World {
    fn strike(&mut self) {
        if !self.has_faults() {
            return self.heal();
        }
        let ms = self.random.between(20, 250).min(self.faults_until - self.now_ms).max(1);
        self.after(ms, Happening::Fault);
        let node = self.random.index(self.nodes.len());
        if !self.nodes[node].is_up {
            return;
        }
        match self.random.below(11) {
            0 => {
                self.counts.crashes += 1;
                self.down(node);
            }
            1 | 2 => {
                self.counts.stops += 1;
                self.nodes[node].stopped_until = self.now_ms + self.random.between(20, 900);
            }
            3 => {
                self.counts.cuts += 1;
                self.nodes[node].cut_until = self.now_ms + self.random.between(20, 700);
            }
            4 => {
                let other = self.random.index(self.nodes.len());
                if other != node {
                    self.counts.parted += 1;
                    let until = self.now_ms + self.random.between(100, 900);
                    self.parted.insert((node.min(other), node.max(other)), until);
                }
            }
            5 => {
                self.counts.leaves += 1;
                self.nodes[node].leaving_since = Some(self.now_ms);
            }
            6..=8 => {
                // It takes itself for alone, or for dead.
                self.counts.wrong_views += 1;
                let wrong = self.registered.values().map(|(node, _)| node.clone());
                let left_out = self.random.index(self.registered.len().max(1));
                let wrong = wrong.enumerate().filter(|(index, _)| *index != left_out).map(|(_, node)| node);
                let wrong = Arc::new(View::new(wrong, PARTITIONS));
                let (number, life) = (self.number, self.nodes[node].life);
                self.after(1, Happening::Mail(node, life, Mail::View(number, wrong)));
                let (ms, right) = (self.random.between(50, 400), Arc::new(self.view()));
                self.after(ms, Happening::Mail(node, life, Mail::View(number, right)));
            }
            9 => self.full_until = self.now_ms + self.random.between(10, 100),
            _ => {
                let archive = self.random.index(self.archives.len());
                self.archives[archive].stalled_until = self.now_ms + self.random.between(50, 500);
            }
        }
    }

    fn down(&mut self, node: usize) {
        self.nodes[node].is_up = false;
        self.nodes[node].life += 1;
        let ms = self.random.between(20, 500);
        self.after(ms, Happening::Restart(node));
    }

    /// All faults are over.
    fn heal(&mut self) {
        for node in &mut self.nodes {
            node.stopped_until = node.stopped_until.min(self.now_ms);
            node.cut_until = 0;
        }
        self.parted.clear();
        self.full_until = 0;
        let live = (0..self.nodes.len()).filter(|&node| self.nodes[node].is_up).collect::<Vec<_>>();
        for node in live {
            self.wake(node);
        }
    }
}

/// Clients.
impl World {
    fn client(&mut self, index: usize) {
        let ms = self.random.between(3, 30);
        self.after(ms, Happening::Client(index));
        let now_ms = self.now_ms;
        let client = &self.clients[index];
        let is_gone = client.at.is_some_and(|(node, life, _)| self.nodes[node].life != life);
        let is_late =
            client.wishes.iter().any(|wish| wish.request != 0 && wish.asked_ms + PATIENCE_MS < now_ms);
        if is_gone || is_late || client.at.is_none() || (self.has_faults() && self.random.chance(1)) {
            self.connect(index);
        }
        if self.has_faults() && self.clients[index].wishes.len() < 4 {
            self.want(index);
        }
        if !self.has_faults() && self.clients[index].wishes.is_empty() {
            self.want_history(index);
        }
        let (client, counts) = (&mut self.clients[index], &mut self.counts);
        let Some((node, life, shard)) = client.at else { return };
        let session = client.session;
        let mut asked = Vec::new();
        for wish in client.wishes.iter_mut().filter(|wish| wish.request == 0 && wish.asked_ms <= now_ms) {
            counts.requests += 1;
            (wish.request, wish.asked_ms) = (counts.requests, now_ms);
            asked.push((wish.request, wish.what.clone()));
        }
        let user = client.user;
        for (request, what) in asked {
            let frame = what.frame(request);
            self.asked.insert(request, (user, what));
            let mail = Mail::Client { client: index, session, shard, user, frame };
            self.after(1, Happening::Mail(node, life, mail));
        }
    }

    fn connect(&mut self, index: usize) {
        let live: Vec<usize> = (0..self.nodes.len()).filter(|&node| self.nodes[node].is_up).collect();
        let client = &mut self.clients[index];
        client.at = None;
        client.session += 1;
        client.wishes.iter_mut().for_each(|wish| wish.request = 0);
        if !live.is_empty() {
            let node = live[self.random.index(live.len())];
            let shard = self.random.index(self.nodes[node].shards.len()) as u16;
            client.at = Some((node, self.nodes[node].life, shard));
        }
    }

    /// Something new to ask for.
    fn want(&mut self, index: usize) {
        let rooms: Vec<RoomId> = self.ready.iter().copied().collect();
        if rooms.is_empty() || self.random.chance(30) {
            return;
        }
        let room = rooms[self.random.index(rooms.len())];
        let guest = self.clients[self.clients.len() - 1].user;
        let chance = self.random.below(100);
        let head = self.checker.rooms.get(&room).map_or(0, |room| room.events.len() as u64);
        let seq = self.random.below(head + 2);
        let client = &mut self.clients[index];
        let what = match chance {
            0..60 => {
                client.messages += 1;
                let mut bytes = [0; 16];
                bytes[0] = index as u8;
                bytes[8..].copy_from_slice(&client.messages.to_be_bytes());
                let text = format!("{} of {}", client.messages, client.user);
                What::Send { room, client_id: ClientId::from_bytes(bytes), text }
            }
            60..85 => What::Read { room, seq },
            85..90 if index == 0 => What::Remove { room, user: guest },
            90..95 if index == 0 => What::Add { room, user: guest },
            _ => What::Sync { room, after_seq: client.have.get(&room).copied().unwrap_or(0) },
        };
        client.wish(what);
    }

    /// At the end everyone reads all there is.
    fn want_history(&mut self, index: usize) {
        for room in self.rooms.clone() {
            let client = &mut self.clients[index];
            let have = client.have.get(&room).copied().unwrap_or(0);
            let model = self.checker.rooms.get(&room);
            let is_member = model.is_some_and(|model| model.members.contains_key(&client.user));
            if is_member && model.is_some_and(|model| have < model.events.len() as u64) {
                client.wish(What::Sync { room, after_seq: have });
            }
        }
    }

    fn told(&mut self, index: usize, session: u32, frame: Frame<'static>) {
        self.note(frame.request().unwrap_or(0));
        let client = &mut self.clients[index];
        let wish = client.wishes.iter().position(|wish| Some(wish.request) == frame.request());
        let Some(place) = wish.filter(|_| client.session == session) else { return };
        match frame {
            Frame::Ack { .. } => {
                if let What::Create { room, .. } = client.wishes.remove(place).what {
                    self.ready.insert(room);
                }
            }
            Frame::Events { room, events, .. } => {
                if let (What::Sync { after_seq, .. }, Some(last)) =
                    (client.wishes.remove(place).what, events.last())
                {
                    let have = client.have.entry(room).or_default();
                    if *have == after_seq {
                        *have = last.seq;
                    }
                }
            }
            Frame::Snapshot { room, from_seq, .. } => {
                client.wishes.remove(place);
                let have = client.have.entry(room).or_default();
                *have = from_seq.max(*have);
            }
            Frame::Error { request, code, .. }
                if code.come_back() || self.refused_by_stale.remove(&request) =>
            {
                self.counts.refused += 1;
                let wish = &mut client.wishes[place];
                (wish.request, wish.asked_ms) = (0, self.now_ms + self.random.between(10, 60));
            }
            Frame::Error { .. } if client.is_guest => _ = client.wishes.remove(place),
            other => self.checker.fault(|| format!("the answer is {other:?}")),
        }
    }
}

/// The end.
impl World {
    fn is_over(&self) -> bool {
        if self.has_faults() || self.clients.iter().any(|client| !client.wishes.is_empty()) {
            return false;
        }
        let has_all = |client: &Client| {
            self.checker.rooms.iter().all(|(room, model)| {
                !model.members.contains_key(&client.user)
                    || client.have.get(room).copied().unwrap_or(0) >= model.events.len() as u64
            })
        };
        self.clients.iter().all(has_all) && self.left_to_do().is_none()
    }

    /// What the cluster has not done yet, once nobody asks for anything.
    fn left_to_do(&self) -> Option<String> {
        let right = self.view();
        for (index, node) in self.nodes.iter().enumerate() {
            if !node.is_up {
                return Some(format!("node {index} is down"));
            }
            if let Some(what) = node.left_to_do(&right) {
                return Some(format!("node {index}: {what}"));
            }
        }
        let not_archived = self.archives.iter().position(|archive| {
            (0..PARTITIONS).any(|it| archive.applied[usize::from(it)] < self.log.last(it))
        });
        if let Some(archive) = not_archived {
            return Some(format!("store {archive} has not everything"));
        }
        self.checker.rooms.iter().find_map(|(id, room)| {
            let missing = (1..=room.events.len() as u64).find(|seq| !room.handed_out.contains(seq))?;
            Some(format!("event {missing} of room {id} was never handed out"))
        })
    }

    fn left(&self) -> String {
        let clients = self.clients.iter().flat_map(|client| &client.wishes);
        let wishes: Vec<String> = clients.map(|wish| format!("{:?}", wish.what)).collect();
        format!("{:?}, wishes {wishes:?}", self.left_to_do())
    }

    fn check_end(&mut self) -> Result<(), String> {
        self.counts.histories += 1;
        self.counts.events += self.checker.rooms.values().map(|room| room.events.len() as u64).sum::<u64>();
        let rooms: Vec<RoomId> = self.checker.rooms.keys().copied().collect();
        for room in rooms {
            for user in self.clients.iter().map(|client| client.user) {
                self.check_unread(room, user)?;
            }
        }
        Ok(())
    }

    /// Unread counts, at the home and in every store, are what the log says.
    fn check_unread(&self, room: RoomId, user: UserId) -> Result<(), String> {
        let right = self.checker.unread(room, user);
        for (index, archive) in self.archives.iter().enumerate() {
            let heads = archive.store.inner.room_heads(user, vec![room]).now_or_never().unwrap().unwrap();
            let stored = heads.into_iter().next().flatten();
            let unread = stored.map(|(head, row)| stored_entry(room, head, &row).entry.unread);
            if unread != right {
                return Err(format!(
                    "room {room}: {user} has {right:?} unread, store {index} says {unread:?}"
                ));
            }
        }
        for (index, node) in self.nodes.iter().enumerate() {
            for shard in &node.shards {
                if !shard.home.has(node.route.partition_of_room(room)) {
                    continue;
                }
                let Some(standing) = shard.home.head(room, user) else { continue };
                let unread = standing.map(|standing| standing.entry.unread);
                if unread != right {
                    return Err(format!(
                        "room {room}: {user} has {right:?} unread, node {index} says {unread:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}
