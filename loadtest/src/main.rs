//! The program `carillon-loadtest`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use carillon_loadtest::report::{Table, html};
use carillon_loadtest::scenario::{
    broadcast, capacity, chat, connect, echo, fanout, faults, hold, idle, kills, peers, sends, slow, soak,
    storm,
};
use carillon_loadtest::worker;
use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  carillon-loadtest idle     --start target/release/carillon
  carillon-loadtest hold     --start target/release/carillon --sessions 100000 --gateways 6
  carillon-loadtest connect  --start target/release/carillon --rate 2000
  carillon-loadtest sends    --start target/release/carillon --rate 50000
  carillon-loadtest chat     --start target/release/carillon --ramp 10 --seconds 60 --html chat.html
  carillon-loadtest broadcast --start target/release/carillon --subscribers 5000 --senders 10 --rate 50
  carillon-loadtest slow     --start target/release/carillon --slow-percent 10
  carillon-loadtest soak     --start target/release/carillon --minutes 240 --html soak.html
  carillon-loadtest fanout   --start target/release/carillon --subscribers 10000 --outstanding 16
  carillon-loadtest peers    --start target/release/carillon --nats nats-server --sockudo sockudo
  carillon-loadtest storm    --start target/release/carillon
  carillon-loadtest capacity --start target/release/carillon --cores 8 --memory-gib 16
  carillon-loadtest kills    --start target/release/carillon --rounds 1000
  carillon-loadtest faults   --start target/release/carillon --nats nats-server --faults 200
  carillon-loadtest sends    --address 127.0.0.1:8080 --data carillon-data --rate 1000

Rates are kept whatever the node does, and latencies count from when work was due (no coordinated omission).
Every run checks every client's stream for gaps, repeats and order, and ends with 1 if anything was wrong.";

#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
    /// Write the figures there too, as JSON
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write them there too, as one page with plots of throughput, latencies, memory and processor
    #[arg(long, global = true, value_name = "FILE")]
    html: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Scenario {
    /// What a session costs that does nothing: memory between two sizes
    Idle(idle::Idle),
    /// Very many sessions across several gateway processes, and every one of them is reached
    Hold(hold::Hold),
    /// Sessions that open and end: handshakes a second
    Connect(connect::Connect),
    /// Many small rooms: sends, read markers, typing, reconnects
    Chat(chat::Chat),
    /// One large room at a fixed rate, one sender or many: how long until everybody has it
    Broadcast(broadcast::Broadcast),
    /// A broadcast of which some members read slowly or not at all
    Slow(slow::SlowReaders),
    /// A chat that goes on for hours, and what becomes of the gateway's memory
    Soak(soak::Soak),
    /// One room, many subscribers, against bare writes and other servers in the same run
    Fanout(fanout::Fanout),
    /// WebSocket messages sent back, against other libraries' servers in the same run
    Echo(echo::Echo),
    /// Echo and fan-out against every other server that is there, in one run, as ratios
    Peers(peers::Compared),
    /// Durable sends at a fixed rate, and how long they take
    Sends(sends::Sends),
    /// How many connections and messages a node of given cores and memory holds, from what they cost here
    Capacity(capacity::Capacity),
    /// All clients are cut and come back at once, until the last has caught up
    Storm(storm::Storm),
    /// Kills the node at random moments; afterwards everything acknowledged must be there, once, in one order
    Kills(kills::Kills),
    /// Kills, freezes and cuts off the nodes and NATS servers of a cluster; afterwards everything acknowledged must be there, once, in one order
    Faults(faults::Faults),
    #[command(hide = true)]
    Worker,
    #[command(hide = true)]
    FanoutSide { order: String },
    #[command(hide = true)]
    Floor { hex: String },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("carillon-loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let table = match &cli.scenario {
        Scenario::Idle(idle) => idle::run(idle)?,
        Scenario::Hold(hold) => hold::run(hold)?,
        Scenario::Connect(connect) => connect::run(connect)?,
        Scenario::Chat(chat) => chat::run(chat)?,
        Scenario::Broadcast(broadcast) => broadcast::run(broadcast)?,
        Scenario::Slow(slow) => slow::run(slow)?,
        Scenario::Soak(soak) => soak::run(soak)?,
        Scenario::Fanout(fanout) => fanout::run(fanout)?,
        Scenario::Echo(echo) => echo::run(echo)?,
        Scenario::Peers(compared) => peers::run(compared)?,
        Scenario::Sends(sends) => sends::run(sends)?,
        Scenario::Capacity(capacity) => capacity::run(capacity)?,
        Scenario::Storm(storm) => storm::run(storm)?,
        Scenario::Kills(kills) => kills::run(kills)?,
        Scenario::Faults(faults) => faults::run(faults)?,
        Scenario::Worker => return worker::run(),
        Scenario::FanoutSide { order } => return fanout::side::run(order),
        Scenario::Floor { hex } => return fanout::floor::write(hex),
    };
    show(cli, &table)?;
    match table.broken {
        None => Ok(()),
        Some(fault) => bail!("a promise was broken: {fault}"),
    }
}

#[expect(clippy::print_stdout, reason = "the figures are what the program is for")]
fn show(cli: &Cli, table: &Table) -> anyhow::Result<()> {
    print!("{table}");
    if let Some(path) = &cli.json {
        write(path, &serde_json::to_string_pretty(table)?)?;
    }
    if let Some(path) = &cli.html {
        write(path, &html::page(table))?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
