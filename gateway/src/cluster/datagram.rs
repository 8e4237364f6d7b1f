//! What links say to each other, as bytes.
//!
//! ```text
//! version 1 │ flags 1 │ from 8 │ to 8 │ epoch │ peer_epoch │ acknowledged │ held_from │ first │ pieces …
//! piece:  2 · length + more │ bytes
//! ```
//!
//! Numbers are varints, ids big-endian. Pieces are numbered from `first` up; one with `more` goes on in the next.

use bytes::Bytes;
use carillon_protocol::varint;

use super::view::NodeId;

/// What stands before the pieces, at most.
pub const HEADER_BYTES_MAX: usize = 1 + 1 + 8 + 8 + 5 * 8;
/// What stands before a piece's bytes, at most.
pub const PIECE_HEADER_BYTES_MAX: usize = 8;

const VERSION: u8 = 1;
/// Flag: whoever sends it waits for an answer that shows that it is known.
const HELLO: u8 = 0x01;

/// What stands before the pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Who sends it.
    pub from: NodeId,
    /// Whom it is for.
    pub to: NodeId,
    /// Whether the sender's link is not open, and it waits for an answer.
    pub hello: bool,
    /// The sender's epoch of this link.
    pub epoch: u64,
    /// The receiver's epoch as far as the sender knows; 0 where it does not.
    pub peer_epoch: u64,
    /// Every piece up to this number has come.
    pub acknowledged: u64,
    /// Pieces after `acknowledged` and before this number are missed, please send them; 0 where none are.
    pub held_from: u64,
    /// The number of the first piece; 0 where there is none.
    pub first: u64,
}

/// A header and its pieces.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// What stands before the pieces.
    pub header: Header,
    /// The pieces, in order.
    pub pieces: Pieces,
}

/// A batch, or a part of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Its bytes.
    pub bytes: Bytes,
    /// Whether its batch goes on in the next piece.
    pub more: bool,
}

/// The pieces of a datagram that are still to be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pieces(Bytes);

/// Bytes that are no datagram of this version.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// Of another version.
    #[error("a datagram of version {0}")]
    Version(u8),
    /// It ends before its end.
    #[error("a datagram that is cut short")]
    Cut,
    /// Node 0, or a piece without a number.
    #[error("a datagram with a number 0 where there is none")]
    Zero,
}

impl Datagram {
    /// Reads one. Nothing is copied: pieces share its bytes.
    pub fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut rest = bytes.as_ref();
        let version = byte(&mut rest)?;
        if version != VERSION {
            return Err(Malformed::Version(version));
        }
        let flags = byte(&mut rest)?;
        let header = Header {
            from: node(&mut rest)?,
            to: node(&mut rest)?,
            hello: flags & HELLO != 0,
            epoch: number(&mut rest)?,
            peer_epoch: number(&mut rest)?,
            acknowledged: number(&mut rest)?,
            held_from: number(&mut rest)?,
            first: number(&mut rest)?,
        };
        let pieces = bytes.slice(bytes.len() - rest.len()..);
        if header.epoch == 0 || (header.first == 0 && !rest.is_empty()) {
            return Err(Malformed::Zero);
        }
        while !rest.is_empty() {
            let len = (number(&mut rest)? >> 1) as usize;
            rest = rest.get(len..).ok_or(Malformed::Cut)?;
        }
        Ok(Self { header, pieces: Pieces(pieces) })
    }
}

impl Header {
    /// Begins a datagram; [`append_piece`] goes on.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[VERSION, if self.hello { HELLO } else { 0 }]);
        out.extend_from_slice(&self.from.get().to_be_bytes());
        out.extend_from_slice(&self.to.get().to_be_bytes());
        for number in [self.epoch, self.peer_epoch, self.acknowledged, self.held_from, self.first] {
            varint::write(out, number);
        }
    }
}

/// Appends the next piece to a datagram.
pub fn append_piece(piece: &Piece, out: &mut Vec<u8>) {
    varint::write(out, (piece.bytes.len() as u64) << 1 | u64::from(piece.more));
    out.extend_from_slice(&piece.bytes);
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let (word, used) = varint::read(&self.0)?;
        let end = used + (word >> 1) as usize;
        let piece = Piece { bytes: self.0.slice(used..end), more: word & 1 != 0 };
        self.0 = self.0.slice(end..);
        Some(piece)
    }
}

fn byte(rest: &mut &[u8]) -> Result<u8, Malformed> {
    let (first, after) = rest.split_first().ok_or(Malformed::Cut)?;
    *rest = after;
    Ok(*first)
}

fn node(rest: &mut &[u8]) -> Result<NodeId, Malformed> {
    let (id, after) = rest.split_first_chunk().ok_or(Malformed::Cut)?;
    *rest = after;
    NodeId::new(u64::from_be_bytes(*id)).ok_or(Malformed::Zero)
}

fn number(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let (number, used) = varint::read(rest).ok_or(Malformed::Cut)?;
    *rest = &rest[used..];
    Ok(number)
}
