//! `faults`: a cluster of gateways and NATS servers in which one or two parties at a time are killed, frozen longer than any
//! time-out, or cut off from each other, while clients send, repeat, read and come back at whichever gateway answers.
//! Afterwards every room's whole history is read from every gateway and compared with what clients were acknowledged and
//! what they heard.

mod crowd;
mod plan;
mod verdict;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use carillon_protocol::{Frame, RoomId};
use clap::Args;
use uuid::Uuid;

use self::crowd::{Crowd, Told};
use self::plan::{Kind, Round};
use self::verdict::{Broken, Faults as Found};
use super::{add_members, create_room, room, user};
use crate::cluster::{Cluster, ClusterConfig};
use crate::dice::Dice;
use crate::report::{Figure, Table};
use crate::session::Session;
use crate::token::Signer;

/// Members given to a room when it is created; the others are added.
const FIRST_MEMBERS: u64 = 1_000;
/// How long a room may take to be created: the cluster has only just begun.
const CREATING: Duration = Duration::from_secs(60);
/// Of every so many sends one goes to a large room.
const LARGE_ONE_IN: u64 = 50;

/// What to drive, and what to do to it.
#[derive(Args, Clone, Debug)]
pub struct Faults {
    /// The gateway's program (carillon), started for the run
    #[arg(long, value_name = "PROGRAM")]
    start: PathBuf,
    /// nats-server; without it, what `NATS_SERVER` names, or what is in `PATH`
    #[arg(long, value_name = "PROGRAM")]
    nats: Option<PathBuf>,
    /// Gateways
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    gateways: u8,
    /// NATS servers, and replicas of the log
    #[arg(long, default_value = "3", value_parser = ["1", "3"])]
    servers: String,
    /// Faults, one or two at a time
    #[arg(long, default_value_t = 200)]
    faults: u64,
    /// The most that all faults may take, in seconds; then fewer happen
    #[arg(long)]
    seconds: Option<u64>,
    /// Sends a second, in all; due whether anybody answers or not
    #[arg(long, default_value_t = 500)]
    sends_per_second: u64,
    /// Clients, spread over the gateways
    #[arg(long, default_value_t = 90)]
    clients: u64,
    /// Small rooms, of four members each
    #[arg(long, default_value_t = 150)]
    rooms: u64,
    /// Rooms that every client is in
    #[arg(long, default_value_t = 2)]
    large_rooms: u64,
    /// What chance does is repeated by the same seed (when who answers what is not)
    #[arg(long)]
    seed: Option<u64>,
    /// Only faults of these kinds
    #[arg(long, value_enum, value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// A flag for the gateways, such as --flag=--shards=1; may be repeated
    #[arg(long = "flag", value_name = "FLAG", allow_hyphen_values = true)]
    flags: Vec<String>,
}

/// A room of the run.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    id: RoomId,
    /// Numbers of its clients; the first made it.
    members: Vec<usize>,
    is_large: bool,
}

/// What the clients share with who does things to the cluster.
pub(crate) struct Shared {
    gateways: Vec<std::net::SocketAddr>,
    signer: Signer,
    rooms: Vec<Place>,
    clients: usize,
    seed: u64,
    sends_per_s: u64,
    /// Nothing more happens: finish what is under way, and stop.
    finish: AtomicBool,
}

/// Runs it.
pub fn run(faults: &Faults) -> anyhow::Result<Table> {
    let seed = faults.seed.unwrap_or_else(|| Uuid::new_v4().as_u128() as u64);
    eprintln!("seed {seed}");
    let mut cluster = Cluster::start(&faults.cluster()?)?;
    let shared = Arc::new(faults.shared(&cluster, seed)?);
    create_rooms(&shared)?;
    let crowd = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || Crowd::new(shared)?.live())
    };
    let began = Instant::now();
    let until = faults.seconds.map(|seconds| began + Duration::from_secs(seconds));
    let rounds = plan::run(&mut cluster, &mut Dice::new(seed), faults.faults, &faults.kinds, until);
    let took = began.elapsed();
    shared.finish.store(true, Ordering::Relaxed);
    let told = crowd.join().map_err(|_| anyhow::anyhow!("the clients panicked"))??;
    let rounds = rounds.inspect_err(|_| keep(&mut cluster))?;
    eprintln!("reading every room's history from every gateway");
    let mut found = verdict::judge(&shared, &told).inspect_err(|_| keep(&mut cluster))?;
    for name in cluster.panics() {
        found.add(Broken::Panic, format!("{name} panicked; its log says where"));
    }
    let ended: u64 = cluster.gateways.iter().map(|gateway| gateway.ended).sum();
    let mut table = Table::new("faults", figures(&rounds, &told, &found, took, ended));
    if let Some(first) = &found.first {
        keep(&mut cluster);
        table.broken = Some(format!("{first} (seed {seed})"));
    }
    Ok(table)
}

fn keep(cluster: &mut Cluster) {
    if let Some(folder) = cluster.keep() {
        eprintln!("logs and data of the gateways stay in {}", folder.display());
    }
}

impl Faults {
    fn cluster(&self) -> anyhow::Result<ClusterConfig> {
        let own = [
            "--node-ttl-ms=2000",
            // Silence is noticed soon, and the last event of a room that somebody missed.
            "--ping-interval-ms=1000",
            "--idle-timeout-ms=20000",
            // Whole histories are compared, however long.
            "--sync-reach-events=1000000000",
        ];
        Ok(ClusterConfig {
            program: std::path::absolute(&self.start)?,
            nats: self.nats.clone(),
            gateways: usize::from(self.gateways),
            servers: self.servers.parse()?,
            flags: own.iter().map(|flag| (*flag).to_owned()).chain(self.flags.clone()).collect(),
            has_ways: self.kinds.is_empty() || self.kinds.iter().any(|kind| kind.cuts()),
        })
    }

    fn shared(&self, cluster: &Cluster, seed: u64) -> anyhow::Result<Shared> {
        if self.clients < 4 || self.rooms < self.clients {
            bail!("a run needs four clients, and a room for each");
        }
        let (run, clients) = (Uuid::new_v4(), self.clients as usize);
        let mut dice = Dice::new(!seed);
        let small = (0..self.rooms).map(|number| {
            let mut members = vec![number as usize % clients];
            while members.len() < 4 {
                let member = dice.below(self.clients) as usize;
                if !members.contains(&member) {
                    members.push(member);
                }
            }
            Place { id: room(run, number), members, is_large: false }
        });
        let mut rooms: Vec<_> = small.collect();
        rooms.extend((0..self.large_rooms).map(|number| Place {
            id: room(run, self.rooms + number),
            members: (0..clients).collect(),
            is_large: true,
        }));
        Ok(Shared {
            gateways: cluster.gateways.iter().map(|gateway| gateway.address).collect(),
            signer: cluster.signer.clone(),
            rooms,
            clients,
            seed,
            sends_per_s: self.sends_per_second,
            finish: AtomicBool::new(false),
        })
    }
}

/// The user whom a client is.
fn user_of(client: usize) -> u64 {
    client as u64 + 1
}

fn create_rooms(shared: &Shared) -> anyhow::Result<()> {
    let deadline = Instant::now() + CREATING;
    for (number, place) in shared.rooms.iter().enumerate() {
        let owner = user_of(place.members[0]);
        let gateway = shared.gateways[number % shared.gateways.len()];
        let mut session = Session::open(gateway, &shared.signer, owner, "maker")?;
        let members: Vec<_> = place.members[1..].iter().map(|&client| user_of(client)).collect();
        let (first, more) = members.split_at(members.len().min(FIRST_MEMBERS as usize));
        let first = first.iter().map(|&member| user(member)).collect::<anyhow::Result<_>>()?;
        let request = session.next_request();
        let mut frames = vec![create_room(request, place.id, first)];
        if let (Some(&from), Some(&to)) = (more.first(), more.last()) {
            frames.extend(add_members(place.id, from..=to)?);
        }
        for frame in frames {
            let request = frame.request().context("a request without a number")?;
            loop {
                match session.ask(&frame, request)? {
                    Frame::Ack { .. } => break,
                    Frame::Error { code, .. } if code.come_back() && Instant::now() < deadline => {
                        thread::sleep(Duration::from_millis(100));
                    }
                    other => bail!("a room was not made: {other:?}"),
                }
            }
        }
    }
    Ok(())
}

fn figures(rounds: &[Round], told: &Told, found: &Found, took: Duration, ended: u64) -> Vec<Figure> {
    let count = |kind: Kind| rounds.iter().flat_map(|round| &round.kinds).filter(|&&it| it == kind).count();
    let all: usize = rounds.iter().map(|round| round.kinds.len()).sum();
    let mut figures = vec![Figure::new("faults", all as f64, "")];
    for kind in Kind::ALL {
        figures.push(Figure::new(format!("  {}", kind.words()), count(kind) as f64, ""));
    }
    for broken in Broken::ALL {
        figures.push(Figure::new(broken.words(), found.count(broken) as f64, "").at_most(0.0));
    }
    let pauses = verdict::Pauses::of(rounds, told);
    for (round, pause_s) in rounds.iter().zip(&pauses.by_round_s) {
        let words: Vec<_> = round.kinds.iter().map(|kind| kind.words()).collect();
        eprintln!("{}: the longest pause was {pause_s:.1} s", words.join(", "));
    }
    figures.extend([
        Figure::new("sends acknowledged", told.acknowledged.len() as f64, ", each there once"),
        Figure::new("sends a second, all in all", told.acknowledged.len() as f64 / took.as_secs_f64(), ""),
        Figure::new("sends tried again", told.retried as f64, ", each under its first seq"),
        Figure::new("sends repeated after their acknowledgement", told.repeated as f64, ", the same"),
        Figure::new("sends put off, because their client had too many open", told.put_off as f64, ""),
        Figure::new("events heard live", told.live as f64, ", the same as in the histories"),
        Figure::new("events caught up with", told.fetched as f64, ""),
        Figure::new("events in the rooms", found.events as f64, ", the same order on every gateway"),
        Figure::new("reconnects", told.reconnects as f64, ""),
        Figure::new("gateways that gave up starting while NATS was away", ended as f64, ""),
        Figure::new("the longest pause a client saw", pauses.longest_s, "s without an acknowledgement"),
        Figure::new("the median pause of a client in a fault", pauses.median_s, "s"),
        Figure::new("a gateway killed: half of all pauses within", pauses.killed_median_s, "s"),
        Figure::new("a gateway killed: the longest pause", pauses.killed_longest_s, "s"),
        Figure::new("took", took.as_secs_f64(), "s"),
    ]);
    figures
}
