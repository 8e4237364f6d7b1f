//! Logs to test, and short words for what is done to them.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use carillon_devservers::Nats;
use carillon_gateway::log::file::disk::Disk;
use carillon_gateway::log::{
    Batch, FileLog, FileLogConfig, JetStreamConfig, JetStreamLog, Log, LogError, MemoryLog, Partition,
    Positions,
};
use tempfile::TempDir;

use crate::sim_disk::SimDisk;

/// Small, so that a few groups fill a segment.
pub const SEGMENT_BYTES: u64 = 4096;
pub const PARTITIONS: Partition = 4;

/// A batch whose content says which it is. Its length is a multiple of 8 and it ends in a byte that is not zero, so
/// that its frame needs no padding and every byte of it counts.
pub fn batch(partition: Partition, position: u64) -> Batch {
    let records = format!("{:a>40}", format!("partition {partition} position {position} ")).into_bytes();
    Batch { partition, position, records: [records, b"12345678".to_vec()].concat() }
}

/// A batch of so many bytes.
pub fn large(partition: Partition, position: u64, bytes: usize) -> Batch {
    Batch { partition, position, records: vec![b'x'; bytes] }
}

/// The positions of a log with this one partition in use.
pub fn at(position: u64) -> Positions {
    vec![position, 0, 0, 0]
}

pub fn config(dir: &std::path::Path) -> FileLogConfig {
    FileLogConfig { segment_bytes: SEGMENT_BYTES, ..FileLogConfig::new(dir, PARTITIONS) }
}

pub fn open_on(disk: &SimDisk) -> Result<FileLog, LogError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    FileLog::open_on(disk, config("nowhere".as_ref()))
}

/// Everything durable after these positions.
pub fn read_after(log: &dyn Log, after: Positions) -> Vec<Batch> {
    let mut tail = log.tail(after).unwrap();
    let mut all = Vec::new();
    loop {
        match tail.read(100).unwrap() {
            read if read.is_empty() => return all,
            read => all.extend(read),
        }
    }
}

/// The same of a log that others write too, or whose reader is behind: waits until it has read up to `last`.
pub async fn read_until(log: &dyn Log, after: Positions, last: &Positions) -> Vec<Batch> {
    let mut tail = log.tail(after.clone()).unwrap();
    let mut reached = after;
    let mut all = Vec::new();
    while reached != *last {
        tail.more().await;
        for batch in tail.read(1 << 20).unwrap() {
            reached[usize::from(batch.partition)] = batch.position;
            all.push(batch);
        }
    }
    all
}

/// A log of these servers' that is no partition's home yet. Its streams have a replica on each.
pub fn jetstream(nats: &Nats) -> JetStreamConfig {
    let node = RandomState::new().hash_one("node");
    JetStreamConfig {
        replicas: nats.urls().len(),
        trim_rest: Duration::ZERO,
        ..JetStreamConfig::new(nats.urls(), node, PARTITIONS)
    }
}

pub fn read_all(log: &dyn Log) -> Vec<Batch> {
    read_after(log, at(0))
}

/// A log that can be closed and opened again.
pub enum Home {
    File(TempDir),
    Memory(Arc<MemoryLog>),
    JetStream(Nats),
}

impl Home {
    pub fn file() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    pub fn memory() -> Self {
        Self::Memory(Arc::new(MemoryLog::new(PARTITIONS, 1 << 20)))
    }

    pub fn jetstream() -> Self {
        Self::JetStream(Nats::start().unwrap())
    }

    pub fn open(&self) -> Arc<dyn Log> {
        match self {
            Self::File(dir) => Arc::new(FileLog::open(config(dir.path())).unwrap()),
            Self::Memory(log) => log.clone(),
            Self::JetStream(nats) => {
                Arc::new(JetStreamLog::open(JetStreamConfig { take_all: true, ..jetstream(nats) }).unwrap())
            }
        }
    }
}
