//! Worker processes: a process holds 20,000 descriptors at the most, and one core runs one loop. The program starts
//! itself again; orders go in as JSON lines, reports come out as JSON lines.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use crate::check::Faults;
use crate::fleet::{Fleet, Place};
use crate::link::Transport;
use crate::scenario::storm::Storming;
use crate::scenario::{idle, sends, storm};
use crate::token::Signer;

/// How long a worker listens between looks at its orders.
const LISTEN: Duration = Duration::from_millis(50);

/// What a worker is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Open sessions, and stay with them.
    Open(Sessions),
    /// Create rooms (`idle`).
    CreateRooms(idle::Rooms),
    /// Send and measure (`sends`).
    Sends(sends::Load),
    /// Gather everyone (`storm`).
    Storm(storm::Load),
    /// Cut them (`storm`).
    Cut,
    /// Come back and measure (`storm`).
    Resume,
}

/// Which sessions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sessions {
    /// The node.
    pub address: SocketAddr,
    /// How they talk.
    pub transport: Transport,
    /// The key their tokens are signed with.
    pub key: PathBuf,
    /// The first user's number.
    pub first_user: u64,
    /// How many.
    pub count: u64,
}

/// What a worker says when an order is carried out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Report {
    /// It is done.
    Done,
    /// What was measured (`sends`).
    Sends(sends::Measured),
    /// What was measured (`storm`).
    Storm(storm::Measured),
    /// It went wrong.
    Failed(String),
}

/// A worker process, from the side of who gives the orders. Ends with this value.
pub struct Worker {
    child: Child,
    orders: ChildStdin,
    reports: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    /// Starts one.
    pub fn start() -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a worker")?;
        let orders = child.stdin.take().context("no input")?;
        let reports = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Self { child, orders, reports })
    }

    /// Gives an order; [`Worker::report`] waits until it is carried out.
    pub fn order(&mut self, order: &Order) -> anyhow::Result<()> {
        writeln!(self.orders, "{}", serde_json::to_string(order)?)?;
        Ok(())
    }

    /// What came of the oldest order.
    pub fn report(&mut self) -> anyhow::Result<Report> {
        let line = self.reports.next().context("a worker died")??;
        match serde_json::from_str(&line)? {
            Report::Failed(error) => bail!("a worker failed: {error}"),
            report => Ok(report),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts so many.
pub fn start(count: u64) -> anyhow::Result<Vec<Worker>> {
    (0..count).map(|_| Worker::start()).collect()
}

/// Waits until each has carried out the oldest order that reports nothing.
pub fn wait(workers: &mut [Worker]) -> anyhow::Result<()> {
    for worker in workers {
        if !matches!(worker.report()?, Report::Done) {
            bail!("a report of something else");
        }
    }
    Ok(())
}

/// The worker's own side: carries out orders until there are no more, and looks after its sessions meanwhile.
pub fn run() -> anyhow::Result<()> {
    let (sender, orders) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let mut fleet = Fleet::new()?;
    let mut storming = None;
    loop {
        let order = match orders.try_recv() {
            Ok(order) => order,
            Err(mpsc::TryRecvError::Disconnected) => return Ok(()),
            Err(mpsc::TryRecvError::Empty) => {
                fleet.turn(LISTEN, |_, _, _| {})?;
                continue;
            }
        };
        let report = carry_out(&mut fleet, &mut storming, serde_json::from_str(&order)?);
        let report = report.unwrap_or_else(|error| Report::Failed(format!("{error:#}")));
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
        out.flush()?;
    }
}

fn carry_out(fleet: &mut Fleet, storming: &mut Option<Storming>, order: Order) -> anyhow::Result<Report> {
    match order {
        Order::Open(sessions) => {
            let users = sessions.first_user..sessions.first_user + sessions.count;
            fleet.open(&sessions.place()?, users, |_, _, _| {})?;
            Ok(Report::Done)
        }
        Order::CreateRooms(rooms) => idle::create_rooms(fleet, &rooms).map(|()| Report::Done),
        Order::Sends(load) => sends::drive(fleet, &load).map(Report::Sends),
        Order::Storm(load) => {
            *storming = Some(Storming::gather(fleet, load)?);
            Ok(Report::Done)
        }
        Order::Cut => the_storm(storming)?.cut(fleet).map(|()| Report::Done),
        Order::Resume => the_storm(storming)?.resume(fleet).map(Report::Storm),
    }
}

fn the_storm(storming: &mut Option<Storming>) -> anyhow::Result<&mut Storming> {
    storming.as_mut().context("nobody was gathered")
}

impl Sessions {
    /// Where they are, and who signs for them.
    pub fn place(&self) -> anyhow::Result<Place> {
        let signer = Signer::open(&self.key)?;
        Ok(Place { address: self.address, transport: self.transport, signer })
    }
}

/// Fails where something was wrong with a stream.
pub fn must_be_clean(faults: Faults) -> anyhow::Result<()> {
    if !faults.is_none() {
        bail!("the streams were not as promised: {faults:?}");
    }
    Ok(())
}
