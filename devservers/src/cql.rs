//! A CQL server: ScyllaDB in a container where a container engine answers, otherwise Apache Cassandra on this machine's Java.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

use crate::cassandra::{self, Ports};
use crate::process::Server;
use crate::{find, ports};

/// How long a server may take until a query answers.
const STARTING: Duration = Duration::from_secs(180);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_secs(5);
/// What is run in a container.
const IMAGE: &str = "docker.io/scylladb/scylla:2025.1";

/// What server to start.
#[derive(Clone, Debug)]
pub struct CqlConfig {
    /// The JVM's heap, in mebibytes; as much again goes beside it. The same for ScyllaDB as a whole.
    pub heap_mib: u32,
    /// Apache Cassandra also where a container engine answers.
    pub cassandra: bool,
    /// Lines to add to Cassandra's configuration.
    pub cassandra_yaml: String,
    /// It acknowledges what is on the disk; otherwise one that is killed forgets what it acknowledged last.
    pub syncs_before_it_acknowledges: bool,
    /// Cassandra asks who is there: `cassandra` with that password too, soon after it answers.
    pub asks_for_login: bool,
}

impl Default for CqlConfig {
    fn default() -> Self {
        Self {
            heap_mib: 768,
            cassandra: false,
            cassandra_yaml: String::new(),
            syncs_before_it_acknowledges: false,
            asks_for_login: false,
        }
    }
}

/// A running CQL server.
#[derive(Debug)]
pub struct Cql {
    running: Running,
    port: u16,
    // After the server: dropped when it has ended.
    folder: TempDir,
}

#[derive(Debug)]
enum Running {
    Cassandra(Server),
    Scylla(Container),
}

impl Cql {
    /// Starts one; returns once a query answers.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_as(&CqlConfig::default())
    }

    /// Starts what the config says; returns once a query answers. Where ScyllaDB does not come up in a container, Cassandra does.
    pub fn start_as(config: &CqlConfig) -> anyhow::Result<Self> {
        if let Some(engine) = container_engine().filter(|_| !config.cassandra)
            && let Ok(cql) = Self::start_scylla(engine, config)
        {
            return Ok(cql);
        }
        let folder = folder()?;
        let [cql, storage, tls_storage] = ports::free()?;
        let ports = Ports { cql, storage, tls_storage };
        let spec = cassandra::spec(folder.path(), ports, config)?;
        let mut cql = Self { running: Running::Cassandra(Server::start(spec)?), port: cql, folder };
        cql.wait_until_ready()?;
        Ok(cql)
    }

    /// The address of a server for all of a process, where each user has a keyspace: the one that `CQL_SERVER` names, or one that
    /// is started at the first call and stopped when the process exits.
    pub fn shared() -> anyhow::Result<String> {
        if let Ok(named) = std::env::var("CQL_SERVER") {
            return Ok(named);
        }
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if shared.is_none() {
            *shared = Some(Self::start()?);
            // SAFETY: `stop_shared` is a plain function that does not unwind: dropping a server ignores errors.
            ensure!(unsafe { libc::atexit(stop_shared) } == 0, "cannot have the server stopped at the exit");
        }
        shared.as_ref().map(Self::address).context("it was just started")
    }

    fn start_scylla(engine: PathBuf, config: &CqlConfig) -> anyhow::Result<Self> {
        let [port] = ports::free()?;
        let container = Container::start(engine, port, config)?;
        let mut cql = Self { running: Running::Scylla(container), port, folder: folder()? };
        cql.wait_until_ready()?;
        Ok(cql)
    }

    /// Where clients connect: `127.0.0.1:9042`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What it is, for people.
    pub fn name(&self) -> String {
        match &self.running {
            Running::Cassandra(_) => format!("Apache Cassandra {}", cassandra::VERSION),
            Running::Scylla(_) => format!("ScyllaDB ({IMAGE})"),
        }
    }

    /// Its folder: log, configuration, data, except what is in a container.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Freezes it: its connections stay open and nothing is answered.
    pub fn pause(&self) -> anyhow::Result<()> {
        match &self.running {
            Running::Cassandra(server) => server.pause(),
            Running::Scylla(container) => container.told("pause"),
        }
    }

    /// Lets a frozen one go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        match &self.running {
            Running::Cassandra(server) => server.resume(),
            Running::Scylla(container) => container.told("unpause"),
        }
    }

    /// `kill -9`, and waits until it is gone. Its data stays.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        match &mut self.running {
            Running::Cassandra(server) => server.kill(),
            Running::Scylla(container) => container.told("kill"),
        }
    }

    /// Starts it again after it was killed; returns once a query answers.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        match &mut self.running {
            Running::Cassandra(server) => server.restart()?,
            Running::Scylla(container) => container.told("start")?,
        }
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + STARTING;
        while let Err(error) = ask(self.port) {
            if let Running::Cassandra(server) = &mut self.running
                && let Some(ended) = server.ended()?
            {
                bail!("Cassandra ended at once ({ended}):\n{}", server.last_words());
            }
            ensure!(Instant::now() < deadline, "{} did not answer: {error}", self.name());
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }
}

#[allow(
    clippy::disallowed_types,
    reason = "held while a server starts, by whoever needs one; nothing else can be done meanwhile"
)]
static SHARED: std::sync::Mutex<Option<Cql>> = std::sync::Mutex::new(None);

extern "C" fn stop_shared() {
    drop(SHARED.lock().unwrap_or_else(PoisonError::into_inner).take());
}

fn folder() -> anyhow::Result<TempDir> {
    Ok(tempfile::Builder::new().prefix("carillon-cql-").tempdir()?)
}

/// Asks one query, unless it asks who is there; in version 4 of the protocol: version, flags, stream, opcode, length, body.
fn ask(port: u16) -> anyhow::Result<()> {
    const STARTUP: u8 = 1;
    const READY: u8 = 2;
    const AUTHENTICATE: u8 = 3;
    const QUERY: u8 = 7;
    const RESULT: u8 = 8;
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut request = |opcode: u8, body: &[u8]| {
        let mut frame = vec![4, 0, 0, 0, opcode];
        frame.extend((body.len() as u32).to_be_bytes());
        frame.extend(body);
        stream.write_all(&frame)?;
        let mut header = [0; 9];
        stream.read_exact(&mut header)?;
        let [_, _, _, _, answered, length @ ..] = header;
        std::io::copy(&mut (&mut stream).take(u32::from_be_bytes(length).into()), &mut std::io::sink())?;
        anyhow::Ok(answered)
    };
    match request(STARTUP, b"\x00\x01\x00\x0bCQL_VERSION\x00\x053.0.0")? {
        READY => {}
        AUTHENTICATE => return Ok(()),
        other => bail!("it answered {other} at the start"),
    }
    let text = b"SELECT key FROM system.local";
    let mut body = (text.len() as u32).to_be_bytes().to_vec();
    body.extend(text);
    // Consistency ONE, no flags.
    body.extend([0, 1, 0]);
    let answered = request(QUERY, &body)?;
    ensure!(answered == RESULT, "it answered {answered} to a query");
    Ok(())
}

/// A program that runs containers, if there is one and its engine answers.
fn container_engine() -> Option<PathBuf> {
    ["docker", "podman"].into_iter().find_map(|name| {
        let program = find::program("CONTAINER_ENGINE", name, "a container engine").ok()?;
        let info = Command::new(&program).arg("info").stdin(Stdio::null()).output().ok()?;
        info.status.success().then_some(program)
    })
}

#[derive(Debug)]
struct Container {
    engine: PathBuf,
    id: String,
}

impl Container {
    fn start(engine: PathBuf, port: u16, config: &CqlConfig) -> anyhow::Result<Self> {
        let mut command = Command::new(&engine);
        command.args(["run", "--detach", "--publish", &format!("127.0.0.1:{port}:9042"), IMAGE]);
        command.args(["--smp", "1", "--overprovisioned", "1", "--developer-mode", "1"]);
        if config.syncs_before_it_acknowledges {
            command.args(["--commitlog-sync", "batch"]);
        }
        let output = output(command.arg("--memory").arg(format!("{}M", config.heap_mib)))?;
        let id = String::from_utf8(output.stdout)?.trim().to_owned();
        Ok(Self { engine, id })
    }

    fn told(&self, what: &str) -> anyhow::Result<()> {
        output(Command::new(&self.engine).arg(what).arg(&self.id)).map(drop)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        _ = output(Command::new(&self.engine).args(["rm", "--force", "--volumes", &self.id]));
    }
}

fn output(command: &mut Command) -> anyhow::Result<Output> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}
