//! What the log in JetStream costs above JetStream: writers appending to it, against bare publishes of the same payload with
//! the same fencing (`Nats-Expected-Last-Subject-Sequence`) to streams like its own, by turns in one run. Each writer is a
//! partition with one append under way. The servers are three nats-servers with a replica each and `sync_interval: always`,
//! on the same cores.
//!
//! `cargo run --release -p carillon-bench --bin jetstream -- [seconds] [writers] [bytes] [streams]`
#![allow(clippy::print_stdout, reason = "it prints a measurement")]

use std::cell::RefCell;
use std::time::{Duration, Instant};

use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use async_nats::jetstream::{self, Context};
use carillon_devservers::Nats;
use carillon_gateway::log::{Batch, JetStreamConfig, JetStreamLog, Log};
use futures_util::future::join_all;

/// The two take turns, so that what else the machine does meets both.
const ROUNDS: u32 = 4;
const REPLICAS: usize = 3;
type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let seconds: u32 = args.next().map_or(Ok(20), |arg| arg.parse())?;
    let writers: u16 = args.next().map_or(Ok(64), |arg| arg.parse())?;
    let bytes: usize = args.next().map_or(Ok(8192), |arg| arg.parse())?;
    let streams: u16 = args.next().map_or(Ok(2), |arg| arg.parse())?;

    let nats = Nats::start_three()?;
    let config =
        JetStreamConfig { streams, replicas: REPLICAS, ..JetStreamConfig::new(nats.urls(), 1, writers) };
    let log = JetStreamLog::open(JetStreamConfig { take_all: true, ..config })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bare = runtime.block_on(Bare::open(&nats, streams, writers))?;
    let turn = Duration::from_secs(seconds.into()) / (2 * ROUNDS);

    let (mut log_total, mut bare_total) = (Total::default(), Total::default());
    let mut ratios = Vec::new();
    let mut positions = vec![0; usize::from(writers)];
    let mut sequences = vec![0; usize::from(writers)];
    // The first of each is to get going.
    for round in 0..=ROUNDS {
        let turn = if round == 0 { turn / 2 } else { turn };
        let ours = runtime.block_on(append(&log, turn, bytes, &mut positions))?;
        let theirs = runtime.block_on(bare.publish(turn, bytes, &mut sequences))?;
        if round > 0 {
            ratios.push(ours.per_second() / theirs.per_second());
            log_total.add(ours);
            bare_total.add(theirs);
        }
    }
    println!(
        "{writers} writers, {bytes} bytes each time, {streams} streams of {REPLICAS} replicas, sync always"
    );
    log_total.print("log");
    bare_total.print("bare publish");
    println!("{:<14} {:.2}", "log / bare", log_total.per_second() / bare_total.per_second());
    let by_round: Vec<_> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    println!("{:<14} {}", "by rounds", by_round.join(" "));
    println!("refused though nobody else wrote, and sent again by the bare writers: {}", bare_total.refused);
    Ok(())
}

#[derive(Default)]
struct Total {
    time: Duration,
    latencies: Vec<Duration>,
    refused: u64,
}

impl Total {
    fn add(&mut self, other: Total) {
        self.time += other.time;
        self.latencies.extend(other.latencies);
        self.refused += other.refused;
    }

    fn per_second(&self) -> f64 {
        self.latencies.len() as f64 / self.time.as_secs_f64()
    }

    fn print(&mut self, what: &str) {
        self.latencies.sort_unstable();
        let at = |share: f64| {
            let index = (self.latencies.len() as f64 * share) as usize;
            self.latencies.get(index).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
        };
        let (p50, p99) = (at(0.5), at(0.99));
        println!("{what:<14} {:>7.0} appends/s  p50 {p50:>5.1} ms  p99 {p99:>6.1} ms", self.per_second());
    }
}

/// Appends to every partition, one at a time, until the time is over.
async fn append(
    log: &JetStreamLog,
    turn: Duration,
    bytes: usize,
    positions: &mut [u64],
) -> Result<Total, Failure> {
    let began = Instant::now();
    let latencies = RefCell::new(Vec::new());
    let writers = positions.iter_mut().enumerate().map(|(partition, position)| {
        let latencies = &latencies;
        async move {
            while began.elapsed() < turn {
                let asked = Instant::now();
                let batch =
                    Batch { partition: partition as u16, position: *position + 1, records: vec![7; bytes] };
                log.append(vec![batch]).await?;
                *position += 1;
                latencies.borrow_mut().push(asked.elapsed());
            }
            Ok::<_, Failure>(())
        }
    });
    join_all(writers).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(Total { time: began.elapsed(), latencies: latencies.into_inner(), refused: 0 })
}

/// Publishes as directly as async-nats can.
struct Bare {
    jetstream: Context,
    subjects: Vec<String>,
}

impl Bare {
    async fn open(nats: &Nats, streams: u16, writers: u16) -> Result<Self, Failure> {
        let jetstream = jetstream::new(async_nats::connect(nats.urls()).await?);
        for stream in 0..streams {
            let config = Config {
                name: format!("bare-{stream}"),
                subjects: vec![format!("bare.{stream}.>")],
                num_replicas: REPLICAS,
                discard: DiscardPolicy::New,
                max_bytes: 2 << 30,
                allow_direct: true,
                ..Config::default()
            };
            jetstream.create_stream(config).await?;
        }
        let subjects = (0..writers).map(|writer| format!("bare.{}.{writer}", writer % streams)).collect();
        Ok(Self { jetstream, subjects })
    }

    async fn publish(&self, turn: Duration, bytes: usize, sequences: &mut [u64]) -> Result<Total, Failure> {
        let began = Instant::now();
        let total = RefCell::new(Total::default());
        let writers = self.subjects.iter().zip(sequences).map(|(subject, sequence)| {
            let (total, jetstream) = (&total, &self.jetstream);
            async move {
                while began.elapsed() < turn {
                    let asked = Instant::now();
                    let message = PublishMessage::build()
                        .payload(vec![7; bytes].into())
                        .expected_last_subject_sequence(*sequence);
                    match jetstream.send_publish(subject.clone(), message).await?.await {
                        Ok(ack) => {
                            *sequence = ack.sequence;
                            total.borrow_mut().latencies.push(asked.elapsed());
                        }
                        // It has two numbers, of which async-nats knows one.
                        Err(error) if error.to_string().contains("wrong last sequence") => {
                            total.borrow_mut().refused += 1;
                        }
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok::<_, Failure>(())
            }
        });
        join_all(writers).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(Total { time: began.elapsed(), ..total.into_inner() })
    }
}
