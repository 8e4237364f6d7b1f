//! `echo`: messages that are sent back, against the echo servers of other libraries in the same run.
//!
//! Every server is one thread and has one core; all clients have the other; they take turns. Each message is masked, its bytes
//! are its own, and each echo is compared with them.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;

use crate::contest::{Contender, Contest, Goal, Length, Load, Missing, Turn, Unit};
use crate::cores;
use crate::fleet::Fleet;
use crate::gateway;
use crate::link::{BINARY, Link};
use crate::report::Table;

const UNIT: Unit = Unit { per_second: "echoes/s", per_cpu_second: "echoes a server CPU-second" };
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where all of them are asked for a WebSocket.
const PATH: &str = "/v1/ws";
/// A message says its number in so many bytes.
const NUMBER_BYTES: usize = 8;

/// What to drive.
#[derive(Args, Clone, Debug)]
pub struct Echo {
    #[command(flatten)]
    talk: Talk,
    /// Bytes of each message
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u64).range(NUMBER_BYTES as u64..=60_000))]
    bytes: u64,
    /// Messages that each connection has outstanding
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    outstanding: u64,
    #[command(flatten)]
    length: Length,
}

/// Who talks, and to whom.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Echo")]
pub struct Talk {
    /// Connections
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    connections: u64,
    /// Carillon's echo server: cargo build --release -p carillon-gateway --example echo [default: examples/echo, beside
    /// this program]
    #[arg(long, value_name = "PROGRAM")]
    echo: Option<PathBuf>,
    /// fastwebsockets': cargo build --release -p carillon-bench [default: echo_fastwebsockets, beside this program]
    #[arg(long, value_name = "PROGRAM")]
    fastwebsockets: Option<PathBuf>,
    /// tokio-tungstenite's: cargo build --release -p carillon-bench [default: echo_tungstenite, beside this program]
    #[arg(long, value_name = "PROGRAM")]
    tungstenite: Option<PathBuf>,
}

/// A library's echo server.
struct Library {
    name: &'static str,
    /// Where it is when nobody says.
    beside: &'static str,
    goal: Option<Goal>,
    /// What to do where it is not.
    how: &'static str,
}

const CARILLON: Library = Library {
    name: "Carillon",
    beside: "examples/echo",
    goal: None,
    how: "cargo build --release -p carillon-gateway --example echo, then --echo PROGRAM",
};
const FASTWEBSOCKETS: Library = Library {
    name: "fastwebsockets",
    beside: "echo_fastwebsockets",
    goal: Some(Goal::Cpu(1.0)),
    how: "cargo build --release -p carillon-bench, then --fastwebsockets PROGRAM",
};
const TUNGSTENITE: Library = Library {
    name: "tokio-tungstenite",
    beside: "echo_tungstenite",
    goal: None,
    how: "cargo build --release -p carillon-bench, then --tungstenite PROGRAM",
};

/// Runs it.
pub fn run(echo: &Echo) -> anyhow::Result<Table> {
    let contest = Talking::begin(&echo.talk, echo.bytes as usize)?.contest(echo.outstanding, echo.length)?;
    let missing = contest.missing().cloned();
    Ok(Table::new("echo", contest.figures()).without(missing).shown(contest.to_string()))
}

/// Every server that is there, with its connections.
pub struct Talking {
    servers: Vec<Echoes>,
    missing: Vec<Missing>,
    connections: u64,
    bytes: usize,
}

impl Talking {
    /// Starts them and connects.
    pub fn begin(talk: &Talk, bytes: usize) -> anyhow::Result<Self> {
        cores::drive_from_here();
        let mut talking =
            Self { servers: Vec::new(), missing: Vec::new(), connections: talk.connections, bytes };
        let all = [
            (CARILLON, &talk.echo),
            (FASTWEBSOCKETS, &talk.fastwebsockets),
            (TUNGSTENITE, &talk.tungstenite),
        ];
        for (library, given) in all {
            match library.program(given.as_deref())? {
                Some(program) => {
                    let name = library.name;
                    match Echoes::begin(library, &program, talk.connections, bytes) {
                        Ok(server) => talking.servers.push(server),
                        Err(error) if name == CARILLON.name => return Err(error),
                        Err(error) => talking.missing.push(Missing::no_part(name, &error)),
                    }
                }
                None if library.name == CARILLON.name => {
                    bail!("Carillon's echo server is missing: {}", library.how)
                }
                None => talking.missing.push(Missing::not_given(library.name, library.how)),
            }
        }
        Ok(talking)
    }

    /// Has them all send back, with so many messages outstanding on each connection; who fails takes no further part.
    pub fn contest(&mut self, outstanding: u64, length: Length) -> anyhow::Result<Contest> {
        let Self { connections, bytes, .. } = self;
        let work =
            format!("echo of {bytes} bytes, {connections} connections, {outstanding} outstanding on each");
        let contest = Contest::hold(work, UNIT, &mut self.servers, outstanding, length)?;
        let contest = contest.without(&self.missing);
        self.missing = contest.missing().cloned().collect();
        Ok(contest)
    }
}

impl Library {
    /// Where its program is, if it is anywhere.
    fn program(&self, given: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
        if let Some(given) = given {
            return Ok(Some(given.to_owned()));
        }
        let beside = std::env::current_exe()?.with_file_name(self.beside);
        Ok(beside.is_file().then_some(beside))
    }
}

/// A server that sends back, and those who talk to it.
struct Echoes {
    library: Library,
    server: Child,
    fleet: Fleet,
    talkers: Vec<Talker>,
}

impl Echoes {
    fn begin(library: Library, program: &Path, connections: u64, bytes: usize) -> anyhow::Result<Self> {
        let mut server = cores::start_server(
            Command::new(program).arg("127.0.0.1:0").stdin(Stdio::null()).stdout(Stdio::piped()),
        )?;
        let output = server.stdout.take().context("no output")?;
        let mut echoes = Self { library, server, fleet: Fleet::new()?, talkers: Vec::new() };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listens on ").and_then(|address| address.parse().ok());
        let address: SocketAddr =
            address.with_context(|| format!("{} did not say where it listens", program.display()))?;
        for number in 0..connections as usize {
            echoes.fleet.adopt(Link::connect_to_peer(address, number, PATH)?)?;
            echoes.fleet.flush(number)?;
            echoes.talkers.push(Talker::new(number, bytes));
        }
        echoes.wait_until_open()?;
        Ok(echoes)
    }

    fn wait_until_open(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.fleet.links.iter().all(Link::is_open) {
            self.turn_once(|_, _, _| {})?;
            if Instant::now() > deadline {
                bail!("{} did not upgrade all connections within {PATIENCE:?}", self.library.name);
            }
        }
        Ok(())
    }

    fn turn_once(&mut self, mut heard: impl FnMut(&mut Talker, &mut Link, &[u8])) -> anyhow::Result<()> {
        let talkers = &mut self.talkers;
        self.fleet.turn_messages(Duration::from_millis(100), |number, link, message| {
            heard(&mut talkers[number], link, message);
        })?;
        match self.fleet.lost.len() {
            0 => Ok(()),
            lost => bail!("{lost} connections to {} were lost", self.library.name),
        }
    }
}

impl Contender for Echoes {
    fn name(&self) -> &'static str {
        self.library.name
    }

    fn goal(&self, _: u64) -> Option<Goal> {
        self.library.goal
    }

    fn turn(&mut self, load: Load) -> anyhow::Result<Turn> {
        let (start, cpu) = (Instant::now(), gateway::cpu(self.server.id())?);
        for (number, talker) in self.talkers.iter_mut().enumerate() {
            let link = &mut self.fleet.links[number];
            (0..load.outstanding).for_each(|_| talker.say(link));
            link.flush()?;
        }
        let (mut under_way, mut echoes) = (self.talkers.len() as u64 * load.outstanding, 0);
        while under_way > 0 {
            let goes_on = start.elapsed() < load.turn;
            let mut wrong = None;
            self.turn_once(|talker, link, message| {
                if !talker.hear(message) {
                    wrong = Some(talker.heard);
                }
                echoes += 1;
                match goes_on {
                    true => talker.say(link),
                    false => under_way -= 1,
                }
            })?;
            if let Some(number) = wrong {
                bail!("{} sent back other bytes than those of message {number}", self.library.name);
            }
            if start.elapsed() > load.turn + PATIENCE {
                bail!("{} still owes {under_way} echoes", self.library.name);
            }
        }
        Ok(Turn::of(echoes, start, gateway::cpu(self.server.id())? - cpu))
    }
}

impl Drop for Echoes {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// What one connection says and hears: its own bytes, with the message's number before them.
struct Talker {
    key: [u8; 4],
    plain: Vec<u8>,
    masked: Vec<u8>,
    said: u64,
    heard: u64,
}

impl Talker {
    fn new(connection: usize, bytes: usize) -> Self {
        let key = [0x37, 0xfa, 0x21, 1 + (connection % 255) as u8];
        let plain: Vec<u8> = (0..bytes).map(|at| (at * 31 + connection) as u8).collect();
        let masked = mask(&plain, key);
        Self { key, plain, masked, said: 0, heard: 0 }
    }

    fn say(&mut self, link: &mut Link) {
        self.masked[..NUMBER_BYTES].copy_from_slice(&mask(&self.said.to_be_bytes(), self.key));
        link.say_masked(BINARY, self.key, &self.masked);
        self.said += 1;
    }

    /// Whether that is the oldest message that has not come back.
    fn hear(&mut self, message: &[u8]) -> bool {
        self.plain[..NUMBER_BYTES].copy_from_slice(&self.heard.to_be_bytes());
        self.heard += 1;
        message == self.plain
    }
}

fn mask(bytes: &[u8], key: [u8; 4]) -> Vec<u8> {
    bytes.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bytes_that_were_said_count_as_heard_and_in_order() {
        let mut talker = Talker::new(7, 16);
        let message = |number: u64| [&number.to_be_bytes()[..], &talker.plain[NUMBER_BYTES..]].concat();
        let (first, second, mut wrong) = (message(0), message(1), message(2));
        wrong[15] ^= 1;
        assert!(talker.hear(&first));
        assert!(talker.hear(&second));
        assert!(!talker.hear(&wrong));
        assert!(!talker.hear(&first));
    }

    #[test]
    fn what_is_said_is_masked() {
        let talker = Talker::new(1, 16);
        assert_ne!(talker.masked, talker.plain);
        assert_eq!(mask(&talker.masked, talker.key), talker.plain);
    }
}
