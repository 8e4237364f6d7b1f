//! Another product's server and its WebSocket clients: what is the same whatever they say to each other.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::peer::{LISTEN, PATIENCE, Peer};
use crate::cores;
use crate::fleet::Fleet;
use crate::link::Link;

/// Clients that are on their way in at once.
const OPENING_MAX: u64 = 256;
/// The one who publishes is the first to come.
const PUBLISHER: usize = 0;

/// What is special about a server: how it is started, and what its clients say and hear.
pub(super) trait Dialect {
    /// Where its WebSocket is.
    fn path(&self) -> String;

    /// Says how it is started, to listen at this address; `folder` is for its files.
    fn command(&self, program: &Path, address: SocketAddr, folder: &Path) -> anyhow::Result<Command>;

    /// What a client says by itself once it is upgraded.
    fn greet(&self, _is_publisher: bool, _link: &mut Link) {}

    /// Answers what a client hears before it is in; says whether it is now.
    fn join(&self, is_publisher: bool, link: &mut Link, message: &[u8]) -> bool;

    /// Publishes so many messages.
    fn publish(&mut self, link: &mut Link, messages: u64);

    /// How many deliveries a subscriber heard; none if it is not what was published.
    fn deliveries(&mut self, message: &[u8]) -> Option<u64>;
}

/// The server, its publisher, and its subscribers after that.
pub(super) struct Foreign<D> {
    dialect: D,
    server: Server,
    fleet: Fleet,
    /// Clients whose upgrade is under way.
    upgrading: Vec<usize>,
}

/// Starts the server.
pub(super) fn start<D: Dialect>(dialect: D, program: &Path) -> anyhow::Result<Foreign<D>> {
    let server = Server::start(&dialect, &found(program)?)?;
    Ok(Foreign { dialect, server, fleet: Fleet::new()?, upgrading: Vec::new() })
}

impl<D: Dialect> Foreign<D> {
    fn connect(&mut self) -> anyhow::Result<()> {
        let number = self.fleet.links.len();
        self.fleet.adopt(Link::connect_to_peer(self.server.address, number, &self.dialect.path())?)?;
        self.upgrading.push(number);
        Ok(self.fleet.flush(number)?)
    }

    /// Has those greet who are upgraded: whoever does so before is cut off.
    fn greet(&mut self) -> anyhow::Result<()> {
        for number in std::mem::take(&mut self.upgrading) {
            let link = &mut self.fleet.links[number];
            if link.is_open() {
                self.dialect.greet(number == PUBLISHER, link);
                link.flush()?;
            } else {
                self.upgrading.push(number);
            }
        }
        Ok(())
    }

    fn lost_none(&self) -> anyhow::Result<()> {
        match self.fleet.lost.len() {
            0 => Ok(()),
            lost => bail!("{lost} connections were lost"),
        }
    }
}

impl<D: Dialect> Peer for Foreign<D> {
    fn pid(&self) -> u32 {
        self.server.process.id()
    }

    fn admit(&mut self, subscribers: u64) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut in_by_now = self.fleet.links.len() as u64;
        let mut last_heard = String::new();
        while in_by_now < subscribers + 1 {
            while (self.fleet.links.len() as u64) < (in_by_now + OPENING_MAX).min(subscribers + 1) {
                self.connect()?;
            }
            let dialect = &self.dialect;
            self.fleet.turn_messages(LISTEN, |number, link, message| {
                let is_in = dialect.join(number == PUBLISHER, link, message);
                in_by_now += u64::from(is_in);
                if !is_in {
                    last_heard = String::from_utf8_lossy(message).into_owned();
                }
            })?;
            self.greet()?;
            if !self.fleet.lost.is_empty() || Instant::now() > deadline {
                bail!(
                    "only {in_by_now} of {} clients were let in; one last heard: {last_heard}",
                    subscribers + 1
                );
            }
        }
        Ok(())
    }

    fn publish(&mut self, messages: u64) -> anyhow::Result<()> {
        self.dialect.publish(&mut self.fleet.links[PUBLISHER], messages);
        Ok(self.fleet.flush(PUBLISHER)?)
    }

    fn hear(&mut self) -> anyhow::Result<u64> {
        let (mut came, mut strange, dialect) = (0, None, &mut self.dialect);
        self.fleet.turn_messages(LISTEN, |number, _, message| {
            if number == PUBLISHER {
                return;
            }
            match dialect.deliveries(message) {
                Some(more) => came += more,
                None => strange = Some(String::from_utf8_lossy(message).into_owned()),
            }
        })?;
        self.lost_none()?;
        strange.map_or(Ok(came), |what| bail!("a subscriber heard something else: {what}"))
    }
}

/// A program by its path, wherever it is started from. One by its name alone is looked for when it is started.
fn found(program: &Path) -> anyhow::Result<PathBuf> {
    if program.components().count() == 1 {
        return Ok(program.to_owned());
    }
    program.canonicalize().with_context(|| format!("there is no {}", program.display()))
}

/// A server's process, on the server's core. Ends with this value.
struct Server {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(dialect: &impl Dialect, program: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        // It does not say where it listens, so it is told: where nobody did a moment ago.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = dialect.command(program, address, folder.path())?;
        command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = cores::start_server(&mut command)?;
        let mut server = Self { process, address, _folder: folder };
        server.wait_until_it_listens().with_context(|| format!("by hand: {command:?}"))?;
        Ok(server)
    }

    fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(self.address).is_err() {
            if let Some(ended) = self.process.try_wait()? {
                bail!("it ended at once ({ended})");
            }
            if Instant::now() > deadline {
                bail!("it did not listen within {PATIENCE:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Deliveries that are all alike, byte for byte, but for what the first shows around the text.
pub(super) struct Alike {
    text: String,
    first: Vec<u8>,
}

impl Alike {
    /// Of a text of that many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self { text: "x".repeat(bytes), first: Vec::new() }
    }

    /// What is published.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether this is one of them.
    pub(super) fn is_one(&mut self, delivery: &[u8]) -> bool {
        if self.first.is_empty() && String::from_utf8_lossy(delivery).contains(&format!("\"{}\"", self.text))
        {
            self.first = delivery.to_vec();
        }
        !self.first.is_empty() && self.first == delivery
    }
}
