//! `carillon-devservers cluster`: a whole cluster on a developer's machine. `carillon-devservers nats --servers 3`: real servers,
//! for what needs some. Both say where everything is, and stop it at Ctrl-C.
#![allow(clippy::print_stdout, reason = "it prints where the servers are")]

mod cluster;

use std::process::ExitCode;

use carillon_devservers::nats::{Nats, NatsConfig};
use carillon_devservers::{Cql, CqlConfig};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Starts a cluster, or servers for one, on this machine; says where they are, and stops them at Ctrl-C.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    servers: Servers,
}

#[derive(Subcommand)]
enum Servers {
    /// Three NATS servers and three gateways on this machine, and a table of who is the home of what. Needs nats-server.
    Cluster(cluster::ClusterArgs),
    /// nats-server with JetStream.
    Nats {
        /// How many: 1, or 3 that keep JetStream together.
        #[arg(long, default_value_t = 1)]
        servers: usize,
        /// Let writes reach the disk within two minutes, as NATS does by default, not before they are acknowledged.
        #[arg(long)]
        lazy_sync: bool,
    },
    /// ScyllaDB in a container, where there is an engine for one; otherwise Apache Cassandra, on Java 17.
    Cql {
        /// Memory for the server's heap, in mebibytes; Cassandra takes as much again beside it.
        #[arg(long, default_value_t = CqlConfig::default().heap_mib)]
        heap_mib: u32,
        /// Apache Cassandra in any case.
        #[arg(long)]
        cassandra: bool,
    },
}

fn main() -> ExitCode {
    match run(Args::parse().servers) {
        Ok(()) => ExitCode::SUCCESS,
        // With its causes and without a backtrace: it is for whoever asked.
        Err(error) => {
            eprintln!("carillon-devservers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(servers: Servers) -> anyhow::Result<()> {
    match servers {
        Servers::Cluster(args) => cluster::run(&args),
        Servers::Nats { servers, lazy_sync } => {
            let config = NatsConfig { servers, sync_always: !lazy_sync, ..NatsConfig::default() };
            let nats = Nats::start_as(&config)?;
            println!("NATS:     {}", nats.urls().join(","));
            println!("monitors: {}", nats.monitors().join(" "));
            println!("folder:   {}", nats.folder().display());
            until_stopped()
        }
        Servers::Cql { heap_mib, cassandra } => {
            let cql = Cql::start_as(&CqlConfig { heap_mib, cassandra, ..CqlConfig::default() })?;
            println!("{}", cql.name());
            println!("CQL:    {}", cql.address());
            println!("folder: {}", cql.folder().display());
            until_stopped()
        }
    }
}

/// Returns at Ctrl-C or SIGTERM; what was started is stopped as it is dropped.
fn until_stopped() -> anyhow::Result<()> {
    println!("Ctrl-C stops them.");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            pressed = tokio::signal::ctrl_c() => pressed?,
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}
