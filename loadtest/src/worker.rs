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
use crate::drive::{Driving, Heads, Load, Measured};
use crate::fleet::{Fleet, Place};
use crate::link::Transport;
use crate::scenario::storm::Storming;
use crate::scenario::{connect, idle, storm};
use crate::timeline::Second;
use crate::tls::Trust;
use crate::token::Signer;

/// An order came before the one that it builds on.
const NOBODY: &str = "nobody was gathered";
/// How long a worker listens between looks at its orders.
const LISTEN: Duration = Duration::from_millis(50);

/// What a worker is told to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// Open sessions, and stay with them.
    Open(Sessions),
    /// Say how many sessions have answered a ping (`hold`).
    CountPinged,
    /// Create rooms (`idle`).
    CreateRooms(idle::Rooms),
    /// Make the rooms of a run that is driven, with the sessions that are open.
    Gather(Box<Load>),
    /// Drive it, from this moment of the machine's clock on.
    Drive {
        /// The moment.
        start_us: u64,
    },
    /// Wait until everyone has what was acknowledged.
    Settle(Heads),
    /// Open sessions and end them (`connect`).
    Connect(connect::Load),
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
    /// Further nodes of its cluster.
    pub others: Vec<SocketAddr>,
    /// How they talk.
    pub transport: Transport,
    /// Which certificate it must show, over TLS.
    pub tls: Option<Trust>,
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
    /// So many sessions have answered a ping.
    Pinged(u64),
    /// One second of a run; the order is still being carried out.
    Second(Box<Second>),
    /// The run's time is over, and everything that was asked is answered.
    Driven(Heads),
    /// What was measured, once everything has arrived.
    Settled(Box<Measured>),
    /// What was measured (`connect`).
    Connect(connect::Measured),
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

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
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

/// A worker's next second.
pub fn second(worker: &mut Worker) -> anyhow::Result<Second> {
    match worker.report()? {
        Report::Second(second) => Ok(*second),
        _ => bail!("a report of something else"),
    }
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
    let mut worker = Carrying { fleet: Fleet::new()?, driving: None, storming: None };
    loop {
        let order = match orders.try_recv() {
            Ok(order) => order,
            Err(mpsc::TryRecvError::Disconnected) => return Ok(()),
            Err(mpsc::TryRecvError::Empty) => {
                worker.listen()?;
                continue;
            }
        };
        let report = worker.carry_out(serde_json::from_str(&order)?);
        say(&report.unwrap_or_else(|error| Report::Failed(format!("{error:#}"))))?;
    }
}

fn say(report: &Report) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(report)?)?;
    Ok(out.flush()?)
}

/// A worker's sessions, and what it is in the middle of.
struct Carrying {
    fleet: Fleet,
    driving: Option<Driving>,
    storming: Option<Storming>,
}

impl Carrying {
    /// Between orders sessions are looked after, and what comes to those that are driven counts.
    fn listen(&mut self) -> anyhow::Result<()> {
        match &mut self.driving {
            Some(driving) => driving.listen(&mut self.fleet, LISTEN),
            None => self.fleet.turn(LISTEN, |_, _, _| {}),
        }
    }

    fn carry_out(&mut self, order: Order) -> anyhow::Result<Report> {
        let fleet = &mut self.fleet;
        match order {
            Order::Open(sessions) => {
                let users = sessions.first_user..sessions.first_user + sessions.count;
                fleet.open(&sessions.place()?, users, |_, _, _| {})?;
                Ok(Report::Done)
            }
            Order::CountPinged => Ok(Report::Pinged(
                fleet.links.iter().filter(|link| link.has_answered_a_ping()).count() as u64,
            )),
            Order::CreateRooms(rooms) => idle::create_rooms(fleet, &rooms).map(|()| Report::Done),
            Order::Gather(load) => {
                self.driving = Some(Driving::gather(fleet, *load)?);
                Ok(Report::Done)
            }
            Order::Drive { start_us } => {
                let driving = self.driving.as_mut().context(NOBODY)?;
                let heads =
                    driving.drive(fleet, start_us, |second| say(&Report::Second(Box::new(second))))?;
                Ok(Report::Driven(heads))
            }
            Order::Settle(heads) => {
                let driving = self.driving.as_mut().context(NOBODY)?;
                Ok(Report::Settled(Box::new(driving.settle(fleet, &heads)?)))
            }
            Order::Connect(load) => {
                connect::connect(fleet, &load, |second| say(&Report::Second(Box::new(second))))
                    .map(Report::Connect)
            }
            Order::Storm(load) => {
                self.storming = Some(Storming::gather(fleet, load)?);
                Ok(Report::Done)
            }
            Order::Cut => self.storming.as_mut().context(NOBODY)?.cut(fleet).map(|()| Report::Done),
            Order::Resume => self.storming.as_mut().context(NOBODY)?.resume(fleet).map(Report::Storm),
        }
    }
}

impl Sessions {
    /// Where they are, and who signs for them.
    pub fn place(&self) -> anyhow::Result<Place> {
        let signer = Signer::open(&self.key)?;
        let tls = self.tls.map(Trust::config).transpose()?;
        Ok(Place {
            address: self.address,
            others: self.others.clone(),
            transport: self.transport,
            tls,
            signer,
        })
    }
}

/// Fails where something was wrong with a stream.
pub fn must_be_clean(faults: Faults) -> anyhow::Result<()> {
    if !faults.is_none() {
        bail!("the streams were not as promised: {faults:?}");
    }
    Ok(())
}
