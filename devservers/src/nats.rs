//! nats-server: one, or three that keep JetStream together.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Server, Spec};
use crate::way::Way;
use crate::{find, ports};

/// How long servers may take until JetStream answers. They are quick; a busy machine is not.
const STARTING: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const ANSWER: Duration = Duration::from_secs(5);
/// Someone else may take a port between our looking and the server's binding it.
const TRIES: usize = 3;

/// What servers to start.
#[derive(Clone, Debug)]
pub struct NatsConfig {
    /// 1, or 3 for a cluster.
    pub servers: usize,
    /// Whether every write reaches the disk before it is acknowledged (`sync_interval: always`), as production is to be.
    pub sync_always: bool,
    /// The largest message, in bytes.
    pub max_payload_bytes: usize,
    /// Where logs, configuration and data are, and stay; nothing for a temporary folder.
    pub folder: Option<PathBuf>,
    /// Whether servers tell clients of each other. Who reaches them by other addresses than theirs does not want it.
    pub tells_addresses: bool,
    /// Whether servers reach each other over ways that can be cut.
    pub has_ways: bool,
    /// The program; where there is none, the one that `find` finds.
    pub program: Option<PathBuf>,
}

impl Default for NatsConfig {
    /// One server that syncs always, with NATS's own limit of 1 MiB.
    fn default() -> Self {
        Self {
            servers: 1,
            sync_always: true,
            max_payload_bytes: 1 << 20,
            folder: None,
            tells_addresses: true,
            has_ways: false,
            program: None,
        }
    }
}

/// Running nats-servers with JetStream on file storage.
#[derive(Debug)]
pub struct Nats {
    servers: Vec<Server>,
    ports: Vec<Ports>,
    /// From each server to each other, where they can be cut.
    ways: Vec<(usize, usize, Way)>,
    folder: PathBuf,
    // After the servers: dropped when they have ended.
    _temporary: Option<TempDir>,
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    client: u16,
    monitor: u16,
    cluster: u16,
}

impl Nats {
    /// Starts one server; returns once its JetStream answers.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_as(&NatsConfig::default())
    }

    /// Starts three; returns once they have a leader that everybody knows.
    pub fn start_three() -> anyhow::Result<Self> {
        Self::start_as(&NatsConfig { servers: 3, ..NatsConfig::default() })
    }

    /// Starts what the config says; returns once JetStream answers on each.
    pub fn start_as(config: &NatsConfig) -> anyhow::Result<Self> {
        ensure!(
            matches!(config.servers, 1 | 3),
            "a NATS cluster here is of 1 or 3 servers, not {}",
            config.servers
        );
        let program = config.program.clone().map_or_else(find::nats_server, Ok)?;
        let mut tried = Self::try_start(config, &program);
        for _again in 1..TRIES {
            if tried.is_ok() {
                break;
            }
            tried = Self::try_start(config, &program);
        }
        tried
    }

    fn try_start(config: &NatsConfig, program: &Path) -> anyhow::Result<Self> {
        let temporary = match config.folder {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("carillon-nats-").tempdir()?),
        };
        let folder = config.folder.clone().or_else(|| Some(temporary.as_ref()?.path().to_owned()));
        let folder = folder.context("a folder, given or temporary")?;
        let (servers, ports, ways) = (Vec::new(), Vec::new(), Vec::new());
        let mut nats = Self { servers, ports, ways, folder, _temporary: temporary };
        for _server in 0..config.servers {
            let [client, monitor, cluster] = ports::free()?;
            nats.ports.push(Ports { client, monitor, cluster });
        }
        if config.has_ways {
            for to in 0..config.servers {
                for from in (0..config.servers).filter(|&from| from != to) {
                    nats.ways.push((from, to, Way::to(nats.ports[to].cluster)?));
                }
            }
        }
        for server in 0..config.servers {
            let spec = nats.spec(server, config, program)?;
            nats.servers.push(Server::start(spec)?);
        }
        nats.wait_until_ready()?;
        Ok(nats)
    }

    /// Where clients connect, a server each: `nats://127.0.0.1:4222`.
    pub fn urls(&self) -> Vec<String> {
        self.ports.iter().map(|ports| format!("nats://127.0.0.1:{}", ports.client)).collect()
    }

    /// Where each server tells how it is, over HTTP.
    pub fn monitors(&self) -> Vec<String> {
        self.ports.iter().map(|ports| format!("http://127.0.0.1:{}", ports.monitor)).collect()
    }

    /// The address of one server's clients.
    pub fn port(&self, server: usize) -> u16 {
        self.ports[server].client
    }

    /// The ways between a server and another, or all others; none where it was started without.
    pub fn ways(&self, server: usize, other: Option<usize>) -> impl Iterator<Item = &Way> {
        let is_between = move |from: usize, to: usize| {
            other.map_or(from == server || to == server, |other| {
                (from, to) == (server, other) || (from, to) == (other, server)
            })
        };
        self.ways.iter().filter(move |(from, to, _)| is_between(*from, *to)).map(|(.., way)| way)
    }

    /// The processes, to be killed, frozen and restarted.
    pub fn servers(&mut self) -> &mut [Server] {
        &mut self.servers
    }

    /// Their folder: logs, configuration, data.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns once JetStream answers on every server that runs, and knows who leads.
    pub fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + STARTING;
        for number in 0..self.servers.len() {
            while !is_ready(self.ports[number].monitor, self.servers.len()) {
                let server = &mut self.servers[number];
                if let Some(ended) = server.ended()? {
                    bail!("{} ended at once ({ended}):\n{}", server.name(), server.last_words());
                }
                if Instant::now() > deadline {
                    let words = server.last_words();
                    bail!("{} was not ready within {STARTING:?}:\n{words}", server.name());
                }
                std::thread::sleep(LOOK_AGAIN);
            }
        }
        Ok(())
    }

    /// Returns once JetStream answers on one server.
    pub fn wait_until_one_is_ready(&mut self, server: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + STARTING;
        while !is_ready(self.ports[server].monitor, self.servers.len()) {
            ensure!(Instant::now() < deadline, "server {server} was not ready within {STARTING:?}");
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    /// The name of the server that leads a stream, as one of the others tells; none while there is no leader.
    pub fn leader_of(&self, stream: &str) -> Option<usize> {
        let query = "/jsz?streams=true&accounts=true";
        let tells = |ports: &Ports| find_leader(&get(ports.monitor, query).ok()?, stream);
        let name = self.ports.iter().find_map(tells)?;
        (0..self.servers.len()).find(|&server| server_name(server) == name)
    }

    fn spec(&self, server: usize, config: &NatsConfig, program: &Path) -> anyhow::Result<Spec> {
        let name = server_name(server);
        let folder = self.folder.clone();
        let file = folder.join(format!("{name}.conf"));
        std::fs::write(&file, self.configuration(server, config))?;
        let args = vec!["-c".into(), file.into()];
        Ok(Spec { name, program: program.to_owned(), args, env: Vec::new(), folder })
    }

    fn configuration(&self, server: usize, config: &NatsConfig) -> String {
        let Ports { client, monitor, cluster } = self.ports[server];
        let (name, data) = (server_name(server), self.data(server));
        let sync = if config.sync_always { "always" } else { "2m" };
        let mut text = format!(
            "server_name: {name}\nhost: 127.0.0.1\nport: {client}\nhttp: \"127.0.0.1:{monitor}\"\n\
             max_payload: {}\n\
             jetstream {{ store_dir: {data:?}, sync_interval: {sync}, max_file_store: 64G, max_memory_store: 256M }}\n",
            config.max_payload_bytes
        );
        if self.ports.len() > 1 {
            // Where there are ways, nobody may learn of another: servers tell each other an address at which nobody is.
            let (routes, advertise) = match config.has_ways {
                true => (self.routes_over_ways(server), "advertise: \"127.0.0.1:1\", "),
                false => (self.ports.iter().map(|ports| ports.cluster).collect(), ""),
            };
            let routes: Vec<_> = routes.iter().map(|port: &u16| format!("nats://127.0.0.1:{port}")).collect();
            _ = writeln!(
                text,
                "cluster {{ name: carillon, listen: \"127.0.0.1:{cluster}\", {advertise}routes: {routes:?}, no_advertise: {} }}",
                !config.tells_addresses
            );
        }
        text
    }

    fn routes_over_ways(&self, server: usize) -> Vec<u16> {
        let mine = self.ways.iter().filter(|(from, ..)| *from == server);
        mine.map(|(.., way)| way.address.port()).collect()
    }

    fn data(&self, server: usize) -> PathBuf {
        self.folder.join(format!("{}-data", server_name(server)))
    }
}

fn server_name(server: usize) -> String {
    format!("nats-{}", server + 1)
}

/// Whether JetStream answers; of several servers, whether it knows all of them and who leads.
fn is_ready(monitor: u16, servers: usize) -> bool {
    if get(monitor, "/healthz?js-server-only=true").is_ok_and(|health| health["status"] == "ok") {
        let Ok(status) = get(monitor, "/jsz") else { return false };
        let meta = &status["meta_cluster"];
        return servers == 1
            || meta["leader"].as_str().is_some_and(|leader| !leader.is_empty())
                && meta["cluster_size"] == servers;
    }
    false
}

fn find_leader(status: &Value, stream: &str) -> Option<String> {
    let accounts = status["account_details"].as_array()?;
    let mut streams = accounts.iter().filter_map(|account| account["stream_detail"].as_array()).flatten();
    let detail = streams.find(|detail| detail["name"] == stream)?;
    Some(detail["cluster"]["leader"].as_str()?.to_owned()).filter(|leader| !leader.is_empty())
}

/// What the monitor answers, if that is JSON.
fn get(monitor: u16, path: &str) -> anyhow::Result<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", monitor))?;
    stream.set_read_timeout(Some(ANSWER))?;
    // HTTP/1.0: the answer ends with the connection, and comes in one piece.
    stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").context("an answer without a body")?.1;
    Ok(serde_json::from_str(body)?)
}
