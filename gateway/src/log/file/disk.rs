//! What the file log asks of a disk, so that tests can put a failing or crashing one in its place.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::log::LogError;

/// How many bytes of a new file are written, and brought to the disk, at a time.
const ZEROES_AT_ONCE: usize = 512 << 10;
/// The rest between two such pieces. A whole segment at once keeps the disk busy for tens of milliseconds, and every
/// `fdatasync` of the log in that time waits behind it.
const REST: Duration = Duration::from_millis(10);

/// A folder of segments.
pub trait Disk: Send + Sync + 'static {
    /// The names of its files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// An existing file, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// A new file of `bytes` zeroes, replacing an old one; room for them is taken now, not when they are written.
    /// While `has_time`, it is made in pieces with rests, so that others' writes do not wait behind a whole file.
    fn create(&self, name: &str, bytes: u64, has_time: &dyn Fn() -> bool) -> io::Result<Box<dyn DiskFile>>;
    /// Renames a file; durable when it returns.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Deletes a file; durable when it returns. One that is not there is no error.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// What to call a file in a message.
    fn describe(&self, name: &str) -> String;
}

/// A segment's file.
pub trait DiskFile: Send + Sync {
    /// How long it is.
    fn size(&self) -> io::Result<u64>;
    /// Reads some bytes from `offset` on; 0 at the end.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes some of the bytes at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Makes all that was written, and the length, survive a power cut.
    fn sync(&self) -> io::Result<()>;
    /// Turns everything from `offset` on into zeroes, keeping the length.
    fn clear_from(&self, offset: u64) -> io::Result<()>;
}

impl dyn DiskFile {
    /// Writes all of the bytes.
    pub(super) fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => (bytes, offset) = (&bytes[written..], offset + written as u64),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads up to `len` bytes, less only where the file ends.
    pub(super) fn read_up_to(&self, len: usize, mut offset: u64) -> io::Result<Vec<u8>> {
        let len = (self.size()?.saturating_sub(offset) as usize).min(len);
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match self.read_at(&mut bytes[filled..], offset) {
                Ok(0) => break,
                Ok(read) => (filled, offset) = (filled + read, offset + read as u64),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

/// Whether the error means that there is no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

/// A real folder.
pub(super) struct Directory {
    path: PathBuf,
}

/// Keeps other processes out of a folder until dropped.
pub(super) struct DirectoryLock(#[expect(dead_code, reason = "held for its lock")] File);

impl Directory {
    /// Makes the folder where there is none, and locks it.
    pub(super) fn open(path: &Path) -> Result<(Self, DirectoryLock), LogError> {
        let failed = |source| LogError::Io { place: path.display().to_string(), source };
        fs::create_dir_all(path).map_err(failed)?;
        let lock = File::create(path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok((Self { path: path.to_owned() }, DirectoryLock(lock))),
            Err(TryLockError::WouldBlock) => Err(LogError::Locked(path.display().to_string())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Disk for Directory {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().into_string()));
        // A name that is not text is not ours.
        Ok(names.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(File::options().read(true).write(true).open(self.path.join(name))?))
    }

    fn create(&self, name: &str, bytes: u64, has_time: &dyn Fn() -> bool) -> io::Result<Box<dyn DiskFile>> {
        let path = self.path.join(name);
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
        fill(&file, bytes, has_time).inspect_err(|_| _ = fs::remove_file(&path))?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))?;
        self.sync()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.sync(),
        }
    }

    fn describe(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }
}

/// Takes the room at once where the file system can, so that a full disk is noticed before it is filled, and
/// then writes the zeroes: blocks that were written before need no metadata when they are written again.
fn fill(mut file: &File, bytes: u64, has_time: &dyn Fn() -> bool) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    let zeroes = vec![0; ZEROES_AT_ONCE];
    let mut left = bytes as usize;
    while left > 0 {
        left -= file.write(&zeroes[..left.min(ZEROES_AT_ONCE)])?;
        if left > 0 && has_time() {
            file.sync_data()?;
            thread::sleep(REST);
        }
    }
    Ok(())
}

impl DiskFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        FileExt::write_at(self, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn clear_from(&self, offset: u64) -> io::Result<()> {
        // Cutting needs no room, where overwriting may: a file system that copies on write can be full.
        let len = self.metadata()?.len();
        self.set_len(offset)?;
        self.set_len(len)
    }
}
