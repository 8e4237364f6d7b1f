//! Which partitions this node is the home of: it follows the view, takes over what should be its own and releases what
//! should not, in order.
//!
//! ```text
//!                    view: mine                        log.take, archived, read again
//!   elsewhere ───────────────────────► taking ───────────────────────────────────────► here
//!       ▲    ◄── view: another's ─────────┘                                              │
//!       └──────── log.release, told to the next ◄── leaving ◄── view: another's ─────────┤
//!       └──────────────────── the log says that another took it, or we were silent ──────┘
//! ```
//!
//! Nothing of this is needed for what is true: a node that is late, or wrong about the view, is stopped by the log's fence.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use carillon_storage::{Partition, Positions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::view::{NodeId, View};
use super::{Peers, Target, wire};
use crate::follow::share::has_all;
use crate::home::ledger::Gone;
use crate::log::{Batch, HomeLog, LogError, TakenOver};
use crate::mailbox::Mailbox;
use crate::shard::Node;
use crate::shard::message::{Message, RollCall, Taken};

/// How long a new home waits for the one before to release in order, where that lives.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(2);
/// After what went wrong with a take-over, and before what another took is taken again.
const AGAIN_AFTER: Duration = Duration::from_millis(250);
/// How often it is noted how far deliveries have got.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// What became durable so long ago counts as delivered: longer than a node that dies may have kept it to itself.
const DELIVERED_AFTER: usize = 10;
/// Read at a time of what may not have been delivered.
const READ_BYTES: usize = 1 << 20;

/// What the node hears from others about homes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A node has announced all its users of a partition, at the roll call of that number.
    Announced(NodeId, Partition, u64),
    /// A node has released a partition, or has nothing of it.
    Released(NodeId, Partition),
    /// A link was lost, and is open again.
    Back(NodeId),
}

/// How a node stands in its cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// How many nodes it sees, itself among them.
    pub nodes: usize,
    /// Whether the others see it.
    pub is_member: bool,
    /// The partitions it is the home of, in order.
    pub here: Box<[Partition]>,
    /// How many are on their way here or away.
    pub moving: usize,
}

impl Standing {
    /// Whether everything that should be here is.
    pub fn is_settled(&self) -> bool {
        self.is_member && self.moving == 0
    }
}

/// How this node stands to a partition.
enum State {
    Elsewhere,
    /// Which take, and its task: one that was given up may have come to its end just then.
    Taking(u64, AbortHandle),
    Here,
    Leaving,
}

/// Who has announced their users of a partition since it is ours.
struct Announced {
    /// The first roll call since then: what answers an earlier one does not count.
    call: u64,
    nodes: HashSet<NodeId>,
}

/// What the node's homes follow.
pub struct Follows {
    /// Who lives.
    pub views: watch::Receiver<Arc<View>>,
    /// What others say.
    pub events: mpsc::UnboundedReceiver<Event>,
    /// Resolves when the node leaves.
    pub stop: oneshot::Receiver<()>,
}

/// The homes of one node.
pub struct Homes {
    node: Arc<Node>,
    log: Arc<dyn HomeLog>,
    peers: Arc<dyn Peers>,
    mailboxes: Arc<[Mailbox<Message>]>,
    view: Arc<View>,
    states: Vec<State>,
    taking: JoinSet<(Partition, u64, TakenOver, Vec<Batch>)>,
    /// How many takes were begun.
    takes: u64,
    gone: mpsc::UnboundedSender<Gone>,
    /// How this node stands in the cluster.
    standing: watch::Sender<Standing>,
    /// Take-overs that wait for the home before, and which node that is.
    releases: HashMap<Partition, (NodeId, oneshot::Sender<()>)>,
    /// Partitions of ours whose users not every node has announced.
    incomplete: BTreeMap<Partition, Announced>,
    /// How many roll calls there were.
    calls: u64,
    /// Where the log stood at each of the last notes, where this node was the home.
    noted: VecDeque<Positions>,
}

impl Homes {
    /// The homes of a node that has none yet.
    pub fn new(
        node: Arc<Node>,
        log: Arc<dyn HomeLog>,
        peers: Arc<dyn Peers>,
        mailboxes: Arc<[Mailbox<Message>]>,
    ) -> (Self, mpsc::UnboundedReceiver<Gone>, watch::Receiver<Standing>) {
        let partitions = node.route.partitions;
        let (gone, went) = mpsc::unbounded_channel();
        let (standing, stands) = watch::channel(Standing::default());
        let homes = Self {
            log,
            peers,
            mailboxes,
            view: Arc::new(View::new([], partitions)),
            states: (0..partitions).map(|_| State::Elsewhere).collect(),
            taking: JoinSet::new(),
            takes: 0,
            gone,
            standing,
            releases: HashMap::new(),
            incomplete: BTreeMap::new(),
            calls: 0,
            noted: VecDeque::new(),
            node,
        };
        (homes, went, stands)
    }

    /// Follows the view until the node leaves and has released everything, or cannot in time.
    pub async fn run(mut self, mut follows: Follows, mut went: mpsc::UnboundedReceiver<Gone>) {
        // Ends with the node's runtime.
        if let Some(share) = self.node.share.clone() {
            tokio::spawn(async move { share.look().await });
        }
        let mut notes = interval(NOTE_EVERY);
        notes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Ok(()) = follows.views.changed() => {
                    let view = Arc::clone(&follows.views.borrow_and_update());
                    self.follow(view).await;
                }
                Some(gone) = went.recv() => self.went(gone).await,
                Some(event) = follows.events.recv() => self.hear(event).await,
                Some(taken) = self.taking.join_next() => {
                    if let Ok((partition, take, over, undelivered)) = taken {
                        self.took(partition, take, over, undelivered).await;
                    }
                }
                _ = notes.tick() => self.note(),
                _ = &mut follows.stop => return,
            }
            let standing = self.standing();
            self.standing.send_if_modified(|before| {
                let is_news = *before != standing;
                *before = standing;
                is_news
            });
        }
    }

    fn standing(&self) -> Standing {
        let is_here = |(_, state): &(Partition, &State)| matches!(state, State::Here);
        let here = (0..).zip(&self.states).filter(is_here).map(|(partition, _)| partition).collect();
        let moving =
            self.states.iter().filter(|state| matches!(state, State::Taking(..) | State::Leaving)).count();
        let is_member = self.view.node(self.me()).is_some();
        Standing { nodes: self.view.nodes().len(), is_member, here, moving }
    }

    fn me(&self) -> NodeId {
        self.node.route.me
    }

    /// Homes are where this view has them from now on.
    async fn follow(&mut self, view: Arc<View>) {
        let before = std::mem::replace(&mut self.view, Arc::clone(&view));
        let me = self.me();
        let nodes_of = |view: &View| view.nodes().iter().map(|node| node.id).collect::<HashSet<_>>();
        let (old, new) = (nodes_of(&before), nodes_of(&view));
        let others = |nodes: &HashSet<NodeId>| nodes.iter().copied().filter(|&node| node != me).collect();
        let come: Arc<[NodeId]> = others(&(&new - &old));
        let rehomed: Vec<Partition> =
            (0..view.partitions()).filter(|&it| before.home_of(it) != view.home_of(it)).collect();
        for &partition in &rehomed {
            if view.home_of(partition) == Some(me) {
                self.node.presence.set_complete(partition, false);
                let announced = Announced { call: self.calls + 1, nodes: HashSet::new() };
                self.incomplete.insert(partition, announced);
            } else {
                self.incomplete.remove(&partition);
                self.node.presence.set_complete(partition, true);
            }
        }
        self.node.route.follow(&view);
        let (route, is_rehomed) = (&self.node.route, |partition| rehomed.binary_search(&partition).is_ok());
        let waited_for =
            self.incomplete.keys().copied().filter(|&partition| !is_rehomed(partition)).collect();
        self.node.presence.forget(|user| {
            let partition = route.partition_of_user(user);
            is_rehomed(partition) || view.home_of(partition) != Some(me)
        });
        for node in &old - &new {
            self.tell_all(|| Message::PeerGone(node)).await;
        }
        let all: Arc<[Partition]> = rehomed.clone().into();
        self.tell_all(|| Message::Rehomed(Arc::clone(&all))).await;
        let mine = rehomed.iter().copied().filter(|&partition| view.home_of(partition) == Some(me));
        self.call_roll(others(&new), mine.collect()).await;
        self.call_roll(come, waited_for).await;
        self.complete();
        // Who comes anew cannot know who was the home; it would be the one that would be without it.
        let before = if before.nodes().is_empty() {
            let others = view.nodes().iter().filter(|node| node.id != me).cloned();
            Arc::new(View::new(others, view.partitions()))
        } else {
            before
        };
        for partition in rehomed {
            self.head_for(partition, before.home_of(partition)).await;
        }
    }

    /// A partition's home should be another than `before`.
    async fn head_for(&mut self, partition: Partition, before: Option<NodeId>) {
        let is_mine = self.view.home_of(partition) == Some(self.me());
        match &self.states[usize::from(partition)] {
            State::Elsewhere if is_mine => {
                let before = before.filter(|&node| node != self.me() && self.view.node(node).is_some());
                self.start_taking(partition, before, Duration::ZERO);
            }
            State::Elsewhere => self.tell_released(partition),
            State::Taking(_, task) if !is_mine => {
                task.abort();
                self.releases.remove(&partition);
                // It may have been taken just now.
                self.give_up(partition).await;
            }
            State::Here if !is_mine => {
                self.states[usize::from(partition)] = State::Leaving;
                let shard = self.node.route.shard_of(partition);
                self.tell(shard, Message::Release(partition)).await;
            }
            // What is leaving comes back when it has gone.
            State::Taking(..) | State::Here | State::Leaving => {}
        }
    }

    fn start_taking(&mut self, partition: Partition, before: Option<NodeId>, after: Duration) {
        let released = before.map(|before| {
            let (release, released) = oneshot::channel();
            self.releases.insert(partition, (before, release));
            released
        });
        let (log, node) = (Arc::clone(&self.log), Arc::clone(&self.node));
        self.takes += 1;
        let take = self.takes;
        let task = self.taking.spawn(async move {
            sleep(after).await;
            if let Some(released) = released {
                let _ = timeout(HAND_OVER_WITHIN, released).await;
            }
            let (over, undelivered) = take_over(log, partition, &node).await;
            (partition, take, over, undelivered)
        });
        self.states[usize::from(partition)] = State::Taking(take, task);
    }

    async fn took(&mut self, partition: Partition, take: u64, over: TakenOver, undelivered: Vec<Batch>) {
        if !matches!(self.states[usize::from(partition)], State::Taking(current, _) if current == take) {
            return;
        }
        self.releases.remove(&partition);
        if self.view.home_of(partition) != Some(self.me()) {
            return self.give_up(partition).await;
        }
        self.states[usize::from(partition)] = State::Here;
        tracing::info!(
            partition,
            epoch = over.epoch,
            position = over.position,
            again = undelivered.len(),
            "this node is a partition's home"
        );
        let gone = self.gone.clone();
        let taken = Taken { partition, position: over.position, undelivered, gone };
        self.tell(self.node.route.shard_of(partition), Message::Take(taken)).await;
    }

    /// A shard decides about a partition no more.
    async fn went(&mut self, gone: Gone) {
        let Gone { partition, is_deposed } = gone;
        self.give_up(partition).await;
        if self.view.home_of(partition) == Some(self.me()) {
            // Whoever took it sees another view, or sees us again soon.
            let after = if is_deposed { AGAIN_AFTER } else { Duration::ZERO };
            self.start_taking(partition, None, after);
        }
    }

    /// Nothing more is appended to a partition here, and whoever is to be its home hears that.
    async fn give_up(&mut self, partition: Partition) {
        tracing::info!(partition, "this node is a partition's home no more");
        if let Some(share) = &self.node.share {
            share.give_up(partition);
        }
        self.states[usize::from(partition)] = State::Elsewhere;
        self.log.release(partition).await;
        self.tell_released(partition);
    }

    async fn hear(&mut self, event: Event) {
        match event {
            Event::Announced(node, partition, call) => {
                if let Some(announced) = self.incomplete.get_mut(&partition)
                    && call >= announced.call
                {
                    announced.nodes.insert(node);
                    self.complete();
                }
            }
            // Others have nothing of it, and say so too: that is no reason to fence the one that has.
            Event::Released(node, partition) => {
                if let Entry::Occupied(waiting) = self.releases.entry(partition)
                    && waiting.get().0 == node
                {
                    let _ = waiting.remove().1.send(());
                }
            }
            // What it was asked, or has answered, may be lost.
            Event::Back(node) => {
                self.call_roll([node].into(), self.incomplete.keys().copied().collect()).await;
            }
        }
    }

    /// Asks nodes who of these partitions is there.
    async fn call_roll(&mut self, nodes: Arc<[NodeId]>, partitions: Arc<[Partition]>) {
        let route = &self.node.route;
        if nodes.is_empty() || partitions.is_empty() {
            return;
        }
        self.calls += 1;
        let call = RollCall { home: route.me, shards: route.shards, number: self.calls, partitions };
        self.tell(0, Message::CallRoll(nodes, call)).await;
    }

    /// A partition whose users every other node has announced is complete.
    fn complete(&mut self) {
        let (view, me) = (&self.view, self.node.route.me);
        let presence = &self.node.presence;
        self.incomplete.retain(|&partition, announced| {
            let is_complete =
                view.nodes().iter().all(|node| node.id == me || announced.nodes.contains(&node.id));
            if is_complete {
                presence.set_complete(partition, true);
            }
            !is_complete
        });
    }

    fn tell_released(&self, partition: Partition) {
        let Some(home) = self.view.home_of(partition).filter(|&home| home != self.me()) else { return };
        let mut batch = Vec::new();
        wire::append(&mut batch, Target::Users, &Message::Released(self.me(), partition));
        // A home that hears nothing goes on after a while.
        let _ = self.peers.send(home, batch);
    }

    /// What was durable some time ago, and this node the home since then, was delivered: a next home delivers again from there.
    fn note(&mut self) {
        let mut last = self.log.last();
        for (position, state) in last.iter_mut().zip(&self.states) {
            if !matches!(state, State::Here) {
                *position = 0;
            }
        }
        self.noted.push_back(last);
        if self.noted.len() > DELIVERED_AFTER
            && let Some(positions) = self.noted.pop_front()
        {
            for (partition, &position) in (0..).zip(&positions) {
                if matches!(self.states.get(usize::from(partition)), Some(State::Here)) {
                    self.log.delivered(partition, position);
                }
            }
        }
    }

    async fn tell_all(&self, message: impl Fn() -> Message) {
        for shard in 0..self.mailboxes.len() as u16 {
            self.tell(shard, message()).await;
        }
    }

    /// A message that must arrive: tried until there is space.
    async fn tell(&self, shard: u16, message: Message) {
        let Some(mailbox) = self.mailboxes.get(usize::from(shard)) else { return };
        let mut batch = vec![message];
        while let Err(full) = mailbox.send(batch) {
            batch = full;
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Fences the home before, has everything it decided in the store, and reads what it may not have delivered. However long
/// that takes: whoever wants it no more drops this.
async fn take_over(log: Arc<dyn HomeLog>, partition: Partition, node: &Node) -> (TakenOver, Vec<Batch>) {
    loop {
        match try_take_over(&log, partition, node).await {
            Ok(taken) => return taken,
            Err(error) => {
                tracing::warn!(partition, %error, "a partition cannot be taken over; it is tried again");
                sleep(AGAIN_AFTER).await;
            }
        }
    }
}

async fn try_take_over(
    log: &Arc<dyn HomeLog>,
    partition: Partition,
    node: &Node,
) -> Result<(TakenOver, Vec<Batch>), LogError> {
    let over = log.take(partition).await?;
    if let Some(share) = &node.share {
        share.take(partition);
    }
    // What users of this partition became members of before now is in the store as well, then.
    log.refresh().await?;
    let last = log.last();
    match &node.share {
        Some(share) => share.wait_until_archived(&last).await,
        // The archiver ends only with the node.
        None => drop(node.archived.clone().wait_for(|applied| has_all(applied, &last)).await),
    }
    let mut after = last;
    after[usize::from(partition)] = over.delivered.min(over.position);
    let read = |after| read_to(Arc::clone(log), partition, after, over.position);
    let undelivered = match read(after.clone()).await {
        // What the log has forgotten is archived, and was delivered unless its home died with it: then clients learn of it
        // by the next event or ping. Nobody can deliver it again.
        Err(LogError::Forgotten { base, .. }) => {
            after[usize::from(partition)] = base;
            read(after).await?
        }
        read => read?,
    };
    Ok((over, undelivered))
}

/// The batches of a partition after its place in `after`, up to `last`.
async fn read_to(
    log: Arc<dyn HomeLog>,
    partition: Partition,
    after: Positions,
    last: u64,
) -> Result<Vec<Batch>, LogError> {
    if after[usize::from(partition)] >= last {
        return Ok(Vec::new());
    }
    let open = move || log.tail_of(&[partition], &after);
    let mut tail = match tokio::task::spawn_blocking(open).await {
        Ok(tail) => tail?,
        Err(_) => return Ok(Vec::new()),
    };
    let mut batches: Vec<Batch> = Vec::new();
    loop {
        batches.extend(tail.read(READ_BYTES)?.into_iter().filter(|batch| batch.partition == partition));
        if batches.last().is_some_and(|batch| batch.position >= last) {
            batches.retain(|batch| batch.position <= last);
            return Ok(batches);
        }
        tail.more().await;
    }
}
