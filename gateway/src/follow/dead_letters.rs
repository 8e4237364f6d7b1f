//! Where records go that cannot be archived: a folder for an operator to look at. Each gets two files,
//!
//! ```text
//! <partition>-<position>-<place in the batch>.record    its bytes, as they stood in the log
//! <partition>-<position>-<place in the batch>.reason    why, in a line
//! ```
//!
//! so that setting one aside again changes nothing. The gateway never deletes anything here; `carillon dead-letters --retry` deletes what
//! the store takes after all.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use carillon_protocol::binary::decode_event;
use carillon_storage::{Store, StoreError};

use super::changes::add_changes;
use crate::log::{Batch, Partition, Record};

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

    fn name(&self) -> String {
        let Self { partition, position, index, .. } = self;
        format!("{partition:05}-{position:020}-{index:04}")
    }
}

impl std::fmt::Display for DeadLetter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { partition, position, index, bytes, reason } = self;
        write!(f, "partition {partition}, position {position}, record {index}, {} bytes", bytes.len())?;
        match Record::decode(bytes) {
            Ok(Record::Event { event, .. }) => {
                if let Ok(event) = decode_event(event) {
                    write!(f, ", seq {} of room {} by user {}", event.seq, event.room, event.sender)?;
                }
            }
            Ok(Record::Read { room, user, .. }) => write!(f, ", user {user} has read in room {room}")?,
            Err(_) => {}
        }
        write!(f, ": {reason}")
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
        let DeadLetter { bytes, reason, .. } = letter;
        let name = letter.name();
        self.write(&format!("{name}.record"), bytes)?;
        self.write(&format!("{name}.reason"), format!("{reason}\n").as_bytes())?;
        File::open(&self.dir)?.sync_all()
    }

    /// Those that are there, in order; none where there is no folder.
    pub fn all(&self) -> io::Result<Vec<DeadLetter>> {
        let mut names = Vec::new();
        match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => {
                for entry in entries? {
                    let path = entry?.path();
                    if path.extension() == Some(OsStr::new("record")) {
                        names.extend(path.file_stem().and_then(OsStr::to_str).map(str::to_owned));
                    }
                }
            }
        }
        names.sort();
        let letters = names.into_iter().filter_map(|name| {
            let (partition, position, index) = place(&name)?;
            let bytes = fs::read(self.dir.join(format!("{name}.record")));
            // Without a reason it was not quite set aside, and will be again.
            let reason = fs::read_to_string(self.dir.join(format!("{name}.reason"))).unwrap_or_default();
            let reason = reason.trim_end().to_owned();
            Some(bytes.map(|bytes| DeadLetter { partition, position, index, bytes, reason }))
        });
        letters.collect()
    }

    /// Brings one to the store once more, and deletes it where that takes it. Only for a store that writes by the place in a room's
    /// order, and so knows that this is old.
    pub async fn retry(&self, letter: &DeadLetter, store: &dyn Store) -> Result<(), RetryError> {
        let mut changes = Vec::new();
        add_changes(&letter.bytes, &mut changes)
            .map_err(|error| RetryError::Unreadable(error.to_string()))?;
        store.apply(changes, Vec::new()).await?;
        let name = letter.name();
        fs::remove_file(self.dir.join(format!("{name}.record")))?;
        Ok(fs::remove_file(self.dir.join(format!("{name}.reason")))?)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create(self.dir.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()
    }
}

/// What a name says.
fn place(name: &str) -> Option<(Partition, u64, usize)> {
    let mut parts = name.split('-');
    let place = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(place)
}

/// Why a record stays where it was set aside.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    /// Nobody can read it, still.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// The store does not take it.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// It cannot be deleted: the store has it, and it may be tried again.
    #[error("it is stored, and cannot be deleted here: {0}")]
    Io(#[from] io::Error),
}
