//! `sends`: durable sends at a fixed rate into many rooms, and how long each takes to be acknowledged.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;

use super::Target;
use crate::cluster::{Cluster, ClusterConfig};
use crate::drive::Mix;
use crate::drive::lead::{self, Plan, PlannedRooms, Run};
use crate::gateway::Gateway;
use crate::report::{Figure, Table};

/// What to drive.
#[derive(Args, Clone, Debug)]
pub struct Sends {
    #[command(flatten)]
    pub(super) target: Target,
    /// Sends a second, in all
    #[arg(long, default_value_t = 50_000)]
    pub(super) rate: u64,
    /// Sessions, in all
    #[arg(long, default_value_t = 500)]
    pub(super) sessions: u64,
    /// Rooms, in all
    #[arg(long, default_value_t = 2_000)]
    pub(super) rooms: u64,
    /// Members of each room, all of them connected
    #[arg(long, default_value_t = 2)]
    pub(super) members: u64,
    /// Bytes of each text
    #[arg(long, default_value_t = 64)]
    pub(super) bytes: usize,
    /// Start so many of them, and NATS servers that keep their log together; clients are spread over them
    #[arg(long, requires = "start", value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(super) gateways: Option<u8>,
    /// NATS servers for `--gateways`, and replicas of the log
    #[arg(long, default_value = "3", value_parser = ["1", "3"])]
    pub(super) servers: String,
    /// nats-server for `--gateways`; without it, what `NATS_SERVER` names, or what is in `PATH`
    #[arg(long, value_name = "PROGRAM")]
    pub(super) nats: Option<PathBuf>,
    #[command(flatten)]
    pub(super) run: Run,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was driven and seen.
    pub drive: lead::Outcome,
    /// Messages that one `fdatasync` made durable.
    pub per_sync: f64,
    /// Bytes that the log wrote for a message.
    pub log_bytes: f64,
    /// The gateway's processor time, in microseconds a send with its deliveries; nothing where it is not ours.
    pub cpu_us: Option<f64>,
}

/// Runs it.
pub fn run(sends: &Sends) -> anyhow::Result<Table> {
    let outcome = measure(sends)?;
    let drive = &outcome.drive;
    drive.measured.must_be_clean()?;
    let [half, most, nearly_all] = [0.5, 0.99, 0.999].map(|quantile| drive.ack_ms(quantile));
    let mut figures = vec![
        Figure::new("asked for", sends.rate as f64, "durable sends/s"),
        Figure::new("acknowledged", drive.per_s, "durable sends/s").at_least(0.99 * sends.rate as f64),
        Figure::new("half within", half, "ms from when it was due"),
        Figure::new("99 % within", most, "ms").at_most(sends.goal_ms()),
        Figure::new("99.9 % within", nearly_all, "ms"),
        Figure::new("the slowest", drive.acks_us.max() as f64 / 1000.0, "ms"),
        Figure::new("messages per fsync", outcome.per_sync, ""),
    ];
    if let Some(cpu_us) = outcome.cpu_us {
        let what = "µs a send with its deliveries";
        figures.push(Figure::new("the gateway's processor time", cpu_us, what));
    }
    let checked = "without a gap, a repeat or a wrong order";
    figures.push(Figure::new("events delivered and checked", drive.measured.events as f64, checked));
    Ok(Table::new("sends", figures).with_moments(outcome.drive.moments))
}

/// Drives it and says what it came to, faults included.
pub fn measure(sends: &Sends) -> anyhow::Result<Outcome> {
    // Stopped at the end, after everything is measured.
    let cluster = sends.cluster()?;
    let gateway = match &cluster {
        Some(cluster) => cluster.gateway()?,
        None => sends.target.gateway()?,
    };
    let plan = Plan {
        sessions: sends.sessions,
        rooms: PlannedRooms::Small { count: sends.rooms, members: sends.members },
        mix: Mix { sends_per_s: sends.rate as f64, ..Mix::default() },
        bytes: sends.bytes,
        slow: None,
    };
    let before = Log::of(&gateway)?;
    let drive = lead::drive(&gateway, sends.target.transport, &sends.run, &plan)?;
    let after = Log::of(&gateway)?;
    let messages = drive.begun() as f64;
    Ok(Outcome {
        per_sync: messages / (after.syncs - before.syncs),
        log_bytes: (after.bytes_written - before.bytes_written) / messages,
        cpu_us: drive.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / messages),
        drive,
    })
}

impl Sends {
    fn cluster(&self) -> anyhow::Result<Option<Cluster>> {
        let (Some(gateways), Some(program)) = (self.gateways, &self.target.start) else { return Ok(None) };
        if self.target.is_tls() {
            bail!("a cluster is driven without TLS");
        }
        let config = ClusterConfig {
            program: std::path::absolute(program)?,
            nats: self.nats.clone(),
            gateways: gateways.into(),
            servers: self.servers.parse()?,
            flags: self.target.flags.clone(),
            has_ways: false,
        };
        Cluster::start(&config).map(Some)
    }

    /// The time that nearly all sends should be acknowledged within, in milliseconds.
    fn goal_ms(&self) -> f64 {
        if self.gateways.is_some() { 60.0 } else { 20.0 }
    }
}

/// What the gateway's log counts.
struct Log {
    syncs: f64,
    bytes_written: f64,
}

impl Log {
    fn of(gateway: &Gateway) -> anyhow::Result<Self> {
        let stats = gateway.stats_of_all()?;
        let count = |of: &str| {
            let counts = stats.iter().map(|stats| stats["log"][of].as_f64());
            let count: Option<f64> = counts.sum();
            count.with_context(|| format!("the gateway does not count its log's {of}"))
        };
        Ok(Self { syncs: count("syncs")?, bytes_written: count("bytes_written")? })
    }
}
