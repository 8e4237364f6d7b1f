//! All links of a node, over one NATS subject a node: `<prefix>.node.<id>`.
//!
//! One thread of its own. Shards hand it batches ([`Outbox::send`], which never waits) and it hands what comes to a
//! [`Receiver`]. Everything that waits for one peer leaves in one publish. Core NATS loses what was in a broken connection
//! and drops for slow consumers; the links (`link`) notice and send again.
//!
//! - **Bounds.** What waits for one peer, from the queue to its acknowledgement, is bounded in bytes; so is the queue, in batches.
//!   Past either the batch comes back: try again later. What a receiver does not take stays in the link, and makes the peer wait.
//! - **NATS away.** Nothing leaves, and no peer is called lost for that; then every link goes on where it was.
//! - **Peers** come and go with the view. One that has gone from it is lost at once; one that is not in it yet may talk.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_nats::{Client, Subject};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use hashbrown::HashMap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::Peers;
use super::datagram::Datagram;
use super::link::{BATCH_BYTES_MAX, Link, LinkConfig, Output, Refused};
use super::network::{self, Line, Presence};
use super::view::{NodeId, View};

/// Batches that may wait for the mesh's thread.
const QUEUE_BATCHES: usize = 4_096;
/// Taken from the queue, and from the subscription, at a time.
const TURN: usize = 256;
/// Links a node may have; who comes when there are as many is not heard.
const LINKS_MAX: usize = 8_192;
/// Datagrams that may wait for the connection; it holds as many again.
const PUBLISHES_MAX: usize = 16;
/// A batch that was not taken is offered again after so long.
const OFFER_AGAIN: Duration = Duration::from_millis(2);
/// What waits at the stop is given so long to leave.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// What a batch costs beside its bytes, for the bound.
const BATCH_OVERHEAD_BYTES: usize = 64;
const LINE: Line = Line { name: "carillon mesh", commands_max: PUBLISHES_MAX, messages_max: 256 };

type Waiting = papaya::HashMap<NodeId, Arc<AtomicUsize>, foldhash::fast::RandomState>;

/// What a mesh is started with.
#[derive(Clone, Debug)]
pub struct MeshConfig {
    /// Where NATS is: `nats://host:port`, several of one cluster.
    pub servers: Vec<String>,
    /// File of NATS credentials, where the servers ask for some.
    pub credentials: Option<PathBuf>,
    /// What the names of this cluster's subjects begin with.
    pub prefix: String,
    /// This node.
    pub me: NodeId,
    /// How its links behave.
    pub link: LinkConfig,
}

/// Who gets what comes from other nodes. Called on the mesh's thread, which waits meanwhile: take it and return.
pub trait Receiver: Send + 'static {
    /// The next batch of a peer. Answer whether it was taken: if not, it comes again a little later, and the peer has to wait.
    fn batch(&mut self, from: NodeId, batch: &[u8]) -> bool;
    /// A peer answers. Batches come from here on.
    fn opened(&mut self, peer: NodeId);
    /// What was sent to a peer so far and not answered may have arrived or not.
    fn lost(&mut self, peer: NodeId);
    /// Hands on what it took and could not hand on at once. Says whether nothing of that is left; if not, it is called again
    /// a little later.
    fn flush(&mut self) -> bool;
}

/// A running mesh; dropped, it stops.
pub struct Mesh {
    outbox: Outbox,
    presence: watch::Receiver<Presence>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A batch on its way to the mesh's thread.
struct Queued {
    to: NodeId,
    batch: Bytes,
    /// Where it is charged: to the link of that time, which may be forgotten by when the thread has it.
    charged: Arc<AtomicUsize>,
}

/// Where batches for other nodes go in. Clones go to the same mesh.
#[derive(Clone)]
pub struct Outbox {
    queue: mpsc::Sender<Queued>,
    waiting: Arc<Waiting>,
    bytes_max: usize,
}

/// Why a mesh does not start.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// No thread, or no runtime.
    #[error("cannot start the mesh's thread: {0}")]
    Thread(#[from] io::Error),
    /// The servers are no addresses, or the credentials are none.
    #[error(transparent)]
    Servers(#[from] network::NotReachable),
}

impl Mesh {
    /// Starts one; it links as soon as NATS is there, to the nodes of `views` and to who else talks to it.
    pub fn start(
        config: MeshConfig,
        views: watch::Receiver<Arc<View>>,
        receiver: impl Receiver,
    ) -> Result<Self, MeshError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let servers = network::servers(&config.servers, config.credentials.as_deref())?;
        let (here, presence) = watch::channel(Presence::default());
        let (queue, batches) = mpsc::channel(QUEUE_BATCHES);
        let waiting = Arc::new(Waiting::default());
        let outbox =
            Outbox { queue, waiting: Arc::clone(&waiting), bytes_max: config.link.unacknowledged_bytes_max };
        let (stop, stopped) = oneshot::channel();
        let links = Links::new(config, waiting, receiver);
        let seen = presence.clone();
        let thread = thread::Builder::new().name("mesh".into()).spawn(move || {
            runtime.block_on(async {
                match network::connect(servers, LINE, here).await {
                    Ok(client) => run(links, client, seen, views, batches, stopped).await,
                    Err(error) => tracing::error!(%error, "the mesh cannot connect to NATS"),
                }
            });
        })?;
        Ok(Self { outbox, presence, stop: Some(stop), thread: Some(thread) })
    }

    /// Where batches for other nodes go in.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Whether NATS is there, as it changes.
    pub fn presence(&self) -> watch::Receiver<Presence> {
        self.presence.clone()
    }
}

impl Drop for Mesh {
    /// Sends what can leave at once, and stops.
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // Gone already only where the thread has died.
            let _ = stop.send(());
        }
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the mesh died");
        }
    }
}

impl Outbox {
    /// A batch for another node: it arrives once and in order, or the peer is lost. Gives it back where too much waits for that
    /// node, or for the mesh: try again later. A batch is at most [`BATCH_BYTES_MAX`], or it comes back for ever.
    pub fn send(&self, to: NodeId, batch: Vec<u8>) -> Result<(), Vec<u8>> {
        let charge = batch.len() + BATCH_OVERHEAD_BYTES;
        let waiting = waiting_for(&self.waiting, to);
        let before = waiting.fetch_add(charge, Ordering::Relaxed);
        if batch.len() > BATCH_BYTES_MAX || (before > 0 && before + charge > self.bytes_max) {
            waiting.fetch_sub(charge, Ordering::Relaxed);
            return Err(batch);
        }
        let permit = self.queue.try_reserve();
        let Ok(permit) = permit else {
            waiting.fetch_sub(charge, Ordering::Relaxed);
            return Err(batch);
        };
        permit.send(Queued { to, batch: batch.into(), charged: waiting });
        Ok(())
    }

    /// Bytes that wait for a node and are not acknowledged, with some for each batch.
    pub fn waiting_bytes(&self, node: NodeId) -> usize {
        self.waiting.pin().get(&node).map_or(0, |waiting| waiting.load(Ordering::Relaxed))
    }
}

impl Peers for Outbox {
    fn send(&self, node: NodeId, batch: Vec<u8>) -> Result<(), Vec<u8>> {
        Self::send(self, node, batch)
    }
}

fn waiting_for(waiting: &Waiting, node: NodeId) -> Arc<AtomicUsize> {
    Arc::clone(waiting.pin().get_or_insert_with(node, Arc::default))
}

/// The thread's life. One thing after another, and never a wait for NATS: what has to wait is in another task.
async fn run<R: Receiver>(
    mut links: Links<R>,
    client: Client,
    mut presence: watch::Receiver<Presence>,
    mut views: watch::Receiver<Arc<View>>,
    mut batches: mpsc::Receiver<Queued>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut datagrams = match client.subscribe(links.subject(links.config.me)).await {
        Ok(datagrams) => datagrams,
        Err(error) => return tracing::error!(%error, "the mesh cannot subscribe"),
    };
    let (publisher, publishes) = mpsc::channel(PUBLISHES_MAX);
    let publishing = tokio::spawn(publish(client.clone(), publishes));
    let mut turn = Vec::with_capacity(TURN);
    views.mark_changed();
    presence.mark_changed();
    loop {
        let wake_at = links.wake_at();
        tokio::select! {
            permit = publisher.reserve(), if links.may_publish() => {
                let Ok(permit) = permit else { break };
                if let Some(datagram) = links.datagram_out() {
                    permit.send(datagram);
                }
            }
            datagram = datagrams.next() => {
                let Some(datagram) = datagram else { break };
                links.on_datagram(&datagram.payload);
                // What came with it, before anything is answered.
                for _ in 0..TURN {
                    let Some(Some(datagram)) = datagrams.next().now_or_never() else { break };
                    links.on_datagram(&datagram.payload);
                }
            }
            count = batches.recv_many(&mut turn, TURN) => {
                // The queue ends with its last sender, one of which the mesh's owner has.
                if count == 0 {
                    break;
                }
                turn.drain(..).for_each(|queued| links.send(queued));
            }
            () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => links.on_time(),
            changed = presence.changed() => {
                if changed.is_err() {
                    break;
                }
                let now = *presence.borrow_and_update();
                links.on_presence(now);
            }
            changed = views.changed(), if links.follows_views => match changed {
                Ok(()) => {
                    let view = Arc::clone(&views.borrow_and_update());
                    links.on_view(&view);
                }
                // Nobody looks after them any more: the last one stays.
                Err(_) => links.follows_views = false,
            },
            _ = &mut stopped => break,
        }
    }
    let last_words = async {
        while links.may_publish() {
            let Ok(permit) = publisher.reserve().await else { break };
            if let Some(datagram) = links.datagram_out() {
                permit.send(datagram);
            }
        }
        drop(publisher);
        let _ = publishing.await;
        let _ = client.flush().await;
    };
    let _ = timeout(LAST_WORDS, last_words).await;
}

/// Waits for the connection, so that the mesh does not.
async fn publish(client: Client, mut publishes: mpsc::Receiver<(Subject, Bytes)>) {
    while let Some((subject, datagram)) = publishes.recv().await {
        // The link sends it again, or the peer is lost.
        if let Err(error) = client.publish(subject, datagram).await {
            tracing::warn!(%error, "NATS does not take what is for another node");
        }
    }
}

/// Every link, and what is due for which. Not async: it is told what happens and says what is to be done.
struct Links<R> {
    config: MeshConfig,
    receiver: R,
    links: HashMap<NodeId, Peer, foldhash::fast::RandomState>,
    waiting: Arc<Waiting>,
    /// Those that have something to send, each once.
    ready: VecDeque<NodeId>,
    timers: BinaryHeap<Reverse<(u64, NodeId)>>,
    /// Those whose next batch was not taken, and when it is offered again.
    refused: Vec<NodeId>,
    offer_at: Option<Instant>,
    /// No link begins with an epoch there was.
    epoch: u64,
    presence: Presence,
    follows_views: bool,
    origin: Instant,
}

struct Peer {
    link: Link,
    subject: Subject,
    waiting: Arc<AtomicUsize>,
    /// What of `waiting` is the link's.
    accounted_bytes: usize,
    /// What the link does not take yet.
    queue: VecDeque<Bytes>,
    in_view: bool,
    is_ready: bool,
    is_refused: bool,
    armed_ms: Option<u64>,
}

impl<R: Receiver> Links<R> {
    fn new(config: MeshConfig, waiting: Arc<Waiting>, receiver: R) -> Self {
        Self {
            config,
            receiver,
            links: HashMap::default(),
            waiting,
            ready: VecDeque::new(),
            timers: BinaryHeap::new(),
            refused: Vec::new(),
            offer_at: None,
            epoch: 0,
            presence: Presence::default(),
            follows_views: true,
            origin: Instant::now(),
        }
    }

    fn subject(&self, node: NodeId) -> Subject {
        format!("{}.node.{node}", self.config.prefix).into()
    }

    fn now_ms(&self) -> u64 {
        self.origin.elapsed().as_millis() as u64
    }

    fn send(&mut self, Queued { to, batch, charged }: Queued) {
        let charge = batch.len() + BATCH_OVERHEAD_BYTES;
        charged.fetch_sub(charge, Ordering::Relaxed);
        let Some(peer) = self.peer(to) else { return };
        peer.waiting.fetch_add(charge, Ordering::Relaxed);
        peer.queue.push_back(batch);
        self.touch(to);
    }

    fn on_datagram(&mut self, bytes: &Bytes) {
        let datagram = match Datagram::decode(bytes) {
            Ok(datagram) => datagram,
            Err(error) => return tracing::debug!(%error, "what came is not from a node of this version"),
        };
        let (from, now_ms) = (datagram.header.from, self.now_ms());
        let Some(peer) = self.peer(from) else { return };
        peer.link.on_decoded(now_ms, &datagram.header, datagram.pieces);
        self.touch(from);
    }

    /// The link to a node, made where there is none; none where there are too many.
    fn peer(&mut self, node: NodeId) -> Option<&mut Peer> {
        if !self.links.contains_key(&node) {
            if self.links.len() >= LINKS_MAX || node == self.config.me {
                return None;
            }
            self.epoch += 1;
            let peer = Peer {
                link: Link::new(self.config.me, node, self.epoch, self.config.link),
                subject: self.subject(node),
                waiting: waiting_for(&self.waiting, node),
                accounted_bytes: 0,
                queue: VecDeque::new(),
                in_view: false,
                is_ready: false,
                is_refused: false,
                armed_ms: None,
            };
            self.links.insert(node, peer);
        }
        self.links.get_mut(&node)
    }

    /// After anything happened to a link: what it has for us is handed on, and what it has to do is noted.
    fn touch(&mut self, node: NodeId) {
        let now_ms = self.now_ms();
        let Some(peer) = self.links.get_mut(&node) else { return };
        peer.feed();
        let mut is_lost = false;
        while let Some(output) = peer.link.next() {
            match output {
                Output::Opened => self.receiver.opened(node),
                Output::Lost => {
                    is_lost = true;
                    self.receiver.lost(node);
                }
                Output::Batch(_) if peer.is_refused => break,
                Output::Batch(batch) if self.receiver.batch(node, &batch) => peer.link.taken(),
                Output::Batch(_) => {
                    peer.is_refused = true;
                    self.refused.push(node);
                    self.offer_at.get_or_insert_with(|| Instant::now() + OFFER_AGAIN);
                    break;
                }
            }
        }
        if !self.receiver.flush() {
            self.offer_at.get_or_insert_with(|| Instant::now() + OFFER_AGAIN);
        }
        if is_lost && !peer.in_view && !peer.link.is_open() {
            return self.forget(node);
        }
        let Some(at_ms) = peer.link.timeout_ms() else { return };
        if at_ms <= now_ms {
            if !std::mem::replace(&mut peer.is_ready, true) {
                self.ready.push_back(node);
            }
        } else if peer.armed_ms.is_none_or(|armed| at_ms < armed) {
            peer.armed_ms = Some(at_ms);
            self.timers.push(Reverse((at_ms, node)));
        }
    }

    fn forget(&mut self, node: NodeId) {
        let Some(mut peer) = self.links.remove(&node) else { return };
        self.epoch = self.epoch.max(peer.link.epoch());
        peer.drop_queue();
        peer.waiting.fetch_sub(peer.accounted_bytes, Ordering::Relaxed);
        self.waiting.pin().remove(&node);
    }

    /// Whether something may leave now.
    fn may_publish(&self) -> bool {
        self.presence.connected && !self.ready.is_empty()
    }

    /// The next datagram of the link whose turn it is.
    fn datagram_out(&mut self) -> Option<(Subject, Bytes)> {
        let now_ms = self.now_ms();
        while let Some(node) = self.ready.pop_front() {
            let Some(peer) = self.links.get_mut(&node) else { continue };
            peer.is_ready = false;
            let datagram = peer.link.datagram_out(now_ms);
            let subject = peer.subject.clone();
            self.touch(node);
            if let Some(datagram) = datagram {
                return Some((subject, datagram.into()));
            }
        }
        None
    }

    /// When [`Links::on_time`] has something to do.
    fn wake_at(&self) -> Option<Instant> {
        let timer = self.timers.peek().filter(|_| self.presence.connected);
        let timer = timer.map(|Reverse((at_ms, _))| self.origin + Duration::from_millis(*at_ms));
        [timer, self.offer_at].into_iter().flatten().min()
    }

    fn on_time(&mut self) {
        if self.offer_at.is_some_and(|at| at <= Instant::now()) {
            self.offer_at = (!self.receiver.flush()).then(|| Instant::now() + OFFER_AGAIN);
            for node in std::mem::take(&mut self.refused) {
                if let Some(peer) = self.links.get_mut(&node) {
                    peer.is_refused = false;
                }
                self.touch(node);
            }
        }
        let now_ms = self.now_ms();
        while let Some(Reverse((at_ms, node))) = self.timers.peek().copied() {
            if at_ms > now_ms {
                break;
            }
            self.timers.pop();
            if let Some(peer) = self.links.get_mut(&node) {
                if peer.armed_ms == Some(at_ms) {
                    peer.armed_ms = None;
                }
                self.touch(node);
            }
        }
    }

    fn on_presence(&mut self, presence: Presence) {
        let is_back = presence.connected && presence != self.presence;
        self.presence = presence;
        if is_back {
            let now_ms = self.now_ms();
            for node in self.nodes() {
                if let Some(peer) = self.links.get_mut(&node) {
                    peer.link.on_reconnected(now_ms);
                }
                self.touch(node);
            }
        }
    }

    fn on_view(&mut self, view: &View) {
        for node in self.nodes() {
            let is_there = view.node(node).is_some();
            let Some(peer) = self.links.get_mut(&node) else { continue };
            if std::mem::replace(&mut peer.in_view, is_there) && !is_there {
                let now_ms = self.origin.elapsed().as_millis() as u64;
                peer.link.reset(now_ms);
                // Hands on what it has to say of that; then nothing is left of it.
                self.touch(node);
                self.forget(node);
            }
        }
        for node in view.nodes() {
            if let Some(peer) = self.peer(node.id) {
                peer.in_view = true;
                self.touch(node.id);
            }
        }
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.links.keys().copied().collect()
    }
}

impl Peer {
    /// Gives the link what it takes, and keeps the account of what waits.
    fn feed(&mut self) {
        if self.link.has_given_up() {
            self.drop_queue();
        }
        while let Some(batch) = self.queue.pop_front() {
            let charge = batch.len() + BATCH_OVERHEAD_BYTES;
            match self.link.send(batch) {
                Ok(()) => self.account(charge),
                Err(Refused::Full(batch)) => {
                    self.queue.push_front(batch);
                    break;
                }
                // The outbox does not take such.
                Err(Refused::TooLarge(_)) => self.account(charge),
            }
        }
        self.account(0);
    }

    /// The link's part of what waits is what the link says now; `charge` of it was the queue's.
    fn account(&mut self, charge: usize) {
        let bytes = self.link.unacknowledged_bytes();
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        self.waiting.fetch_sub(self.accounted_bytes + charge, Ordering::Relaxed);
        self.accounted_bytes = bytes;
    }

    fn drop_queue(&mut self) {
        for batch in self.queue.drain(..) {
            self.waiting.fetch_sub(batch.len() + BATCH_OVERHEAD_BYTES, Ordering::Relaxed);
        }
    }
}
