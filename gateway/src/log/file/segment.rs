//! The bytes of a segment. Numbers are big-endian, as on the wire.
//!
//! ```text
//! segment: header | first frame | frame | frame | zeroes up to its full size
//!
//! header   0 magic "CARILLOG"   8 version u16   10 partitions u16   12 salt u32   16 sequence u64
//! (32)    24 zero u32          28 crc u32 of the 28 bytes before
//!
//! frame    0 magic "CLfr"       4 crc u32 of all that follows, seeded with the segment's salt
//! (24 +)   8 payload length u32 12 zero u32   16 offset u64 of this frame in the segment
//!         24 payload            then zeroes up to a multiple of 8
//!
//! payload  (first frame only) the last position u64 of every partition before this segment
//!          batch, batch, …
//! batch    0 partition u16      2 zero u16    4 records length u32     8 position u64     16 records
//! ```
//!
//! A frame is one turn of the writer: one write, then one `fdatasync`, and only then the next frame. So of
//! all frames only the last may be torn, and a broken frame with a whole one anywhere behind it is
//! corruption. Salt and offset make a frame valid at one place of one segment, so that neither old bytes
//! nor bytes that a user put into a message pass for one.
//!
//! Everything here works on bytes in memory and never trusts a length it has not checked.

use crate::log::{Batch, Partition, Positions};

/// The format this version writes, and the newest it reads.
pub(super) const VERSION: u16 = 1;
/// Where the first frame of a segment is.
pub(super) const HEADER_LEN: usize = 32;
/// What stands before a frame's payload.
pub(super) const FRAME_HEADER_LEN: usize = 24;
/// What stands before a batch's records.
const BATCH_HEADER_LEN: usize = 16;

const MAGIC: &[u8; 8] = b"CARILLOG";
const FRAME_MAGIC: &[u8; 4] = b"CLfr";

/// What a segment says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// How many partitions its log has.
    pub partitions: Partition,
    /// Random, so that frames of one segment are not frames of another.
    pub salt: u32,
    /// Its place among the segments.
    pub sequence: u64,
}

/// Why bytes are not the beginning of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderError {
    /// They are something else, or broken.
    Corrupt,
    /// A segment of this later format.
    Newer(u16),
}

impl Header {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&VERSION.to_be_bytes());
        bytes[10..12].copy_from_slice(&self.partitions.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.salt.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// The header at the start of `bytes`. A later format is told by its version alone: the rest may differ.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let header = bytes.first_chunk::<HEADER_LEN>().ok_or(HeaderError::Corrupt)?;
        if !header.starts_with(MAGIC) {
            return Err(HeaderError::Corrupt);
        }
        let version = u16_at(header, 8);
        if version > VERSION {
            return Err(HeaderError::Newer(version));
        }
        if crc32c::crc32c(&header[..28]) != u32_at(header, 28) || version != VERSION {
            return Err(HeaderError::Corrupt);
        }
        Ok(Self { partitions: u16_at(header, 10), salt: u32_at(header, 12), sequence: u64_at(header, 16) })
    }
}

/// Starts a frame in an empty buffer; with `base` as the first of its segment.
pub(super) fn begin_frame(frame: &mut Vec<u8>, base: Option<&Positions>) {
    frame.clear();
    frame.resize(FRAME_HEADER_LEN, 0);
    for position in base.into_iter().flatten() {
        frame.extend_from_slice(&position.to_be_bytes());
    }
}

/// What a batch takes in a frame.
pub(super) fn batch_len(batch: &Batch) -> usize {
    BATCH_HEADER_LEN + batch.records.len()
}

/// Adds a batch to the frame.
pub(super) fn put_batch(frame: &mut Vec<u8>, batch: &Batch) {
    frame.extend_from_slice(&batch.partition.to_be_bytes());
    frame.extend_from_slice(&[0; 2]);
    frame.extend_from_slice(&(batch.records.len() as u32).to_be_bytes());
    frame.extend_from_slice(&batch.position.to_be_bytes());
    frame.extend_from_slice(&batch.records);
}

/// Finishes the frame: now it may be written at `offset` of the segment with that salt, and only there.
pub(super) fn seal_frame(frame: &mut Vec<u8>, salt: u32, offset: u64) {
    let payload_len = (frame.len() - FRAME_HEADER_LEN) as u32;
    frame[..4].copy_from_slice(FRAME_MAGIC);
    frame[8..12].copy_from_slice(&payload_len.to_be_bytes());
    frame[16..24].copy_from_slice(&offset.to_be_bytes());
    let crc = crc32c::crc32c_append(salt, &frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_be_bytes());
    frame.resize(frame.len().next_multiple_of(8), 0);
}

/// How long the frame is whose header these bytes claim to be, padding included; nothing where they are
/// not the header of a frame at that offset. Only a claim, until [`frame_payload`] has seen all of it.
pub(super) fn frame_len(header: &[u8], offset: u64) -> Option<usize> {
    let header = header.first_chunk::<FRAME_HEADER_LEN>()?;
    let is_frame = header.starts_with(FRAME_MAGIC) && u64_at(header, 16) == offset;
    is_frame.then(|| FRAME_HEADER_LEN + (u32_at(header, 8) as usize).next_multiple_of(8))
}

/// The payload of the frame at the start of `bytes` and the frame's length; nothing where there is no whole frame.
pub(super) fn frame_payload(bytes: &[u8], salt: u32, offset: u64) -> Option<(&[u8], usize)> {
    let len = frame_len(bytes, offset)?;
    let frame = bytes.get(..len)?;
    let end = FRAME_HEADER_LEN + u32_at(frame, 8) as usize;
    let (checked, padding) = frame.split_at(end);
    // A fuzzer cannot guess a checksum, and would never see what is behind it.
    let whole = cfg!(fuzzing) || crc32c::crc32c_append(salt, &checked[8..]) == u32_at(frame, 4);
    (whole && padding.iter().all(|&byte| byte == 0)).then_some((&checked[FRAME_HEADER_LEN..], len))
}

/// Takes the positions off a segment's first payload.
pub(super) fn split_base(payload: &[u8], partitions: Partition) -> Option<(Positions, &[u8])> {
    let (base, batches) = payload.split_at_checked(8 * usize::from(partitions))?;
    Some((base.chunks_exact(8).map(|position| u64_at(position, 0)).collect(), batches))
}

/// The batches of a payload; nothing where it is not made of batches.
pub(super) fn batches(mut payload: &[u8]) -> Option<Vec<Batch>> {
    let mut batches = Vec::new();
    while !payload.is_empty() {
        let (header, rest) = payload.split_first_chunk::<BATCH_HEADER_LEN>()?;
        let (records, rest) = rest.split_at_checked(u32_at(header, 4) as usize)?;
        let (partition, position) = (u16_at(header, 0), u64_at(header, 8));
        batches.push(Batch { partition, position, records: records.to_vec() });
        payload = rest;
    }
    Some(batches)
}

/// What a segment holds, as found by reading all of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scan {
    /// The last position of each partition before the segment, where it has a frame.
    pub base: Option<Positions>,
    /// The last position of each partition after it.
    pub last: Positions,
    /// Where its last whole frame ends.
    pub end: u64,
    /// Whether anything but zeroes follows: a frame that was being written when the process or the machine died.
    pub torn: bool,
}

/// Something is wrong in the middle of a segment, where no crash can have put it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Corruption {
    /// Where.
    pub offset: u64,
    /// What.
    pub what: &'static str,
}

/// Reads a segment's frames and checks that they continue one another.
pub fn scan(bytes: &[u8], header: &Header) -> Result<Scan, Corruption> {
    let nothing = vec![0; usize::from(header.partitions)];
    let mut scan = Scan { base: None, last: nothing, end: HEADER_LEN as u64, torn: false };
    loop {
        let rest = bytes.get(scan.end as usize..).unwrap_or_default();
        let Some((payload, len)) = frame_payload(rest, header.salt, scan.end) else { break };
        scan.follow(payload, header.partitions).map_err(|what| Corruption { offset: scan.end, what })?;
        scan.end += len as u64;
    }
    scan.torn = bytes.iter().skip(scan.end as usize).any(|&byte| byte != 0);
    if scan.torn && has_frame_after(bytes, header.salt, scan.end as usize) {
        return Err(Corruption { offset: scan.end, what: "this frame is broken, but whole ones follow" });
    }
    Ok(scan)
}

impl Scan {
    fn follow(&mut self, mut payload: &[u8], partitions: Partition) -> Result<(), &'static str> {
        if self.base.is_none() {
            let (base, rest) = split_base(payload, partitions).ok_or("the first frame has no positions")?;
            (self.last, self.base, payload) = (base.clone(), Some(base), rest);
        }
        let batches = batches(payload).ok_or("the frame is not made of batches")?;
        crate::log::advance(&mut self.last, &batches).map_err(|_| "a batch does not continue its partition")
    }
}

/// Whether a whole frame starts anywhere after `offset`. Frames start at multiples of 8.
fn has_frame_after(bytes: &[u8], salt: u32, offset: usize) -> bool {
    let later = (offset.next_multiple_of(8) + 8..bytes.len()).step_by(8);
    later.into_iter().any(|start| frame_payload(&bytes[start..], salt, start as u64).is_some())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) << 32 | u64::from(u32_at(bytes, at + 4))
}
