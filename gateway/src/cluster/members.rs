//! Which nodes live: each says so in a bucket of NATS every third of `ttl`, and all watch it.
//!
//! - A node that says nothing for `ttl` is gone; one that stops says so first ([`Members::leaving`], [`Members::deregister`]).
//! - While NATS is away the last view stays. When it is back the bucket is read anew as a whole, and who is missing then, or
//!   expires in the time after, has `ttl` to come back: it was away as long as we were, perhaps.
//! - A node whose own word was not acknowledged for `ttl` is gone for the others, whatever it sees: [`Lease`].
//!
//! None of this decides anything: the log's fencing does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::kv::{self, Entry, Operation};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{Context, stream};
use carillon_storage::Partition;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

use super::network::{self, Line, NotReachable, Presence};
use super::view::{Node, NodeId, View};

/// The bucket keeps no more nodes than this; a view neither.
const NODES_MAX: usize = 4_096;
/// Between tries at something that NATS refuses.
const RETRY_EVERY: Duration = Duration::from_millis(200);
/// A node that was not heard of for so many times its time to live is looked for in the bucket.
const SILENT_TTLS: u32 = 4;
const LINE: Line = Line { name: "carillon members", commands_max: 64, messages_max: 2 * NODES_MAX };

/// How a node is a member.
#[derive(Clone, Debug)]
pub struct MembersConfig {
    /// Where NATS is: `nats://host:port`, several of one cluster.
    pub servers: Vec<String>,
    /// File of NATS credentials, where the servers ask for some.
    pub credentials: Option<PathBuf>,
    /// What the names of this cluster's subjects and buckets begin with.
    pub prefix: String,
    /// A node that says nothing for so long is gone. NATS counts whole seconds: at least 1. Less finds a dead node
    /// sooner, and takes a slow one for dead sooner.
    pub ttl: Duration,
    /// On how many NATS servers the bucket is.
    pub replicas: usize,
    /// How many partitions the views share out.
    pub partitions: Partition,
}

/// A node among the others. Dropped, it says nothing more, and is gone for them after `ttl`.
pub struct Members {
    views: watch::Receiver<Arc<View>>,
    presence: watch::Receiver<Presence>,
    lease: Arc<Lease>,
    wish: watch::Sender<Wish>,
    gone: Option<oneshot::Receiver<()>>,
    task: JoinHandle<()>,
}

/// What a node says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wish {
    Live,
    Leave,
    Go,
}

impl Members {
    /// Registers `node` and watches the others, as soon as NATS is there. To be called within a runtime, which must go
    /// on running.
    pub fn start(config: MembersConfig, node: Node) -> Result<Self, NotReachable> {
        let servers = network::servers(&config.servers, config.credentials.as_deref())?;
        let (here, presence) = watch::channel(Presence::default());
        let first = Arc::new(View::new([], config.partitions));
        let (views_sender, views) = watch::channel(first);
        let lease = Arc::new(Lease::new());
        let wish = watch::Sender::new(if node.leaving { Wish::Leave } else { Wish::Live });
        let (gone_sender, gone) = oneshot::channel();
        let (seen, wishes, renewed) = (presence.clone(), wish.subscribe(), Arc::clone(&lease));
        let task = tokio::spawn(async move {
            let client = match network::connect(servers, LINE, here).await {
                Ok(client) => client,
                Err(error) => return tracing::error!(%error, "the members cannot connect to NATS"),
            };
            let bucket =
                Bucket { context: context(client, config.ttl), config: Arc::new(config), id: node.id };
            let heart = Heart { bucket: bucket.clone(), node, lease: renewed, presence: seen.clone() };
            let watcher = Watcher { bucket, views: views_sender, presence: seen, known: Known::default() };
            tokio::join!(heart.beat(wishes, gone_sender), watcher.watch());
        });
        Ok(Self { views, presence, lease, wish, gone: Some(gone), task })
    }

    /// Who lives, as it changes. Empty until the bucket was read for the first time.
    pub fn views(&self) -> watch::Receiver<Arc<View>> {
        self.views.clone()
    }

    /// Whether NATS is there, as it changes.
    pub fn presence(&self) -> watch::Receiver<Presence> {
        self.presence.clone()
    }

    /// Until when this node is one for the others.
    pub fn lease(&self) -> &Arc<Lease> {
        &self.lease
    }

    /// From now on this node is nobody's home. Returns at once; the others see it when NATS is there.
    pub fn leaving(&self) {
        self.wish.send_replace(Wish::Leave);
    }

    /// Says that this node is gone. Returns once NATS has it, or when `wait` is over: then the others see it after `ttl`.
    pub async fn deregister(mut self, wait: Duration) {
        self.wish.send_replace(Wish::Go);
        if let Some(gone) = self.gone.take() {
            // Over, or the task has ended without: either way there is nothing more to do.
            let _ = timeout(wait, gone).await;
        }
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Until when the others count on a node: `ttl` after the last word of it that NATS acknowledged. One task writes it,
/// anyone reads it for the price of a load.
#[derive(Debug)]
pub struct Lease {
    origin: Instant,
    /// In milliseconds after the origin.
    until_ms: AtomicU64,
}

impl Lease {
    fn new() -> Self {
        Self { origin: Instant::now(), until_ms: AtomicU64::new(0) }
    }

    /// Whether the others still count on this node. Not before it was first registered. A process that was stopped for
    /// long, or cut off, sees `false` here before it sees anything else.
    pub fn is_valid(&self, now: std::time::Instant) -> bool {
        let now_ms = Instant::from_std(now).saturating_duration_since(self.origin).as_millis() as u64;
        now_ms < self.until_ms.load(Ordering::Relaxed)
    }

    /// The word was sent at `sent`, and NATS counts from some time after.
    fn renew(&self, sent: Instant, ttl: Duration) {
        let until = (sent + ttl).saturating_duration_since(self.origin);
        self.until_ms.store(until.as_millis() as u64, Ordering::Relaxed);
    }

    fn end(&self) {
        self.until_ms.store(0, Ordering::Relaxed);
    }
}

/// What stands in the bucket under a node's id. Later versions add fields.
#[derive(Serialize, Deserialize)]
struct Word<'a> {
    name: std::borrow::Cow<'a, str>,
    shards: u16,
    #[serde(default)]
    leaving: bool,
}

#[derive(Clone)]
struct Bucket {
    context: Context,
    config: Arc<MembersConfig>,
    id: NodeId,
}

fn context(client: Client, ttl: Duration) -> Context {
    // Whoever waits longer for an answer has lost its place anyway.
    ContextBuilder::new().timeout(ttl).ack_timeout(ttl / 3).build(client)
}

impl Bucket {
    fn name(&self) -> String {
        format!("{}-nodes", self.config.prefix)
    }

    async fn open(&self) -> Result<kv::Store, async_nats::Error> {
        // Made by whoever comes first; a config that differs stays as it is.
        if let Ok(store) = self.context.get_key_value(self.name()).await {
            return Ok(store);
        }
        let config = kv::Config {
            bucket: self.name(),
            description: "The nodes of this cluster that live.".into(),
            history: 1,
            storage: stream::StorageType::File,
            num_replicas: self.config.replicas,
            limit_markers: Some(self.config.ttl),
            ..kv::Config::default()
        };
        Ok(self.context.create_key_value(config).await?)
    }

    /// Puts our word with a time to live: what `Store::put` cannot.
    async fn put(&self, node: &Node, leaving: bool) -> Result<(), async_nats::Error> {
        let word = Word { name: (&*node.name).into(), shards: node.shards, leaving };
        let message = PublishMessage::build().payload(serde_json::to_vec(&word)?.into()).ttl(self.config.ttl);
        let subject = format!("$KV.{}.{}", self.name(), self.id);
        self.context.send_publish(subject, message).await?.await?;
        Ok(())
    }
}

/// Says every third of `ttl`, and when something changes, that this node lives.
struct Heart {
    bucket: Bucket,
    node: Node,
    lease: Arc<Lease>,
    presence: watch::Receiver<Presence>,
}

impl Heart {
    async fn beat(mut self, mut wish: watch::Receiver<Wish>, gone: oneshot::Sender<()>) {
        let ttl = self.bucket.config.ttl;
        let mut ticks = interval(ttl / 3);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // While NATS is away, words would only queue up in the client.
            if self.presence.wait_for(|it| it.connected).await.is_err() {
                return;
            }
            let now = *wish.borrow_and_update();
            if now == Wish::Go {
                self.lease.end();
                if self.delete().await {
                    let _ = gone.send(());
                    return;
                }
            } else {
                self.say(now == Wish::Leave).await;
            }
            tokio::select! {
                _ = ticks.tick() => {}
                changed = wish.changed() => if changed.is_err() { return },
                changed = self.presence.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn say(&self, leaving: bool) {
        let (sent, ttl) = (Instant::now(), self.bucket.config.ttl);
        match timeout(ttl / 3, self.bucket.put(&self.node, leaving)).await {
            Ok(Ok(())) => self.lease.renew(sent, ttl),
            // The bucket may not have been made yet: the watcher makes it.
            Ok(Err(error)) => {
                tracing::debug!(%error, "NATS does not take our word that we live");
                sleep(RETRY_EVERY.min(ttl / 3)).await;
                self.retry_soon(leaving).await;
            }
            Err(_) => tracing::warn!("NATS does not answer our word that we live"),
        }
    }

    /// Once more, so that a node that starts is there before a third of `ttl` has passed.
    async fn retry_soon(&self, leaving: bool) {
        let (sent, ttl) = (Instant::now(), self.bucket.config.ttl);
        if let Ok(Ok(())) = timeout(ttl / 3, self.bucket.put(&self.node, leaving)).await {
            self.lease.renew(sent, ttl);
        }
    }

    async fn delete(&self) -> bool {
        let deleted = async {
            Ok::<_, async_nats::Error>(self.bucket.open().await?.delete(self.bucket.id.to_string()).await?)
        };
        matches!(timeout(self.bucket.config.ttl / 3, deleted).await, Ok(Ok(())))
    }
}

/// Reads the bucket as it changes.
struct Watcher {
    bucket: Bucket,
    views: watch::Sender<Arc<View>>,
    presence: watch::Receiver<Presence>,
    known: Known,
}

/// Who lives, as far as it was read.
#[derive(Default)]
struct Known {
    nodes: BTreeMap<NodeId, Node>,
    /// Those of them who are missing in the bucket, and have until `grace_until` to come back.
    missing: BTreeSet<NodeId>,
    grace_until: Option<Instant>,
}

impl Watcher {
    async fn watch(mut self) {
        loop {
            let times = match self.presence.wait_for(|it| it.connected).await {
                Ok(presence) => presence.times,
                Err(_) => return,
            };
            if let Err(error) = self.watch_once(times).await {
                tracing::debug!(%error, "the list of nodes cannot be read; trying again");
            }
            sleep(RETRY_EVERY).await;
        }
    }

    /// Reads the bucket as a whole and then as it changes, until the connection is another, or it cannot be read, or a node has
    /// not renewed its word for so long that its end must have been missed: a watch that NATS begins again in the middle, because
    /// a server died, does not tell of words that ran out meanwhile, and the node would be one for ever.
    async fn watch_once(&mut self, times: u64) -> Result<(), async_nats::Error> {
        let store = self.bucket.open().await?;
        let mut entries = store.watch_with_history(">").await?;
        let mut fresh = Some(BTreeMap::new());
        let mut presence = self.presence.clone();
        let mut looks = interval(self.bucket.config.ttl);
        let mut heard: BTreeMap<NodeId, Instant> = BTreeMap::new();
        let silent = SILENT_TTLS * self.bucket.config.ttl;
        loop {
            let grace = self.known.grace_until;
            tokio::select! {
                entry = entries.next() => {
                    let entry = entry.ok_or("the watch of the list of nodes has ended")??;
                    if let Ok(id) = entry.key.parse() {
                        heard.insert(id, Instant::now());
                    }
                    self.read(&entry, &mut fresh);
                }
                now = looks.tick() => {
                    // Since this watch began, of those it has told nothing of.
                    self.known.nodes.keys().for_each(|&id| _ = heard.entry(id).or_insert(now));
                    heard.retain(|id, _| self.known.nodes.contains_key(id));
                    if heard.values().any(|&heard| now.saturating_duration_since(heard) > silent) {
                        return Ok(());
                    }
                }
                changed = presence.changed() => {
                    changed?;
                    if presence.borrow_and_update().times != times {
                        return Ok(());
                    }
                }
                () = sleep_until(grace.unwrap_or_else(Instant::now)), if grace.is_some() => self.known.end_grace(),
            }
            if fresh.is_none() {
                self.publish();
            }
        }
    }

    fn read(&mut self, entry: &Entry, fresh: &mut Option<BTreeMap<NodeId, Node>>) {
        let Ok(id) = entry.key.parse::<NodeId>() else { return };
        match fresh {
            Some(nodes) => {
                if let (Operation::Put, Some(node)) = (entry.operation, node(id, &entry.value)) {
                    nodes.insert(id, node);
                }
                if entry.seen_current {
                    let until = Instant::now() + self.bucket.config.ttl;
                    self.known.renew(std::mem::take(nodes), until);
                    *fresh = None;
                }
            }
            None => self.known.apply(id, entry.operation, node(id, &entry.value), Instant::now()),
        }
    }

    fn publish(&self) {
        let view = View::new(self.known.nodes.values().cloned(), self.bucket.config.partitions);
        self.views.send_if_modified(|old| {
            let is_news = **old != view;
            if is_news {
                *old = Arc::new(view);
            }
            is_news
        });
    }
}

fn node(id: NodeId, value: &[u8]) -> Option<Node> {
    let word: Word<'_> = serde_json::from_slice(value).ok()?;
    Some(Node { id, name: word.name.into(), shards: word.shards, leaving: word.leaving })
}

impl Known {
    /// The bucket was read as a whole. Who was known and is not in it has until `grace_until`.
    fn renew(&mut self, fresh: BTreeMap<NodeId, Node>, grace_until: Instant) {
        let is_first = self.nodes.is_empty();
        self.missing = self.nodes.keys().filter(|id| !fresh.contains_key(id)).copied().collect();
        self.nodes.extend(fresh);
        self.grace_until = (!is_first).then_some(grace_until);
    }

    fn apply(&mut self, id: NodeId, operation: Operation, node: Option<Node>, now: Instant) {
        match (operation, node) {
            (Operation::Put, Some(node)) => {
                self.missing.remove(&id);
                if self.nodes.len() < NODES_MAX || self.nodes.contains_key(&id) {
                    self.nodes.insert(id, node);
                }
            }
            (Operation::Put, None) => tracing::warn!(%id, "what stands in the list of nodes cannot be read"),
            // Its time ran out, while it was cut off as we were, perhaps.
            (Operation::Purge, _) if self.grace_until.is_some_and(|until| now < until) => {
                self.missing.insert(id);
            }
            // It ran out, or the node took its leave.
            (Operation::Purge | Operation::Delete, _) => {
                self.nodes.remove(&id);
                self.missing.remove(&id);
            }
        }
    }

    fn end_grace(&mut self) {
        self.grace_until = None;
        for id in std::mem::take(&mut self.missing) {
            self.nodes.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(id: u64) -> (NodeId, Node) {
        let id = NodeId::new(id).expect("not 0");
        (id, Node { id, name: "a".into(), shards: 1, leaving: false })
    }

    fn ids(known: &Known) -> Vec<u64> {
        known.nodes.keys().map(|id| id.get()).collect()
    }

    #[test]
    fn who_is_missing_after_an_outage_has_some_time_to_come_back() {
        let (mut known, now) = (Known::default(), Instant::now());
        let later = now + Duration::from_secs(1);
        known.renew([some(1), some(2), some(3)].into(), later);
        assert_eq!(known.grace_until, None);
        known.renew([some(1)].into(), later);
        assert_eq!(ids(&known), [1, 2, 3]);
        // Another expires now that it is noticed; one takes its leave; one comes back.
        known.apply(some(1).0, Operation::Purge, None, now);
        known.apply(some(3).0, Operation::Delete, None, now);
        known.apply(some(2).0, Operation::Put, Some(some(2).1), now);
        assert_eq!(ids(&known), [1, 2]);
        known.end_grace();
        assert_eq!(ids(&known), [2]);
        known.apply(some(2).0, Operation::Purge, None, later);
        assert!(ids(&known).is_empty());
    }

    #[test]
    fn a_lease_ends_ttl_after_the_last_acknowledged_word() {
        let lease = Lease::new();
        let sent = lease.origin + Duration::from_millis(500);
        assert!(!lease.is_valid(lease.origin.into_std()));
        lease.renew(sent, Duration::from_secs(3));
        assert!(lease.is_valid((sent + Duration::from_millis(2_999)).into_std()));
        assert!(!lease.is_valid((sent + Duration::from_secs(3)).into_std()));
    }

    #[test]
    fn a_word_with_more_in_it_is_read() {
        let (id, _) = some(1);
        let read = node(id, br#"{"name":"a","shards":3,"zone":"b"}"#).expect("it is read");
        assert_eq!((read.shards, read.leaving), (3, false));
        assert_eq!(node(id, b"nothing"), None);
    }
}
