//! Opening a log: read every segment, check that each continues the one before, and only when all is well cut
//! what a crash left half written at the very end.

use std::collections::VecDeque;
use std::io;

use super::disk::{Disk, DiskFile};
use super::prepare::{self, Active, UNFINISHED};
use super::segment::{self, Corruption, HEADER_LEN, Header, HeaderError, Scan};
use super::{FileLogConfig, Segment};
use crate::log::{LogError, Partition, Positions};

/// What an opened log starts from.
pub(super) struct Recovered {
    pub(super) segments: VecDeque<Segment>,
    pub(super) last: Positions,
    pub(super) active: Active,
}

/// A segment as it was found.
struct Found {
    sequence: u64,
    salt: u32,
    file: Box<dyn DiskFile>,
    bytes: u64,
    scan: Scan,
}

pub(super) fn recover(disk: &dyn Disk, config: &FileLogConfig) -> Result<Recovered, LogError> {
    let mut found = Vec::new();
    for sequence in sequences(disk)? {
        found.push(read_segment(disk, sequence, config.partitions)?);
    }
    check_chain(disk, &found)?;
    clean(disk, found, config).map_err(|source| LogError::Io { place: disk.describe(""), source })
}

/// The sequences of the segments there are, in order.
fn sequences(disk: &dyn Disk) -> Result<Vec<u64>, LogError> {
    let names = disk.list().map_err(|source| LogError::Io { place: disk.describe(""), source })?;
    let sequence_of = |name: &String| name.strip_suffix(".log")?.parse().ok();
    let mut sequences: Vec<u64> = names.iter().filter_map(sequence_of).collect();
    sequences.sort_unstable();
    Ok(sequences)
}

fn read_segment(disk: &dyn Disk, sequence: u64, partitions: Partition) -> Result<Found, LogError> {
    let name = prepare::name(sequence);
    let failed = |source| LogError::Io { place: disk.describe(&name), source };
    let corrupt = |offset, what: &str| corrupt(disk, sequence, offset, what);
    let file = disk.open(&name).map_err(failed)?;
    let bytes = file.read_up_to(usize::MAX, 0).map_err(failed)?;
    let header = match Header::decode(&bytes) {
        Ok(header) => header,
        Err(HeaderError::Newer(version)) => {
            return Err(LogError::Newer { place: disk.describe(&name), version });
        }
        Err(HeaderError::Corrupt) => return Err(corrupt(0, "this is not a segment's header")),
    };
    if header.sequence != sequence {
        return Err(corrupt(0, "this segment had another name"));
    }
    if header.partitions != partitions {
        let (found, expected) = (header.partitions, partitions);
        return Err(LogError::Partitions { place: disk.describe(&name), found, expected });
    }
    let scan = segment::scan(&bytes, &header).map_err(|Corruption { offset, what }| corrupt(offset, what))?;
    Ok(Found { sequence, salt: header.salt, file, bytes: bytes.len() as u64, scan })
}

/// Checks that the segments are one log: no hole, each begins where the one before it ended, and only the
/// last that holds anything may be torn. Behind it there may be one that was made ready and never used.
fn check_chain(disk: &dyn Disk, found: &[Found]) -> Result<(), LogError> {
    for pair in found.windows(2) {
        let [earlier, later] = pair else { continue };
        let Some(base) = &later.scan.base else { continue };
        if later.sequence != earlier.sequence + 1 {
            return Err(corrupt(disk, earlier.sequence + 1, 0, "this segment is missing"));
        }
        if earlier.scan.torn || *base != earlier.scan.last {
            let what = "the segment ends here, but the next one continues a later place";
            return Err(corrupt(disk, earlier.sequence, earlier.scan.end, what));
        }
    }
    let is_empty = |found: &Found| found.scan.base.is_none();
    match found.iter().position(is_empty) {
        Some(first) if first + 1 < found.len() || (first == 0 && found[0].sequence > 1) => {
            Err(corrupt(disk, found[first].sequence, HEADER_LEN as u64, "the segment's first frame is gone"))
        }
        _ => Ok(()),
    }
}

/// Deletes what was never finished or never used and cuts the torn tail. What is left is then made durable:
/// after a killed process it may stand in the kernel's memory alone.
fn clean(disk: &dyn Disk, mut found: Vec<Found>, config: &FileLogConfig) -> io::Result<Recovered> {
    disk.remove(UNFINISHED)?;
    while let Some(unused) = found.pop_if(|last| last.scan.base.is_none()) {
        disk.remove(&prepare::name(unused.sequence))?;
    }
    let segments = found.iter().map(|found| Segment {
        sequence: found.sequence,
        base: found.scan.base.clone().unwrap_or_default(),
        bytes: found.bytes,
    });
    let segments = segments.collect();
    let Some(Found { sequence, salt, file, bytes, scan }) = found.pop() else {
        let active = prepare::make(disk, 1, config.partitions, config.segment_bytes, &|| false)?;
        return Ok(Recovered { segments, last: vec![0; usize::from(config.partitions)], active });
    };
    if scan.torn {
        file.clear_from(scan.end)?;
    }
    file.sync()?;
    let bytes = bytes.max(config.segment_bytes);
    let active = Active { file, sequence, salt, bytes, end: scan.end };
    Ok(Recovered { segments, last: scan.last, active })
}

fn corrupt(disk: &dyn Disk, sequence: u64, offset: u64, what: &str) -> LogError {
    LogError::Corrupt { place: disk.describe(&prepare::name(sequence)), offset, what: what.to_owned() }
}
