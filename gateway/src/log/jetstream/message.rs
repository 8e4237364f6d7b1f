//! What stands in a message of the log's streams: one or more batches of one partition, and who wrote them.
//!
//! ```text
//!  0  version       1 byte      1
//!  1  (nothing)     1 byte      0
//!  2  partition     2 bytes
//!  4  checksum      4 bytes     crc32c of everything else
//!  8  node          8 bytes     which process wrote it
//! 16  epoch         8 bytes     one more with every home the partition gets
//! 24  number        8 bytes     the writer's own, from 0 in each epoch: two messages are one only if it is the same
//! 32  delivered     8 bytes     up to where the writer had handed out deliveries
//! 40  first         8 bytes     the position of the first batch
//! 48  batches       4 bytes     0 where a home begins: then `first` is the position that will come next
//! 52  for each batch: its length (4 bytes), its records
//! ```
//!
//! Numbers are big-endian.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::log::{Batch, Partition};

/// What a message takes besides its batches.
pub const HEADER_LEN: usize = 52;
/// What a batch takes besides its records.
pub const BATCH_OVERHEAD: usize = 4;
const VERSION: u8 = 1;
const CHECKSUM: std::ops::Range<usize> = 4..8;

/// Which message it is: no other has the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Author {
    /// Which process wrote it; another one after each start.
    pub node: u64,
    /// Which home of its partition that was.
    pub epoch: u64,
    /// Its number among those of that home.
    pub number: u64,
}

/// A message's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// Whose order it continues.
    pub partition: Partition,
    /// Who wrote it.
    pub author: Author,
    /// Up to where its writer had handed out deliveries.
    pub delivered: u64,
    /// The position of its first batch, or of the next one where it has none.
    pub first: u64,
}

/// A message as it was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// Its header.
    pub header: Header,
    /// How many batches it has.
    pub batches: u32,
    rest: &'a [u8],
}

/// Why bytes are not a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// They end too early, or do not end where they should.
    #[error("its length is not what it says")]
    Length,
    /// A newer version wrote them.
    #[error("it has format {0}, newer than this version of Carillon can read")]
    Newer(u8),
    /// They are not what was written.
    #[error("its checksum is wrong")]
    Checksum,
    /// Positions start at 1 and end before 2^64.
    #[error("its positions do not make sense")]
    Positions,
}

impl Header {
    /// The message of this header and these batches' records.
    pub fn encode<'a>(&self, batches: impl ExactSizeIterator<Item = &'a [u8]> + Clone) -> Bytes {
        let len = batches.clone().map(|records| BATCH_OVERHEAD + records.len()).sum::<usize>();
        let mut bytes = BytesMut::with_capacity(HEADER_LEN + len);
        bytes.put_u8(VERSION);
        bytes.put_u8(0);
        bytes.put_u16(self.partition);
        bytes.put_u32(0);
        bytes.put_u64(self.author.node);
        bytes.put_u64(self.author.epoch);
        bytes.put_u64(self.author.number);
        bytes.put_u64(self.delivered);
        bytes.put_u64(self.first);
        bytes.put_u32(batches.len() as u32);
        for records in batches {
            bytes.put_u32(records.len() as u32);
            bytes.put_slice(records);
        }
        let checksum = checksum(&bytes);
        bytes[CHECKSUM].copy_from_slice(&checksum.to_be_bytes());
        bytes.freeze()
    }
}

impl<'a> Message<'a> {
    /// Reads a message, whose every byte is then known to be as it was written.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, Malformed> {
        match bytes {
            [] => Err(Malformed::Length),
            [version, ..] if *version > VERSION => Err(Malformed::Newer(*version)),
            _ if bytes.len() < HEADER_LEN => Err(Malformed::Length),
            _ if bytes[CHECKSUM] != checksum(bytes).to_be_bytes() => Err(Malformed::Checksum),
            _ => Self::read(bytes),
        }
    }

    /// The same without looking at version and checksum, to try what is behind them.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        if bytes.len() < HEADER_LEN {
            return Err(Malformed::Length);
        }
        let mut rest = &bytes[2..];
        let partition = rest.get_u16();
        rest.advance(CHECKSUM.len());
        let author = Author { node: rest.get_u64(), epoch: rest.get_u64(), number: rest.get_u64() };
        let header = Header { partition, author, delivered: rest.get_u64(), first: rest.get_u64() };
        let batches = rest.get_u32();
        if header.first == 0 || header.first.checked_add(u64::from(batches)).is_none() {
            return Err(Malformed::Positions);
        }
        let mut behind = rest;
        for _batch in 0..batches {
            (_, behind) = split_batch(behind).ok_or(Malformed::Length)?;
        }
        if behind.is_empty() { Ok(Self { header, batches, rest }) } else { Err(Malformed::Length) }
    }

    /// The partition's last position once this message is there.
    pub fn last(&self) -> u64 {
        self.header.first - 1 + u64::from(self.batches)
    }

    /// Its batches, in order.
    pub fn batches(&self) -> impl Iterator<Item = Batch> + 'a {
        let Header { partition, first, .. } = self.header;
        let mut rest = self.rest;
        (first..first + u64::from(self.batches)).map_while(move |position| {
            let (records, behind) = split_batch(rest)?;
            rest = behind;
            Some(Batch { partition, position, records: records.to_vec() })
        })
    }
}

fn split_batch(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<BATCH_OVERHEAD>()?;
    rest.split_at_checked(u32::from_be_bytes(*len) as usize)
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..CHECKSUM.start]), &bytes[CHECKSUM.end..])
}
