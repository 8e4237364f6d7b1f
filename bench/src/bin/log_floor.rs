//! What the file log costs above the disk: many writers appending to it, against a bare loop of `write` and `fdatasync` of
//! the same bytes, in turns of the same size, on the same disk, in one run.
//!
//! `cargo run --release -p carillon-bench --bin log_floor -- [folder] [groups] [writers]`
#![allow(clippy::print_stdout, reason = "it prints a measurement")]

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use carillon_gateway::log::{AppendError, Batch, FileLog, FileLogConfig, Log, LogStatus};

/// About what a short message takes.
const RECORD_BYTES: usize = 120;
const PARTITIONS: u16 = 64;
/// Enough for the log to find the next ones waiting when it has made some durable.
const GROUPS_AT_ONCE: usize = 4;
/// The two take turns, so that what else the machine does meets both.
const ROUNDS: u64 = 5;
/// The log prepares its files outside the measured path, so the floor's file is written before as well.
const FLOOR_FILE_BYTES: usize = 64 << 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let groups: u64 = args.next().map_or(Ok(200_000), |arg| arg.parse())?;
    let writers: u16 = args.next().map_or(Ok(PARTITIONS), |arg| arg.parse())?;
    let folder = folder.join(format!("carillon-log-floor-{}", std::process::id()));

    let (mut log, mut bare) = (Total::default(), Total::default());
    for round in 0..ROUNDS {
        let folder = folder.join(round.to_string());
        let (time, status) = append(&folder, groups / ROUNDS / u64::from(writers), writers)?;
        let turn_bytes = (status.bytes_written / status.syncs) as usize;
        bare.add(write_bare(&folder, status.syncs, turn_bytes)?, &status);
        log.add(time, &status);
    }
    std::fs::remove_dir_all(&folder)?;

    println!("{writers} writers, each with {GROUPS_AT_ONCE} groups of {RECORD_BYTES} bytes on their way");
    log.print("log");
    bare.print("bare write + fdatasync");
    println!("{:<24} {:.2}", "log / bare", bare.time.as_secs_f64() / log.time.as_secs_f64());
    Ok(())
}

#[derive(Default)]
struct Total {
    time: Duration,
    groups: u64,
    syncs: u64,
    bytes: u64,
}

impl Total {
    fn add(&mut self, time: Duration, status: &LogStatus) {
        self.time += time;
        self.groups += status.groups;
        self.syncs += status.syncs;
        self.bytes += status.bytes_written;
    }

    fn print(&self, what: &str) {
        let per_second = |count: u64| count as f64 / self.time.as_secs_f64();
        println!(
            "{what:<24} {:>9.0} appends/s  {:>6.1} batches/fdatasync  {:>7.0} fdatasyncs/s  {:>6.1} MB/s",
            per_second(self.groups),
            self.groups as f64 / self.syncs as f64,
            per_second(self.syncs),
            per_second(self.bytes) / 1e6,
        );
    }
}

fn append(
    folder: &Path,
    groups_each: u64,
    writers: u16,
) -> Result<(Duration, LogStatus), Box<dyn std::error::Error>> {
    let log = Arc::new(FileLog::open(FileLogConfig::new(folder, writers))?);
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let begun = Instant::now();
    runtime.block_on(async {
        let start = |partition| tokio::spawn(append_in_turn(log.clone(), partition, groups_each));
        let writers: Vec<_> = (0..writers).map(start).collect();
        for writer in writers {
            writer.await??;
        }
        Ok::<(), Box<dyn std::error::Error>>(())
    })?;
    Ok((begun.elapsed(), log.status()))
}

/// One writer: has a partition to itself, and keeps some groups on their way.
async fn append_in_turn(log: Arc<FileLog>, partition: u16, groups: u64) -> Result<(), AppendError> {
    let mut on_their_way = VecDeque::new();
    for position in 1..=groups {
        on_their_way.push_back(log.append(vec![Batch {
            partition,
            position,
            records: vec![7; RECORD_BYTES],
        }]));
        if on_their_way.len() == GROUPS_AT_ONCE
            && let Some(oldest) = on_their_way.pop_front()
        {
            oldest.await?;
        }
    }
    for group in on_their_way {
        group.await?;
    }
    Ok(())
}

fn write_bare(folder: &Path, turns: u64, turn_bytes: usize) -> io::Result<Duration> {
    let file = File::create(folder.join("floor"))?;
    file.write_all_at(&vec![0; FLOOR_FILE_BYTES], 0)?;
    file.sync_all()?;
    let turn = vec![7; turn_bytes];
    let begun = Instant::now();
    for index in 0..turns as usize {
        let offset = index * turn_bytes % (FLOOR_FILE_BYTES - turn_bytes);
        file.write_all_at(&turn, offset as u64)?;
        file.sync_data()?;
    }
    Ok(begun.elapsed())
}
