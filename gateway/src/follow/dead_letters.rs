//! Where records go that cannot be archived: a folder for an operator to look at. Each gets two files,
//!
//! ```text
//! <partition>-<position>-<place in the batch>.record    its bytes, as they stood in the log
//! <partition>-<position>-<place in the batch>.reason    why, in a line
//! ```
//!
//! so that setting one aside again changes nothing. Nothing here is ever deleted by the gateway.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use crate::log::{Batch, Partition};

/// A record that could not be archived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// Where it stood.
    pub partition: Partition,
    /// In which batch.
    pub position: u64,
    /// Its place in the batch, from 0.
    pub index: usize,
    /// Its bytes; the whole batch's where it is not known where the record ends.
    pub bytes: Vec<u8>,
    /// Why.
    pub reason: String,
}

impl DeadLetter {
    /// One out of this batch.
    pub fn new(batch: &Batch, index: usize, bytes: &[u8], reason: String) -> Self {
        Self { partition: batch.partition, position: batch.position, index, bytes: bytes.to_vec(), reason }
    }
}

/// The folder.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    dir: PathBuf,
}

impl DeadLetters {
    /// The folder there, which is made when the first record needs it.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Writes the record and the reason; durable when it returns.
    pub fn set_aside(&self, letter: &DeadLetter) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let DeadLetter { partition, position, index, bytes, reason } = letter;
        let name = format!("{partition:05}-{position:020}-{index:04}");
        self.write(&format!("{name}.record"), bytes)?;
        self.write(&format!("{name}.reason"), format!("{reason}\n").as_bytes())?;
        File::open(&self.dir)?.sync_all()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create(self.dir.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()
    }
}
