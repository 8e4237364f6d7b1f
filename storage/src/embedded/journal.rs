//! Cuts the torn end off the newest journal before fjall reads it.
//!
//! After a power failure the pages written last may be missing, alone or together, and read as zeroes. fjall takes
//! some of that for the journal's end and some for corruption, and then does not open. Everything from the first
//! batch that is not whole was written after the last persist (a persist syncs the whole file), so it may go: the
//! archived positions in it go too, and the log still has what it held. Journals before the newest were synced
//! when they were closed.
//!
//! ```text
//! start  1 | items u32 | number u64
//! item   2 | kind u8 | compression u8 | table u64 | key bytes u16 | value bytes u32 | stored bytes u32 | key | value
//! end    3 | xxh3 of the items u64 | "FJL" 3
//! ```
//!
//! Numbers are little-endian. This is fjall 3.1's format; the version is pinned, and
//! `tests/a_torn_journal_keeps_what_was_persisted.rs` notices when it changes.

use std::fs::{self, File};
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const TRAILER: [u8; 4] = *b"FJL\x03";

/// Makes the newest journal of that database end after its last whole batch.
pub(super) fn mend(database: &Path) -> io::Result<()> {
    let Some(path) = newest(database)? else { return Ok(()) };
    let file = File::options().read(true).write(true).open(path)?;
    let whole_bytes = whole_bytes(&file)?;
    if whole_bytes < file.metadata()?.len() {
        file.set_len(whole_bytes)?;
        file.sync_all()?;
    }
    Ok(())
}

fn newest(database: &Path) -> io::Result<Option<PathBuf>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(database)? {
        let path = entry?.path();
        let number =
            path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        journals.extend(number.map(|number| (number, path)));
    }
    Ok(journals.into_iter().max().map(|(_, path)| path))
}

fn whole_bytes(file: &File) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(64 << 10, file);
    let mut bytes = 0;
    loop {
        match batch_bytes(&mut reader) {
            Ok(batch) => bytes += batch,
            Err(e) if matches!(e.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) => {
                return Ok(bytes);
            }
            Err(e) => return Err(e),
        }
    }
}

fn batch_bytes(reader: &mut impl Read) -> io::Result<u64> {
    let [tag, start @ ..] = take::<13>(reader)?;
    require(tag == START)?;
    let items = u32::from_le_bytes([start[0], start[1], start[2], start[3]]);
    let mut hash = Xxh3::new();
    let mut bytes = 13 + 13;
    for _ in 0..items {
        bytes += item_bytes(reader, &mut hash)?;
    }
    let [tag, end @ ..] = take::<13>(reader)?;
    require(tag == END && end[..8] == hash.digest().to_le_bytes() && end[8..] == TRAILER)?;
    Ok(bytes)
}

fn item_bytes(reader: &mut impl Read, hash: &mut Xxh3) -> io::Result<u64> {
    let head = take::<21>(reader)?;
    require(head[0] == ITEM)?;
    hash.write_all(&head)?;
    let key_bytes = u16::from_le_bytes([head[11], head[12]]);
    let stored_bytes = u32::from_le_bytes([head[17], head[18], head[19], head[20]]);
    let rest = u64::from(key_bytes) + u64::from(stored_bytes);
    require(io::copy(&mut reader.take(rest), hash)? == rest)?;
    Ok(21 + rest)
}

fn take<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn require(whole: bool) -> io::Result<()> {
    if whole { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
}
