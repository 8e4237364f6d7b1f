//! Gateways and NATS servers that are a cluster: started here, each with data of its own, to be killed and frozen.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use carillon_devservers::nats::{Nats, NatsConfig};
use carillon_devservers::ports;
use carillon_devservers::process::{Server, Spec};
use carillon_devservers::way::Way;
use tempfile::TempDir;

use crate::gateway::Gateway;
use crate::session::Session;
use crate::token::Signer;

/// How long all of it may take to start.
const STARTING: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// A user of nobody's, who looks whether a gateway serves.
const WATCHMAN: u64 = 1 << 40;

/// What to start.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The gateway's program.
    pub program: PathBuf,
    /// nats-server.
    pub nats: Option<PathBuf>,
    /// Gateways.
    pub gateways: usize,
    /// NATS servers: 1 or 3, and as many replicas of the log.
    pub servers: usize,
    /// Further flags of every gateway.
    pub flags: Vec<String>,
    /// Whether gateways reach NATS, and NATS servers each other, over ways that can be cut.
    pub has_ways: bool,
}

/// A cluster.
pub struct Cluster {
    /// Its gateways.
    pub gateways: Vec<Member>,
    /// Its NATS servers.
    pub nats: Nats,
    /// For tokens that all gateways take.
    pub signer: Signer,
    // After the processes.
    folder: Option<TempDir>,
    key: PathBuf,
}

/// One of its gateways.
pub struct Member {
    /// Its process.
    pub server: Server,
    /// Where it listens, before and after a restart.
    pub address: SocketAddr,
    /// To each NATS server.
    pub ways: Vec<Way>,
    /// How often it ended by itself and was started again.
    pub ended: u64,
}

impl Cluster {
    /// Starts all of it; returns once every gateway takes sessions.
    pub fn start(config: &ClusterConfig) -> anyhow::Result<Self> {
        let nats = Nats::start_as(&NatsConfig {
            servers: config.servers,
            program: config.nats.clone(),
            tells_addresses: !config.has_ways,
            has_ways: config.has_ways,
            ..NatsConfig::default()
        })?;
        let folder = tempfile::Builder::new().prefix("carillon-cluster-").tempdir()?;
        let key = folder.path().join("cluster.hs256");
        fs::write(&key, uuid::Uuid::new_v4().simple().to_string())?;
        let signer = Signer::open(&key)?;
        let mut cluster = Self { gateways: Vec::new(), nats, signer, folder: Some(folder), key };
        for number in 0..config.gateways {
            let gateway = cluster.member(config, number)?;
            cluster.gateways.push(gateway);
        }
        let deadline = Instant::now() + STARTING;
        for number in 0..config.gateways {
            cluster.wait_until_it_serves(number, deadline)?;
            // It takes sessions before it has its share of the partitions, and says that it is open when it has.
            while !cluster.gateways[number].has_said("  open  ") && Instant::now() < deadline {
                thread::sleep(LOOK_AGAIN);
            }
        }
        Ok(cluster)
    }

    fn member(&self, config: &ClusterConfig, number: usize) -> anyhow::Result<Member> {
        let folder = self.folder.as_ref().context("a cluster without a folder")?.path().to_owned();
        let [port] = ports::free()?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut ways = Vec::new();
        if config.has_ways {
            for server in 0..config.servers {
                ways.push(Way::to(self.nats.port(server))?);
            }
        }
        let nats = match config.has_ways {
            true => ways.iter().map(|way| format!("nats://{}", way.address)).collect(),
            false => self.nats.urls(),
        };
        let name = format!("gateway-{}", number + 1);
        let mut args: Vec<OsString> = ["serve", "--log-level", "info"].map(Into::into).into();
        let data = folder.join(format!("{name}-data"));
        let mut flag = |name: &str, value: OsString| {
            args.push(format!("--{name}").into());
            args.push(value);
        };
        flag("data", data.into());
        flag("listen", address.to_string().into());
        flag("node", name.clone().into());
        flag("nats", nats.join(",").into());
        flag("nats-replicas", config.servers.to_string().into());
        flag("token-keys", self.key.clone().into());
        args.extend(config.flags.iter().map(Into::into));
        let spec = Spec { name, program: config.program.clone(), args, env: Vec::new(), folder };
        Ok(Member { server: Server::start(spec)?, address, ways, ended: 0 })
    }

    /// Returns once a gateway welcomes sessions; one that ends by itself, because NATS is away say, is started again, as
    /// whoever supervises it would do.
    pub fn wait_until_it_serves(&mut self, number: usize, deadline: Instant) -> anyhow::Result<()> {
        loop {
            let signer = self.signer.clone();
            let gateway = &mut self.gateways[number];
            if gateway.serves(&signer).is_ok() {
                return Ok(());
            }
            gateway.start_again_if_it_ended()?;
            if Instant::now() > deadline {
                bail!("{} does not serve:\n{}", gateway.server.name(), gateway.server.last_words());
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Its gateways, for scenarios that drive one.
    pub fn gateway(&self) -> anyhow::Result<Gateway> {
        let addresses: Vec<_> = self.gateways.iter().map(|gateway| gateway.address).collect();
        Gateway::of_cluster(&addresses, &self.key)
    }

    /// Gateways whose log tells of a panic: that is a fault of theirs whatever was done to them.
    pub fn panics(&self) -> Vec<String> {
        let panicked = self.gateways.iter().filter(|gateway| gateway.has_said("panicked at"));
        panicked.map(|gateway| gateway.server.name().to_owned()).collect()
    }

    /// The gateways' logs and data stay when this is dropped; where.
    pub fn keep(&mut self) -> Option<PathBuf> {
        self.folder.take().map(TempDir::keep)
    }
}

impl Member {
    fn serves(&self, signer: &Signer) -> io::Result<()> {
        Session::open(self.address, signer, WATCHMAN, "watchman").map(drop)
    }

    fn has_said(&self, words: &str) -> bool {
        let log = fs::read(self.server.log()).unwrap_or_default();
        String::from_utf8_lossy(&log).contains(words)
    }

    fn start_again_if_it_ended(&mut self) -> anyhow::Result<()> {
        if self.server.ended()?.is_some() {
            self.ended += 1;
            self.server.restart()?;
        }
        Ok(())
    }
}
