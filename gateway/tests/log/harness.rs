//! Logs to test, and short words for what is done to them.

use std::sync::Arc;

use carillon_gateway::log::file::disk::Disk;
use carillon_gateway::log::{Batch, FileLog, FileLogConfig, Log, LogError, MemoryLog, Partition, Positions};
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

pub fn read_all(log: &dyn Log) -> Vec<Batch> {
    read_after(log, at(0))
}

/// A log that can be closed and opened again.
pub enum Home {
    File(TempDir),
    Memory(Arc<MemoryLog>),
}

impl Home {
    pub fn file() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    pub fn memory() -> Self {
        Self::Memory(Arc::new(MemoryLog::new(PARTITIONS, 1 << 20)))
    }

    pub fn open(&self) -> Arc<dyn Log> {
        match self {
            Self::File(dir) => Arc::new(FileLog::open(config(dir.path())).unwrap()),
            Self::Memory(log) => log.clone(),
        }
    }
}
