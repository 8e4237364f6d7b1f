//! A server and its clients, in a process of its own: for its descriptors, and so that every side is driven in the same
//! way. It takes a turn when it is told to.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::peer::{self, Peer};
use super::{carillon, centrifugo, floor, foreign, nats, sockudo};
use crate::contest::{Contender, Goal, Load, Turn};
use crate::cores;
use crate::link::Transport;

/// How long it may take to end: a turn, at the most.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who serves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Who {
    Carillon {
        program: PathBuf,
        flags: Vec<String>,
    },
    /// The same as one of two nodes; whoever sends, and the room's home, are at the other.
    Across {
        program: PathBuf,
        flags: Vec<String>,
        nats: PathBuf,
    },
    Floor,
    Nats(PathBuf),
    Sockudo(PathBuf),
    Centrifugo(PathBuf),
}

/// What a side's own process is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) who: Who,
    pub(super) transport: Transport,
    /// Whether they talk to Carillon over TLS.
    pub(super) is_tls: bool,
    pub(super) subscribers: u64,
    pub(super) bytes: usize,
}

impl Who {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Carillon { .. } => "Carillon",
            Self::Across { .. } => "Carillon, 2nd node",
            Self::Floor => "bare writes",
            Self::Nats(_) => "nats-server",
            Self::Sockudo(_) => "Sockudo",
            Self::Centrifugo(_) => "Centrifugo",
        }
    }

    /// With many outstanding, what can be written together is.
    fn goal(&self, outstanding: u64) -> Option<Goal> {
        match self {
            Self::Carillon { .. } => None,
            // A node is to deliver 0.8 of what one by itself does.
            Self::Across { .. } => Some(Goal::CpuAtMost(1.0 / 0.8)),
            Self::Floor => Some(Goal::Rate(0.9)),
            Self::Sockudo(_) => Some(Goal::Cpu(3.0)),
            Self::Nats(_) | Self::Centrifugo(_) if outstanding >= 16 => Some(Goal::Cpu(10.0)),
            Self::Nats(_) | Self::Centrifugo(_) => Some(Goal::Cpu(2.5)),
        }
    }

    fn start(&self, order: &Order) -> anyhow::Result<Box<dyn Peer>> {
        Ok(match self {
            Self::Carillon { program, flags } => Box::new(carillon::start(program, flags, order)?),
            Self::Across { program, flags, nats } => {
                Box::new(carillon::start_across(program, flags, nats, order)?)
            }
            Self::Floor => Box::new(floor::start(order)?),
            Self::Nats(program) => Box::new(foreign::start(nats::Nats::new(order.bytes), program)?),
            Self::Sockudo(program) => Box::new(foreign::start(sockudo::Sockudo::new(order.bytes), program)?),
            Self::Centrifugo(program) => {
                Box::new(foreign::start(centrifugo::Centrifugo::new(order.bytes), program)?)
            }
        })
    }
}

/// The process that has a server and its clients. Ends with this value.
pub(super) struct Side {
    pub(super) who: Who,
    process: Child,
    /// Nothing only while this is being dropped.
    orders: Option<ChildStdin>,
    reports: Lines<BufReader<ChildStdout>>,
    /// What a subscriber takes of the server's memory.
    pub(super) bytes_per_subscriber: f64,
}

impl Side {
    /// Starts it, and waits until everyone is in.
    pub(super) fn start(order: Order) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["fanout-side", &serde_json::to_string(&order)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = process.stdin.take();
        let reports = BufReader::new(process.stdout.take().context("no output")?).lines();
        let mut side = Self { who: order.who, process, orders, reports, bytes_per_subscriber: 0.0 };
        side.bytes_per_subscriber = side.report()?;
        Ok(side)
    }

    fn report<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let line = self.reports.next().context("its clients have died; see above")??;
        let report: Result<T, String> = serde_json::from_str(&line)?;
        report.map_err(anyhow::Error::msg)
    }
}

impl Contender for Side {
    fn name(&self) -> &'static str {
        self.who.name()
    }

    fn goal(&self, outstanding: u64) -> Option<Goal> {
        self.who.goal(outstanding)
    }

    fn turn(&mut self, load: Load) -> anyhow::Result<Turn> {
        writeln!(self.orders.as_mut().context("no input")?, "{}", serde_json::to_string(&load)?)?;
        self.report()
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // Without orders it ends by itself, and takes the server it started with it.
        drop(self.orders.take());
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A side's own process: a turn for every line that comes, until no more do, or one fails.
pub fn run(order: &str) -> anyhow::Result<()> {
    let order: Order = serde_json::from_str(order)?;
    cores::drive_from_here();
    let started = order.who.start(&order).context("it did not start");
    let gathered = started.and_then(|mut peer| {
        let bytes = peer::gather(&mut *peer, order.subscribers)?;
        Ok((peer, bytes))
    });
    let mut peer = match gathered {
        Ok((peer, bytes)) => {
            say(&Ok(bytes))?;
            peer
        }
        Err(error) => return say::<f64>(&Err(error)),
    };
    for line in std::io::stdin().lines() {
        let turn = peer::turn(&mut *peer, order.subscribers, serde_json::from_str(&line?)?);
        say(&turn)?;
        if turn.is_err() {
            break;
        }
    }
    Ok(())
}

fn say<T: Serialize>(report: &anyhow::Result<T>) -> anyhow::Result<()> {
    let report = report.as_ref().map_err(|error| format!("{error:#}"));
    Ok(writeln!(std::io::stdout(), "{}", serde_json::to_string(&report)?)?)
}
