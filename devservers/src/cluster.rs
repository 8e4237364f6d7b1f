//! `carillon-devservers cluster`: NATS servers and gateways on this machine, and a table of who owns what.

mod show;
mod watch;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use carillon_devservers::gateway::{self, Gateway, GatewayConfig};
use carillon_devservers::nats::{Nats, NatsConfig};
use carillon_devservers::{find, ports};
use clap::Args;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use self::show::Screen;
use self::watch::Watch;

/// How often gateways are asked how they are.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// How long the gateways may take until each has its share.
const SETTLING: Duration = Duration::from_secs(60);

/// How a local cluster is to be.
#[derive(Args)]
pub(crate) struct ClusterArgs {
    /// Gateways.
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    gateways: u16,
    /// NATS servers: 1, or 3 of which one may be lost.
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = one_or_three)]
    nats_servers: usize,
    /// Port of the first gateway on 127.0.0.1; the others have the next ones. Without it, ports that are free.
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Where data and logs are; they stay, and the next cluster there goes on with them. Without it, a temporary folder that goes
    /// with the cluster.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// More arguments for each gateway, as for `carillon serve`.
    #[arg(last = true, value_name = "ARGS")]
    serve: Vec<OsString>,
}

fn one_or_three(text: &str) -> Result<usize, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("1 or 3: JetStream needs a majority".to_owned()),
    }
}

/// What runs. Stopped in order by [`Cluster::stop`]; dropped, in the order of the fields.
struct Cluster {
    gateways: Vec<Gateway>,
    nats: Nats,
    program: PathBuf,
    folder: Folder,
}

enum Folder {
    Temporary(TempDir),
    Given(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Given(folder) => folder,
        }
    }
}

/// Starts a cluster, shows it until Ctrl-C, and stops it.
pub(crate) fn run(args: &ClusterArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // From the beginning: whoever presses Ctrl-C while it starts wants it stopped in order, too.
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let mut screen = Screen::new(std::io::stdout().is_terminal());
        let cluster = Cluster::start(args, &mut screen)?;
        screen.introduce(&cluster);
        let mut watch = Watch::new(cluster.gateways.len());
        let mut cluster = cluster;
        let (started, mut ticks) = (Instant::now(), tokio::time::interval(ASK_EVERY));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                _ = hangup.recv() => break,
                _ = ticks.tick() => {
                    watch.look(&mut cluster.gateways)?;
                    watch.note_settled(started);
                    if watch.was_never_settled() {
                        cluster.has_not_failed()?;
                        ensure!(started.elapsed() < SETTLING, "the gateways do not settle; their logs are in {}", cluster.folder.path().display());
                    }
                    screen.show(&mut watch);
                }
            }
        }
        cluster.stop(&mut screen)
    })
}

impl Cluster {
    fn start(args: &ClusterArgs, screen: &mut Screen) -> anyhow::Result<Self> {
        // Before anything is started: what is missing is said at once.
        find::nats_server()?;
        let program = gateway::program()?;
        let folder = match &args.folder {
            None => Folder::Temporary(tempfile::Builder::new().prefix("carillon-cluster-").tempdir()?),
            Some(folder) => {
                let failed = || format!("cannot write in {}", folder.display());
                std::fs::create_dir_all(folder).with_context(failed)?;
                Folder::Given(folder.canonicalize().with_context(failed)?)
            }
        };
        screen.say(format_args!("starting {} nats-server(s) …", args.nats_servers));
        let nats = NatsConfig {
            servers: args.nats_servers,
            folder: Some(folder.path().to_owned()),
            ..NatsConfig::default()
        };
        let mut cluster = Self { gateways: Vec::new(), nats: Nats::start_as(&nats)?, program, folder };
        screen.say(format_args!("starting {} gateway(s) …", args.gateways));
        let configs = (0..args.gateways).map(|number| cluster.gateway(args, number));
        let configs = configs.collect::<anyhow::Result<Vec<_>>>()?;
        let data: Vec<PathBuf> = configs.iter().map(|config| config.folder.join(&config.name)).collect();
        gateway::share_development_key(&data)?;
        for config in configs {
            cluster.gateways.push(Gateway::start(config)?);
        }
        Ok(cluster)
    }

    fn gateway(&self, args: &ClusterArgs, number: u16) -> anyhow::Result<GatewayConfig> {
        let port = match args.port {
            None => ports::free::<1>()?[0],
            Some(first) => first.checked_add(number).context("there is no port above 65535")?,
        };
        let mut all: Vec<OsString> = vec!["--nats".into(), self.nats.urls().join(",").into()];
        all.extend(["--nats-replicas".into(), args.nats_servers.to_string().into()]);
        all.extend(args.serve.iter().cloned());
        Ok(GatewayConfig {
            program: self.program.clone(),
            name: format!("gateway-{}", number + 1),
            port,
            folder: self.folder.path().to_owned(),
            args: all,
        })
    }

    /// A gateway that ends before the cluster was ever there has a reason, which stands in its log.
    fn has_not_failed(&mut self) -> anyhow::Result<()> {
        for gateway in &mut self.gateways {
            if let Some(ended) = gateway.server.ended()? {
                anyhow::bail!("{} ended at once ({ended}):\n{}", gateway.name(), gateway.server.last_words());
            }
        }
        Ok(())
    }

    /// Gateways first, one after the other, so that each hands over to the next; then NATS.
    fn stop(mut self, screen: &mut Screen) -> anyhow::Result<()> {
        screen.end();
        for gateway in &mut self.gateways {
            if gateway.server.ended()?.is_some() {
                continue;
            }
            let begun = Instant::now();
            gateway.server.stop()?;
            screen.say(format_args!("{} stopped ({:.1} s)", gateway.name(), begun.elapsed().as_secs_f64()));
        }
        for server in self.nats.servers() {
            let begun = Instant::now();
            server.stop()?;
            screen.say(format_args!("{} stopped ({:.1} s)", server.name(), begun.elapsed().as_secs_f64()));
        }
        match &self.folder {
            Folder::Temporary(_) => screen.say(format_args!("all stopped; its data is gone")),
            Folder::Given(folder) => {
                screen.say(format_args!("all stopped; its data is in {}", folder.display()))
            }
        }
        Ok(())
    }
}
