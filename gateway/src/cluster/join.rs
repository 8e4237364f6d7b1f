//! A node joins a cluster, and leaves it.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot, watch};

use super::homes::{Event, Follows, Homes, Standing};
use super::members::{Lease, Members, MembersConfig};
use super::mesh::{self, Mesh, MeshConfig};
use super::receive::Receiver;
use super::status::Status;
use super::view::{self, NodeId, View};
use super::{Peers, link};
use crate::config::Config;
use crate::log::{HomeLog, JetStreamConfig};
use crate::mailbox::Mailbox;
use crate::shard::Node;
use crate::shard::message::Message;

/// How long a node that leaves waits for NATS to hear of it; then the others find out by its silence.
const DEREGISTER_WITHIN: Duration = Duration::from_secs(2);
/// How often it is looked whether everything is released.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Why a node cannot join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The system gives no thread, runtime or randomness.
    #[error("the system refuses what a node of a cluster needs: {0}")]
    System(#[from] io::Error),
    /// NATS is not where it is said to be.
    #[error("{0}")]
    Mesh(#[from] mesh::MeshError),
    /// The same.
    #[error("{0}")]
    Servers(#[from] super::network::NotReachable),
}

/// A node that has said it is there, and does not serve yet.
pub struct Joining {
    /// This node.
    pub me: NodeId,
    /// Until when the others count on it.
    pub lease: Arc<Lease>,
    /// The other nodes.
    pub peers: Arc<dyn Peers>,
    /// What operators are told.
    pub status: Arc<Status>,
    members: Members,
    mesh: Mesh,
    node: Arc<OnceLock<Arc<Node>>>,
    views: watch::Receiver<Arc<View>>,
    events: mpsc::UnboundedReceiver<Event>,
    runtime: Runtime,
}

/// A node that is one of a cluster.
pub struct Joined {
    members: Option<Members>,
    mesh: Mesh,
    standing: watch::Receiver<Standing>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Runtime>,
}

/// Where the log of this node's cluster is.
pub fn log_config(config: &Config, me: NodeId) -> JetStreamConfig {
    JetStreamConfig {
        credentials: config.nats_credentials.clone(),
        name: config.node_name().as_str().to_owned(),
        prefix: format!("{}-log", config.nats_prefix.as_str()),
        streams: config.nats_streams,
        replicas: config.nats_replicas,
        log_bytes_max: config.nats_log_bytes_max,
        append_timeout: Duration::from_millis(config.nats_append_timeout_ms),
        ..JetStreamConfig::new(servers(config), me.get(), config.partitions)
    }
}

fn servers(config: &Config) -> Vec<String> {
    config.nats.iter().map(|server| server.as_str().to_owned()).collect()
}

impl Joining {
    /// Says that this node is there, with so many shards, which have these mailboxes.
    pub fn start(
        config: &Config,
        me: NodeId,
        shards: u16,
        mailboxes: Arc<[Mailbox<Message>]>,
    ) -> Result<Self, JoinError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let prefix = config.nats_prefix.as_str().to_owned();
        let member = MembersConfig {
            servers: servers(config),
            credentials: config.nats_credentials.clone(),
            prefix: prefix.clone(),
            ttl: Duration::from_secs(config.node_ttl_ms.div_ceil(1000)),
            replicas: config.nats_replicas,
            partitions: config.partitions,
        };
        let name = config.node_name().as_str().into();
        let node = view::Node { id: me, name, shards, leaving: false };
        let members = runtime.block_on(async { Members::start(member, node) })?;
        let views = members.views();
        let (heard, events) = mpsc::unbounded_channel();
        let node = Arc::new(OnceLock::new());
        let receiver = Receiver::new(Arc::clone(&node), mailboxes, heard);
        let link = link::LinkConfig::default();
        let credentials = config.nats_credentials.clone();
        let mesh = MeshConfig { servers: servers(config), credentials, prefix, me, link };
        let mesh = Mesh::start(mesh, views.clone(), receiver)?;
        let lease = Arc::clone(members.lease());
        let status = Arc::new(Status {
            me,
            lease: Arc::clone(&lease),
            views: views.clone(),
            lines: [members.presence(), mesh.presence()],
            outbox: mesh.outbox().clone(),
            standing: OnceLock::new(),
        });
        let peers = Arc::new(mesh.outbox().clone());
        Ok(Self { me, lease, peers, status, members, mesh, node, views, events, runtime })
    }

    /// The node serves: it takes over what it is to be the home of from now on.
    pub fn begin(
        self,
        node: Arc<Node>,
        log: Arc<dyn HomeLog>,
        mailboxes: Arc<[Mailbox<Message>]>,
    ) -> io::Result<Joined> {
        let Self { peers, status, members, mesh, views, events, runtime, .. } = self;
        // Nobody else sets it.
        let _ = self.node.set(Arc::clone(&node));
        let (stop, stopped) = oneshot::channel();
        let (homes, went, standing) = Homes::new(node, log, peers, mailboxes);
        // Nobody else sets this either.
        let _ = status.standing.set(standing.clone());
        let follows = Follows { views, events, stop: stopped };
        let body = move || {
            runtime.block_on(homes.run(follows, went));
            runtime
        };
        let thread = thread::Builder::new().name("homes".into()).spawn(body)?;
        Ok(Joined { members: Some(members), mesh, standing, stop, thread })
    }
}

impl Joined {
    /// This node is to be nobody's home: returns once others have taken what was here, or `wait` is over.
    pub fn leave(&self, wait: Duration) {
        let Some(members) = &self.members else { return };
        members.leaving();
        if !self.wait(wait, |standing| standing.here.len() + standing.moving == 0) {
            tracing::warn!(partitions = self.standing().here.len(), "not everything was handed over in time");
        }
    }

    /// How this node stands in the cluster.
    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Waits until this node has taken over what it is to be the home of, or `wait` is over. Says which.
    pub fn settle(&self, wait: Duration) -> bool {
        self.wait(wait, Standing::is_settled)
    }

    fn wait(&self, wait: Duration, is_so: impl Fn(&Standing) -> bool) -> bool {
        let late = Instant::now() + wait;
        while !is_so(&self.standing()) {
            if Instant::now() >= late {
                return false;
            }
            thread::sleep(LOOK_EVERY);
        }
        true
    }

    /// This node is gone.
    pub fn part(mut self) {
        // It ends by itself only if it died, which its panic has said.
        let _ = self.stop.send(());
        let runtime = self.thread.join();
        drop(self.mesh);
        if let (Ok(runtime), Some(members)) = (runtime, self.members.take()) {
            runtime.block_on(members.deregister(DEREGISTER_WITHIN));
        }
    }
}
