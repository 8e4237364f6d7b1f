//! A process that appends and prints what was acknowledged is killed at a random moment, again and again, on one folder.
//! Whatever it printed is there.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use carillon_gateway::log::{FileLog, Log};

use crate::harness::{batch, config, read_all};

const ROUNDS: u64 = 20;
const DIR: &str = "CARILLON_TEST_LOG_DIR";

#[test]
fn in_twenty_rounds_on_one_folder() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=ROUNDS {
        let acknowledged = run_and_kill(dir.path(), round * 37 % 101);
        let log = FileLog::open(config(dir.path())).unwrap();
        for (partition, &position) in acknowledged.iter().enumerate() {
            assert!(log.last()[partition] >= position, "round {round}: {:?} < {acknowledged:?}", log.last());
        }
        let mut expected = vec![0; 4];
        for found in read_all(&log) {
            let last: &mut u64 = &mut expected[usize::from(found.partition)];
            *last += 1;
            assert_eq!(found, batch(found.partition, *last));
        }
        assert_eq!(log.last(), expected);
    }
}

/// The last acknowledged positions of a child that was killed once it had printed so many.
fn run_and_kill(dir: &std::path::Path, lines: u64) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "acknowledged_batches_survive_kill_9::child", "--ignored", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut last = vec![0; 4];
    let mut seen = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // The last line may be cut; so is every line of the test harness itself.
        let line = line.unwrap();
        let Some((partition, position)) = line.strip_prefix("+ ").and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        let Some(position) = position.strip_suffix('.') else { continue };
        last[partition.parse::<usize>().unwrap()] = position.parse().unwrap();
        seen += 1;
        if seen == lines + 1 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    last
}

/// Appends for ever, from two threads, and prints `+ partition position.` for each that is acknowledged.
#[test]
#[ignore = "run by the test above"]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let log = FileLog::open(config(dir.as_ref())).unwrap();
    std::thread::scope(|threads| {
        for partition in 0..2 {
            let log = &log;
            threads.spawn(move || append_for_ever(log, partition));
        }
    });
}

fn append_for_ever(log: &FileLog, partition: u16) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut position = log.last()[usize::from(partition)];
    loop {
        position += 1;
        runtime.block_on(log.append(vec![batch(partition, position)])).unwrap();
        std::io::stdout().lock().write_all(format!("+ {partition} {position}.\n").as_bytes()).unwrap();
    }
}
