//! nats-server's WebSocket listener under the same work: one subject, as many subscribers, messages of as many bytes.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::rival::{Rival, take_turns};
use super::{Fanout, Turn, on_server_core, turn};
use crate::fleet::Fleet;
use crate::gateway;
use crate::link::Link;

/// How long it may take to start, and any round.
const PATIENCE: Duration = Duration::from_secs(60);
/// The protocol's opening, without an answer to everything (`verbose`).
const CONNECT: &str =
    "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"load\",\"version\":\"1\"}\r\n";

/// What the process with its clients is told.
#[derive(Serialize, Deserialize)]
struct Order {
    program: PathBuf,
    subscribers: u64,
    outstanding: u64,
    bytes: usize,
    seconds: u64,
}

/// Starts it, and its clients. Says also how many bytes of its memory a subscriber takes.
pub(super) fn start(fanout: &Fanout, program: &Path) -> anyhow::Result<(Rival, f64)> {
    let Fanout { subscribers, outstanding, bytes, seconds, .. } = *fanout;
    let order = Order { program: program.to_owned(), subscribers, outstanding, bytes, seconds };
    let mut rival = Rival::start("nats-readers", &order)?;
    let bytes_per_subscriber = rival.report()?.parse()?;
    Ok((rival, bytes_per_subscriber))
}

/// The clients' own side: a turn for every line.
pub fn readers(order: &str) -> anyhow::Result<()> {
    let order: Order = serde_json::from_str(order)?;
    let server = Server::start(&order.program)?;
    let before = gateway::resident_bytes(server.process.id())?;
    let mut clients = Clients::gather(&order, server.address)?;
    let each =
        (gateway::resident_bytes(server.process.id())? as f64 - before as f64) / order.subscribers as f64;
    writeln!(std::io::stdout(), "{each}")?;
    take_turns(|| clients.turn(&order, server.process.id()))
}

/// A nats-server of our own, on the server's core.
struct Server {
    process: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Server {
    fn start(program: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("nats.conf");
        let ports = folder.path().display();
        // It pings no one during a run, so that every byte it sends is a delivery.
        std::fs::write(
            &config,
            format!(
                "host: 127.0.0.1\nport: -1\nports_file_dir: \"{ports}\"\nping_interval: \"1h\"\n\
                 websocket {{ host: 127.0.0.1, port: -1, no_tls: true }}\n"
            ),
        )?;
        let process = on_server_core(program)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut server = Self { process, address: ([127, 0, 0, 1], 0).into(), folder };
        server.address = server.wait_for_port()?;
        Ok(server)
    }

    fn wait_for_port(&mut self) -> anyhow::Result<SocketAddr> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            for file in std::fs::read_dir(self.folder.path())? {
                let path = file?.path();
                if path.extension().is_some_and(|extension| extension == "ports") {
                    let ports: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
                    let url = ports["websocket"][0].as_str().context("nats-server has no WebSocket")?;
                    return Ok(url.trim_start_matches("ws://").parse()?);
                }
            }
            if let Some(ended) = self.process.try_wait()? {
                bail!("nats-server ended at once ({ended}); is it version 2.10 or later?");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("nats-server did not say where it listens within {PATIENCE:?}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The subscribers, and after them the one who publishes.
struct Clients {
    fleet: Fleet,
    publisher: usize,
    round: Vec<u8>,
    round_bytes: u64,
}

impl Clients {
    fn gather(order: &Order, address: SocketAddr) -> anyhow::Result<Self> {
        let (mut fleet, publisher) = (Fleet::new()?, order.subscribers as usize);
        let mut open = 0;
        for number in 0..=publisher {
            fleet.adopt(Link::connect_to_peer(address, number, "/")?)?;
            fleet.flush(number)?;
        }
        let deadline = Instant::now() + PATIENCE;
        while open <= publisher {
            fleet.turn_messages(Duration::from_millis(100), |number, link, message| {
                // The server speaks first; who writes before that is cut off.
                if message.starts_with(b"INFO ") {
                    let subscribe = if number == publisher { "" } else { "SUB room 1\r\n" };
                    link.say_bytes(format!("{CONNECT}{subscribe}PING\r\n").as_bytes());
                }
                open += usize::from(message.windows(6).any(|six| six == b"PONG\r\n"));
            })?;
            if !fleet.lost.is_empty() || Instant::now() > deadline {
                bail!("nats-server let in only {open} of {publisher} subscribers");
            }
        }
        let text = "x".repeat(order.bytes);
        let publish = format!("PUB room {}\r\n{text}\r\n", order.bytes);
        let delivery = format!("MSG room 1 {}\r\n{text}\r\n", order.bytes).len() as u64;
        let round_bytes = delivery * order.outstanding * order.subscribers;
        Ok(Self {
            fleet,
            publisher,
            round: publish.repeat(order.outstanding as usize).into_bytes(),
            round_bytes,
        })
    }

    fn turn(&mut self, order: &Order, server: u32) -> anyhow::Result<Turn> {
        let (start, cpu) = (Instant::now(), gateway::cpu(server)?);
        let mut rounds = 0;
        while start.elapsed() < Duration::from_secs(order.seconds) {
            self.fleet.links[self.publisher].say_bytes(&self.round);
            self.fleet.flush(self.publisher)?;
            let (mut came, publisher) = (0, self.publisher);
            while came < self.round_bytes {
                self.fleet.turn_messages(Duration::from_millis(100), |number, _, message| {
                    came += if number == publisher { 0 } else { message.len() as u64 };
                })?;
                if !self.fleet.lost.is_empty() || start.elapsed() > PATIENCE {
                    bail!("nats-server delivered {came} of {} bytes", self.round_bytes);
                }
            }
            rounds += 1;
        }
        Ok(turn(rounds * order.subscribers * order.outstanding, start, gateway::cpu(server)? - cpu))
    }
}
