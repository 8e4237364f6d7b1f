//! A disk in memory that fills up, fails, holds a sync back, and loses power: then of everything written since a file's
//! last sync, any sectors may be there and any others not.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use carillon_gateway::log::file::disk::{Disk, DiskFile};

/// What a disk writes all or none of.
const SECTOR: usize = 512;

#[derive(Clone, Default)]
pub struct SimDisk(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, Arc<Mutex<Content>>>,
    faults: Faults,
    syncs_held: bool,
    syncs_waiting: u32,
}

/// Lets syncs go on when it is dropped: also when a test fails, whose log then waits for its writer.
pub struct HeldSyncs(SimDisk);

impl Drop for HeldSyncs {
    fn drop(&mut self) {
        self.0.state().syncs_held = false;
        self.0.0.changed.notify_all();
    }
}

/// What shall go wrong.
#[derive(Clone, Copy, Default)]
pub struct Faults {
    /// Only so many more bytes fit.
    pub free_bytes: Option<usize>,
    /// Every write takes at most so many bytes at once.
    pub write_bytes_max: Option<usize>,
    /// Every sync fails.
    pub sync_fails: bool,
    /// The power goes after so many more changes.
    pub changes_left: Option<u32>,
}

#[derive(Default, Clone)]
struct Content {
    durable: Vec<u8>,
    now: Vec<u8>,
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Create { bytes: usize },
    Write { offset: usize, bytes: Vec<u8> },
    Clear { offset: usize },
}

impl SimDisk {
    pub fn set(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// A file's bytes as the system sees them.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        self.state().files[name].lock().unwrap().now.clone()
    }

    /// A copy of the disk on which one file has other bytes.
    pub fn with(&self, name: &str, bytes: Vec<u8>) -> Self {
        let copy = self.after_power_cut(|| true);
        let content = Content { durable: bytes.clone(), now: bytes, unsynced: Vec::new() };
        copy.state().files.insert(name.to_owned(), Arc::new(Mutex::new(content)));
        copy
    }

    /// Changes bytes behind the log's back.
    pub fn overwrite(&self, name: &str, offset: usize, bytes: &[u8]) {
        self.state().files[name].lock().unwrap().now[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// Deletes a file behind the log's back.
    pub fn delete(&self, name: &str) {
        self.state().files.remove(name);
    }

    pub fn names(&self) -> Vec<String> {
        self.state().files.keys().cloned().collect()
    }

    /// The disk as the next process finds it: unsynced changes are visible, and still unsynced.
    pub fn after_kill(&self) -> Self {
        let copy = Self::default();
        for (name, content) in &self.state().files {
            let content = content.lock().unwrap().clone();
            copy.state().files.insert(name.clone(), Arc::new(Mutex::new(content)));
        }
        copy
    }

    /// The disk as the next start finds it; `keep` is asked about every sector that was not synced.
    pub fn after_power_cut(&self, mut keep: impl FnMut() -> bool) -> Self {
        let copy = Self::default();
        for (name, content) in &self.state().files {
            let content = content.lock().unwrap().after_power_cut(&mut keep);
            copy.state().files.insert(name.clone(), Arc::new(Mutex::new(content)));
        }
        copy
    }

    /// From now on no sync returns before what this returns is dropped.
    pub fn hold_syncs(&self) -> HeldSyncs {
        self.state().syncs_held = true;
        HeldSyncs(self.clone())
    }

    /// Returns once a sync is being held.
    pub fn wait_for_sync(&self) {
        let waiting = self.0.changed.wait_while(self.state(), |state| state.syncs_waiting == 0);
        drop(waiting.unwrap());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    /// Counts a change, or says that the power is gone. What was written but not synced by then may be there or not.
    fn change(&self) -> io::Result<()> {
        match &mut self.state().faults.changes_left {
            Some(0) => Err(io::Error::other("no power")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Takes room for up to so many bytes.
    fn take_room(&self, bytes: usize) -> io::Result<usize> {
        let faults = &mut self.state().faults;
        let bytes = bytes.min(faults.write_bytes_max.unwrap_or(bytes));
        let taken = bytes.min(faults.free_bytes.unwrap_or(bytes));
        faults.free_bytes = faults.free_bytes.map(|free| free - taken);
        if taken == 0 { Err(ErrorKind::StorageFull.into()) } else { Ok(taken) }
    }
}

impl Content {
    fn apply(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.unsynced.push(change);
    }

    fn after_power_cut(&self, keep: &mut impl FnMut() -> bool) -> Self {
        let mut bytes = self.durable.clone();
        for sector in self.unsynced.iter().flat_map(Change::sectors).filter(|_| keep()) {
            sector.apply(&mut bytes);
        }
        Self { durable: bytes.clone(), now: bytes, unsynced: Vec::new() }
    }
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Create { bytes } => *file = vec![0; *bytes],
            Self::Write { offset, bytes } => {
                file.resize(file.len().max(offset + bytes.len()), 0);
                file[*offset..offset + bytes.len()].copy_from_slice(bytes);
            }
            Self::Clear { offset } => file.iter_mut().skip(*offset).for_each(|byte| *byte = 0),
        }
    }

    /// The change in pieces that happen or do not.
    fn sectors(&self) -> Vec<Change> {
        let Self::Write { offset, bytes } = self else { return vec![self.clone()] };
        let (first, rest) = bytes.split_at(bytes.len().min(SECTOR - offset % SECTOR));
        let mut sectors = vec![Self::Write { offset: *offset, bytes: first.to_vec() }];
        for (index, sector) in rest.chunks(SECTOR).enumerate() {
            sectors
                .push(Self::Write { offset: offset + first.len() + index * SECTOR, bytes: sector.to_vec() });
        }
        sectors
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let content = self.state().files.get(name).cloned().ok_or(ErrorKind::NotFound)?;
        Ok(Box::new(SimFile { disk: self.clone(), content }))
    }

    fn create(&self, name: &str, bytes: u64, _has_time: &dyn Fn() -> bool) -> io::Result<Box<dyn DiskFile>> {
        self.change()?;
        if self.state().faults.free_bytes.is_some_and(|free| free < bytes as usize) {
            return Err(ErrorKind::StorageFull.into());
        }
        let mut content = Content::default();
        content.apply(Change::Create { bytes: bytes as usize });
        let content = Arc::new(Mutex::new(content));
        self.state().files.insert(name.to_owned(), content.clone());
        Ok(Box::new(SimFile { disk: self.clone(), content }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change()?;
        let mut state = self.state();
        let content = state.files.remove(from).ok_or(ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change()?;
        self.state().files.remove(name);
        Ok(())
    }

    fn describe(&self, name: &str) -> String {
        format!("sim/{name}")
    }
}

struct SimFile {
    disk: SimDisk,
    content: Arc<Mutex<Content>>,
}

impl DiskFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.content.lock().unwrap().now.len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = self.content.lock().unwrap();
        let rest = content.now.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(bytes.len());
        bytes[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.disk.change()?;
        let taken = self.disk.take_room(bytes.len())?;
        let change = Change::Write { offset: offset as usize, bytes: bytes[..taken].to_vec() };
        self.content.lock().unwrap().apply(change);
        Ok(taken)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.syncs_waiting += 1;
        self.disk.0.changed.notify_all();
        state = self.disk.0.changed.wait_while(state, |state| state.syncs_held).unwrap();
        state.syncs_waiting -= 1;
        let fails = state.faults.sync_fails;
        drop(state);
        self.disk.change()?;
        if fails {
            return Err(io::Error::other("the disk is on fire"));
        }
        let mut content = self.content.lock().unwrap();
        content.durable = content.now.clone();
        content.unsynced.clear();
        Ok(())
    }

    fn clear_from(&self, offset: u64) -> io::Result<()> {
        self.disk.change()?;
        self.content.lock().unwrap().apply(Change::Clear { offset: offset as usize });
        Ok(())
    }
}
