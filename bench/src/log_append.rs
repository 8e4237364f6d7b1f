//! The log's writer: many groups that wait are one write and one `fdatasync`.

use std::io;
use std::path::{Path, PathBuf};

use carillon_gateway::log::{Batch, FileLog, FileLogConfig, Log, Positions};
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// About what a short message takes.
const RECORD_BYTES: usize = 120;
const PARTITIONS: u16 = 64;
/// Files in memory, where there are such.
const IN_MEMORY: &str = "/dev/shm";

/// Where the log is put: in memory, so that the writer is measured and not a disk; else among temporary files.
pub fn place() -> PathBuf {
    let in_memory = Path::new(IN_MEMORY);
    if in_memory.is_dir() { in_memory.to_owned() } else { std::env::temp_dir() }
}

/// A log in a folder of its own.
pub struct LogAppend {
    log: FileLog,
    positions: Positions,
    runtime: Runtime,
    _folder: TempDir,
}

impl LogAppend {
    /// An empty log in a new folder in `place`.
    pub fn new(place: &Path) -> io::Result<Self> {
        let folder = TempDir::with_prefix_in("carillon-log-append", place)?;
        let config = FileLogConfig::new(folder.path(), PARTITIONS);
        let log = FileLog::open(config).map_err(io::Error::other)?;
        let runtime = Builder::new_current_thread().build()?;
        Ok(Self { log, positions: vec![0; usize::from(PARTITIONS)], runtime, _folder: folder })
    }

    /// Appends so many groups of a short record each, to all partitions in turn, waits until all of them are durable, and
    /// lets the log forget them.
    pub fn append(&mut self, groups: usize) {
        let appends = (0..groups).map(|group| {
            let partition = group % self.positions.len();
            self.positions[partition] += 1;
            let (partition, position) = (partition as u16, self.positions[partition]);
            self.log.append(vec![Batch { partition, position, records: vec![0x5a; RECORD_BYTES] }])
        });
        let appends: Vec<_> = appends.collect();
        let outcomes = self.runtime.block_on(join_all(appends));
        assert!(outcomes.iter().all(Result::is_ok), "{:?}", outcomes.iter().find(|outcome| outcome.is_err()));
        self.log.trim(&self.positions);
    }

    /// Groups that one `fdatasync` made durable, on average so far.
    pub fn groups_a_sync(&self) -> f64 {
        let status = self.log.status();
        status.groups as f64 / status.syncs.max(1) as f64
    }
}
