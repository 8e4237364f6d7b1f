//! A shard: one core, its thread, its connections, its rooms.
//!
//! It works in turns: take what is readable, decide, append to outboxes and to the log, then write once per
//! connection that has something. Nothing here is shared but the mailbox, the directory and the counts.

mod accept;
pub mod ask;
pub mod away;
mod drain;
pub(crate) mod forward;
pub mod message;
mod outgoing;
mod owed;
mod read;
mod serve;
mod tasks;
mod tick;
mod tls;
mod within;
mod write;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use carillon_protocol::{RoomId, UserId};
use carillon_storage::{CqlStore, Positions, Store};
use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use hashbrown::HashMap;
use mio::{Events, Token};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::auth::Keys;
use crate::cluster::Peers;
use crate::cluster::members::Lease;
use crate::cluster::presence::Presence;
use crate::cluster::status::Status;
use crate::cluster::view::NodeId;
use crate::command;
use crate::config::Config;
use crate::connections::{Connections, Key};
use crate::deliver::Local;
use crate::directory::{Directory, ShardSet};
use crate::follow::archive::ArchiveStatus;
use crate::follow::counters::CountersStatus;
use crate::follow::share::Share;
use crate::home::lane::LaneId;
use crate::home::{Home, Sealed};
use crate::limits::Admission;
use crate::listen::Door;
use crate::log::{AppendError, Log};
use crate::mailbox::Mailbox;
use crate::memory::Ebb;
use crate::route::Route;
use crate::stats::{NodeStats, ShardStats};
use ask::Asker;
use message::Message;
use outgoing::Outgoing;
use tasks::Done;

/// Sockets looked at in one turn; the rest is looked at in the next.
const EVENTS_MAX: usize = 1024;
/// Bytes read from one connection in one turn; who has more waits for the next, like everyone.
const READ_BYTES: usize = 64 * 1024;
/// What an incomplete frame may have before it: headers of transports, the head of an HTTP request.
const PARTIAL_BYTES_MORE: usize = 16 * 1024;
/// Appends under way at once; what is decided meanwhile makes the next one larger.
const APPENDS_MAX: usize = 16;
/// Turns of messages taken from the mailbox in one turn of ours.
const BATCHES_MAX: usize = 64;
/// How soon messages are handed over again that other nodes could not take.
const FLUSH_AGAIN_AFTER: Duration = Duration::from_millis(2);
/// A tick's length while the node leaves.
const HURRY: Duration = Duration::from_millis(20);
/// The bell's token.
pub const BELL: Token = Token(usize::MAX);
/// The doors' tokens, from the first on; connections have theirs from 0 up.
const DOORS: usize = usize::MAX - 2;

/// What all shards of a node share.
pub struct Node {
    /// Settings.
    pub config: Arc<Config>,
    /// Who decides what.
    pub route: Route,
    /// Who is connected where.
    pub directory: Directory,
    /// Who is let in.
    pub admission: Admission,
    /// What tokens are signed with.
    pub keys: Keys,
    /// The log.
    pub log: Arc<dyn Log>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The same, where it is in ScyllaDB or Cassandra.
    pub cql: Option<Arc<CqlStore>>,
    /// How far the log is archived.
    pub archived: watch::Receiver<Positions>,
    /// What this node archives, where the nodes of a cluster share a store.
    pub share: Option<Arc<Share>>,
    /// How archiving is going.
    pub archiving: watch::Receiver<ArchiveStatus>,
    /// How counting unread messages is going, where it is done.
    pub counting: Option<watch::Receiver<CountersStatus>>,
    /// Where the users who live here are, of other nodes.
    pub presence: Presence,
    /// The other nodes, where there may be any.
    pub peers: Option<Arc<dyn Peers>>,
    /// Until when the others count on this node.
    pub lease: Option<Arc<Lease>>,
    /// How it stands among them.
    pub cluster: Option<Arc<Status>>,
    /// What is counted.
    pub stats: NodeStats,
}

/// One core's share of a node.
pub struct Shard {
    me: u16,
    node: Arc<Node>,
    sockets: AsyncFd<mio::Poll>,
    /// Where connections come in.
    doors: Vec<Door>,
    connections: Connections,
    /// Those among them that are over a limit.
    refused: usize,
    local: Local,
    home: Home,
    mailbox: Mailbox<Message>,
    outgoing: Outgoing,
    asker: Asker,
    /// Which shards want a large room's events, for rooms that live here.
    interest: HashMap<RoomId, ShardSet, foldhash::fast::RandomState>,
    /// The same of other nodes.
    interest_away: HashMap<RoomId, Vec<(NodeId, ShardSet)>, foldhash::fast::RandomState>,
    away: away::Away,
    remembered: forward::Remembered,
    held: forward::Held,
    flushing_away: bool,
    appends: FuturesUnordered<LocalBoxFuture<'static, Appended>>,
    tasks: FuturesUnordered<LocalBoxFuture<'static, Done>>,
    looking_up: bool,
    /// New sessions whose large rooms are not known yet.
    arrivals: VecDeque<(Key, UserId)>,
    /// Those whose rooms could not be read: again at the next tick.
    late_arrivals: Vec<(Key, UserId)>,
    /// Connections to write to at the end of the turn.
    dirty: Vec<Key>,
    /// Connections with more to read than a turn takes.
    unread: VecDeque<Key>,
    /// Connections that have not said hello, in the order in which their time runs out, with the tick when it does.
    strangers: VecDeque<(u32, Key)>,
    /// The one buffer all connections are read into.
    scratch: Vec<u8>,
    /// The same for what comes encrypted; none where there is no TLS.
    ciphertext: Vec<u8>,
    /// Steps of TLS handshakes that wanted to be taken in this turn.
    handshakes: usize,
    /// For encoding one frame.
    frame: Vec<u8>,
    /// Milliseconds since 1970, as of this turn.
    now_ms: u64,
    ticks: Ticks,
    ebb: Ebb,
    /// What was found in outboxes since the last ping interval began, in bytes.
    waiting_bytes: u64,
    drain: drain::Drain,
}

/// The shard's pulse: how long it is, and how many have been.
struct Ticks {
    interval: Interval,
    every_ms: u64,
    count: u32,
}

impl Ticks {
    /// Beats fast from now on: leaving should not take a second a step.
    fn hurry(&mut self) {
        self.interval = interval(HURRY);
        self.interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
}

/// What became of an append.
struct Appended {
    lane: LaneId,
    /// Its number in the lane.
    number: u64,
    result: Result<(), AppendError>,
}

/// Ends a turn's waiting.
enum Woken {
    Sockets,
    Append(Appended),
    Task(Done),
    /// A task has a question for another shard.
    Asked,
    Tick,
}

impl Shard {
    /// A shard that lets connections in at `doors`, two at most. Call on its own thread, within its runtime.
    pub fn new(
        me: u16,
        node: Arc<Node>,
        poll: mio::Poll,
        mut doors: Vec<Door>,
        mailboxes: Arc<[Mailbox<Message>]>,
    ) -> io::Result<Self> {
        for (index, door) in doors.iter_mut().enumerate() {
            poll.registry().register(&mut door.listener, Token(DOORS + index), mio::Interest::READABLE)?;
        }
        let has_tls = doors.iter().any(|door| door.tls.is_some());
        let every_ms = tick::every_ms(node.config.ping_interval_ms);
        let mut interval = interval(Duration::from_millis(every_ms));
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mailbox = mailboxes[usize::from(me)].clone();
        Ok(Self {
            me,
            // SAFETY: a `Poll` owns its epoll descriptor from beginning to end, always says the same one, and is closed
            // only with the `AsyncFd` around it.
            sockets: unsafe { AsyncFd::register(poll) }.map_err(io::Error::from)?,
            doors,
            connections: Connections::default(),
            refused: 0,
            local: Local::default(),
            home: Home::new(
                Arc::clone(&node.config),
                node.route.clone(),
                me,
                &node.log.last(),
                node.log.settles_by(),
            ),
            mailbox,
            outgoing: Outgoing::new(node.route.here(me), mailboxes, node.peers.clone()),
            asker: Asker::default(),
            interest: HashMap::default(),
            interest_away: HashMap::default(),
            away: away::Away::default(),
            remembered: forward::Remembered::default(),
            held: forward::Held::default(),
            flushing_away: false,
            appends: FuturesUnordered::new(),
            tasks: FuturesUnordered::new(),
            looking_up: false,
            arrivals: VecDeque::new(),
            late_arrivals: Vec::new(),
            dirty: Vec::new(),
            unread: VecDeque::new(),
            strangers: VecDeque::new(),
            scratch: vec![0; READ_BYTES + node.config.frame_bytes_max + PARTIAL_BYTES_MORE],
            ciphertext: if has_tls { vec![0; READ_BYTES] } else { Vec::new() },
            handshakes: 0,
            frame: Vec::new(),
            now_ms: now_ms(),
            ticks: Ticks { interval, every_ms, count: 0 },
            ebb: Ebb::default(),
            waiting_bytes: 0,
            drain: drain::Drain::default(),
            node,
        })
    }

    /// Turn after turn until the node has drained.
    pub async fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.drain.is_done() {
            let woken = self.wait().await?;
            self.now_ms = now_ms();
            self.turn(woken, &mut events)?;
        }
        Ok(())
    }

    /// One turn: everything that is ready, from reading to writing.
    fn turn(&mut self, mut woken: Option<Woken>, events: &mut Events) -> io::Result<()> {
        self.look_at_lease();
        self.handshakes = 0;
        while let Some(what) = woken {
            match what {
                Woken::Sockets | Woken::Asked => {}
                Woken::Append(appended) => self.appended(appended),
                Woken::Task(done) => self.done(done),
                Woken::Tick => self.tick(),
            }
            woken = self.ready_now();
        }
        self.poll(events)?;
        self.take_mail();
        self.read_unread();
        self.accept();
        self.start_tasks();
        self.append();
        // Other shards hear of it before any client is told that it is done.
        self.outgoing.flush();
        self.write_dirty();
        self.outgoing.flush();
        self.flush_away();
        self.drain_on();
        Ok(())
    }

    /// Waits until there is something to do. Where there is already, only lets the runtime look at its own things.
    async fn wait(&mut self) -> io::Result<Option<Woken>> {
        let bell = Arc::clone(self.mailbox.bell());
        let is_accepting = self.doors.iter().any(|door| door.is_accepting);
        let has_work = is_accepting || !self.unread.is_empty() || !self.outgoing.flush();
        if has_work || !bell.doze(|| self.mailbox.is_empty()) {
            tokio::task::yield_now().await;
            return Ok(self.ready_now());
        }
        // Sockets last: every turn looks at them anyway, so they never keep the others from their turn.
        let woken = tokio::select! {
            biased;
            Some(appended) = self.appends.next() => Woken::Append(appended),
            woken = next_task(&mut self.tasks, &self.asker) => woken,
            _ = self.ticks.interval.tick() => Woken::Tick,
            guard = self.sockets.readable() => {
                // The turn polls until nothing is left, so that the next readiness is a new one.
                guard?.clear_ready();
                Woken::Sockets
            }
        };
        bell.rise();
        Ok(Some(woken))
    }

    /// What is ready without waiting.
    fn ready_now(&mut self) -> Option<Woken> {
        use futures_util::future::FutureExt;
        if let Some(Some(appended)) = self.appends.next().now_or_never() {
            return Some(Woken::Append(appended));
        }
        if let Some(Some(done)) = self.tasks.next().now_or_never() {
            return Some(Woken::Task(done));
        }
        self.ticks.interval.tick().now_or_never().map(|_| Woken::Tick)
    }

    /// Looks at every socket that has something.
    fn poll(&mut self, events: &mut Events) -> io::Result<()> {
        loop {
            match self.sockets.get_mut().poll(events, Some(Duration::ZERO)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in events.iter() {
                match event.token() {
                    BELL => {}
                    Token(index) => match self.doors.get_mut(index.wrapping_sub(DOORS)) {
                        Some(door) => door.is_accepting = true,
                        None => self.socket_event(index as u32, event),
                    },
                }
            }
            if events.iter().count() < EVENTS_MAX {
                return Ok(());
            }
        }
    }

    fn socket_event(&mut self, index: u32, event: &mio::event::Event) {
        let Some(key) = self.connections.key_at(index) else { return };
        // Said once, perhaps together with the last bytes: remembered, so that reading goes on to the end.
        if event.is_read_closed()
            && let Some(connection) = self.connections.get_mut(key)
        {
            connection.state.ended = true;
        }
        if event.is_writable() {
            self.writable(key);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.readable(key);
        }
    }

    /// Takes what other shards have for this one.
    fn take_mail(&mut self) {
        for _ in 0..BATCHES_MAX {
            let Some(batch) = self.mailbox.take() else { return };
            batch.into_iter().for_each(|message| self.message(message));
        }
    }

    /// Does what another shard asks.
    fn message(&mut self, message: Message) {
        match message {
            Message::Request(request) => self.home_request(request),
            Message::Reply(to, reply) => self.replied(to, reply),
            Message::Deliver(delivery) => self.deliver_here(delivery),
            Message::Membership(membership) => self.membership(membership),
            Message::Subscribe { room, users, head_seq } => self.subscribe_users(room, &users, head_seq),
            Message::Unsubscribe { room, user } => self.unsubscribe_user(room, user),
            Message::Interest { room, place, wanted } => self.interested(room, place, wanted),
            Message::Interesting(head) => self.catch_up_subscribers(head),
            Message::Replaced { user, device, at_ms } => self.replace(user, &device, at_ms, None),
            Message::Ask(place, number, question) => self.asked(place, number, question),
            Message::Tell(number, answer) => self.asker.told(number, answer),
            Message::Archived(positions) => self.home.archived(&positions),
            Message::Certificate(config) => self.show_certificate(&config),
            Message::Drain => self.start_drain(),
            Message::Moved(request) => {
                let room = command::room_of(&request.frame).unwrap_or(RoomId::NIL);
                self.wait_for_home(self.node.route.partition_of_room(room), request);
            }
            Message::MovedAway(origin) => self.moved_away(origin.ticket),
            Message::Forward { from, hops, message } => self.forwarded(from, hops, *message, false),
            Message::Announce(user) => self.announce(user),
            Message::Presence { user, node, here } => self.presence(user, node, here),
            // These are for the node, not for its shards.
            Message::Announced(..) | Message::Released(..) => {}
            Message::RollCall(call) => self.answer_roll_call(&call),
            Message::CallRoll(nodes, call) => self.call_roll(&nodes, &call),
            Message::PeerGone(node) => self.peer_gone(node),
            Message::Rehomed(partitions) => self.rehomed(&partitions),
            Message::PeerLost { node, is_alive } => self.peer_lost(node, is_alive),
            Message::Take(taken) => self.take(taken),
            Message::Release(partition) => self.home.release(partition),
        }
    }

    /// Closes the turn for the log: one append of all that was decided, or one for each partition, as the log has it.
    fn append(&mut self) {
        self.hand_out();
        let mut at_once = Vec::new();
        let (log, appends) = (&self.node.log, &self.appends);
        self.home.seal(APPENDS_MAX, |sealed| match sealed {
            Sealed::Append { lane, number, batches } => {
                let append = log.append(batches);
                appends.push(Box::pin(async move { Appended { lane, number, result: append.await } }));
            }
            Sealed::Owed(after) => at_once.extend(after),
        });
        self.pay(at_once);
    }

    /// An append has come back.
    fn appended(&mut self, appended: Appended) {
        let log = &self.node.log;
        let durable = |partition| log.last().get(usize::from(partition)).copied().unwrap_or(0);
        let owed = self.home.appended(appended.lane, appended.number, appended.result, &durable);
        self.pay(owed);
    }

    /// A node that was stopped, or cut off, for so long that others took over what it was the home of decides nothing more, and
    /// answers nothing that may be old by now. (What it would append the log refuses in any case.)
    fn look_at_lease(&mut self) {
        if let Some(lease) = &self.node.lease
            && !self.home.is_idle()
            && !lease.is_valid(std::time::Instant::now())
        {
            tracing::warn!(
                shard = self.me,
                "NATS has not acknowledged this node for too long: it decides nothing until it does"
            );
            self.home.suspend();
        }
    }

    /// Hands over what is for other nodes; what they cannot take now is tried again a little later.
    fn flush_away(&mut self) {
        if !self.outgoing.flush_away() && !self.flushing_away {
            self.flushing_away = true;
            self.start(async {
                tokio::time::sleep(FLUSH_AGAIN_AFTER).await;
                Done::FlushAway
            });
        }
    }

    fn stats(&self) -> &ShardStats {
        self.node.stats.of(self.me)
    }
}

/// A task that is done, or one that has asked something: then the shard must not sleep on it.
fn next_task<'a>(
    tasks: &'a mut FuturesUnordered<LocalBoxFuture<'static, Done>>,
    asker: &'a Asker,
) -> impl Future<Output = Woken> + 'a {
    std::future::poll_fn(|context| match tasks.poll_next_unpin(context) {
        Poll::Ready(Some(done)) => Poll::Ready(Woken::Task(done)),
        _ if asker.has_asked() => Poll::Ready(Woken::Asked),
        _ => Poll::Pending,
    })
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
