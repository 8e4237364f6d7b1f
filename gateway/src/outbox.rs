//! Bytes that wait for one connection.
//!
//! Appended to while a shard's turn decides, written once at its end. Bounded in bytes: past the bound, what is shared
//! with others is dropped and the client is told from which seq to catch up. Answers are never dropped; a client that
//! does not take them is not read either (`Connection::is_over`), so that they have an end.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::rc::Rc;

use carillon_protocol::{Frame, RoomId};

use crate::encoded::{self, Chunk, Class, Format};

/// How many pieces one `writev` takes; Linux allows 1,024, and more than this gains nothing measurable.
const PIECES_MAX: usize = 64;

/// An answer goes into a piece of its own when the last piece has so much: what is written can be freed only piece by
/// piece, and a client that always has a little waiting would never give any back.
const OWN_BYTES_MAX: usize = 16 * 1024;

/// What waits for a connection, in order.
#[expect(clippy::box_collection, reason = "a word instead of three in every idle connection's row")]
pub struct Outbox {
    queue: Queue,
    /// Bytes in the queue.
    bytes: u32,
    /// How much of the first piece is written already.
    written: u32,
    /// Rooms of which something was dropped, and from where to catch up: told when all that waits is written. Until then
    /// no more of these rooms is queued, so that a client that never reads costs no more than this.
    missed: Option<Box<Vec<(RoomId, u64)>>>,
}

/// Most connections have nothing waiting, or one thing: those cost no allocation of their own.
#[expect(clippy::box_collection, reason = "a word instead of four in every idle connection's row")]
enum Queue {
    Empty,
    One(Piece),
    Many(Box<VecDeque<Piece>>),
}

#[expect(clippy::box_collection, reason = "a word instead of three, so that a piece is two")]
enum Piece {
    Shared(Rc<Chunk>),
    Own(Box<Vec<u8>>),
}

/// What became of a shared chunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Push {
    /// It waits to be written.
    Queued,
    /// It was ephemeral and there was no space.
    Dropped,
    /// There was no space: everything shared was dropped, and the client is told to catch up, room by room.
    Lagged,
    /// The client will be told to catch up in this room anyway.
    Missed,
}

/// What a write came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flush {
    /// Everything is with the kernel.
    Done,
    /// The kernel takes no more for now.
    Blocked,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { queue: Queue::Empty, bytes: 0, written: 0, missed: None }
    }
}

impl Outbox {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        matches!(self.queue, Queue::Empty)
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Appends bytes that are this connection's alone: answers, in the order in which they were made.
    pub fn push_own(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        if !matches!(self.last_mut(), Some(Piece::Own(bytes)) if bytes.len() < OWN_BYTES_MAX) {
            self.push(Piece::Own(Box::default()));
        }
        if let Some(Piece::Own(bytes)) = self.last_mut() {
            let before = bytes.len();
            append(bytes);
            let grown = bytes.len() - before;
            self.bytes += grown as u32;
        }
    }

    /// Appends frames that others get too.
    pub fn push_shared(&mut self, chunk: &Rc<Chunk>, format: Format, bytes_max: usize) -> Push {
        if self.misses(chunk.room) {
            return if chunk.class == Class::Ephemeral { Push::Dropped } else { Push::Missed };
        }
        let len = chunk.bytes(format).len();
        let bytes_max = match chunk.class {
            Class::Events { .. } => bytes_max,
            // The first to go, while there is still space for events.
            Class::Ephemeral => bytes_max / 2,
        };
        // A chunk that is larger than the whole outbox still goes to a client that has nothing waiting.
        if self.bytes() + len <= bytes_max || self.is_empty() {
            self.bytes += len as u32;
            self.push(Piece::Shared(Rc::clone(chunk)));
            return Push::Queued;
        }
        if chunk.class == Class::Ephemeral {
            return Push::Dropped;
        }
        self.drop_shared(chunk, format);
        Push::Lagged
    }

    /// Writes until everything is written or the kernel takes no more.
    pub fn flush(&mut self, socket: &mut impl Write, format: Format) -> io::Result<Flush> {
        while !self.is_empty() || self.tell_missed(format) {
            match self.write(socket, format) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written, format),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Flush::Blocked),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Flush::Done)
    }

    fn write(&self, socket: &mut impl Write, format: Format) -> io::Result<usize> {
        let written = self.written as usize;
        match &self.queue {
            Queue::Empty => Ok(0),
            Queue::One(piece) => socket.write(&piece.bytes(format)[written..]),
            Queue::Many(pieces) => {
                let mut slices = [IoSlice::new(&[]); PIECES_MAX];
                let mut count = 0;
                for (slice, piece) in slices.iter_mut().zip(pieces.iter()) {
                    let skip = if count == 0 { written } else { 0 };
                    *slice = IoSlice::new(&piece.bytes(format)[skip..]);
                    count += 1;
                }
                socket.write_vectored(&slices[..count])
            }
        }
    }

    fn advance(&mut self, mut written: usize, format: Format) {
        self.bytes = self.bytes.saturating_sub(written as u32);
        written += self.written as usize;
        while let Some(piece) = self.first() {
            let len = piece.bytes(format).len();
            if written < len {
                break;
            }
            written -= len;
            self.pop();
        }
        self.written = written as u32;
    }

    /// Drops what is shared and not begun, and notes from where to catch up. `late` never got in.
    fn drop_shared(&mut self, late: &Chunk, format: Format) {
        let mut missed = self.missed.take().unwrap_or_default();
        let mut begun = self.written > 0;
        let mut kept = VecDeque::new();
        while let Some(piece) = self.pop() {
            match piece {
                Piece::Shared(chunk) if !begun => miss(&mut missed, &chunk),
                piece => kept.push_back(piece),
            }
            begun = false;
        }
        miss(&mut missed, late);
        self.missed = Some(missed);
        self.bytes = kept.iter().map(|piece| piece.bytes(format).len() as u32).sum::<u32>() - self.written;
        kept.into_iter().for_each(|piece| self.push(piece));
    }

    fn misses(&self, room: RoomId) -> bool {
        self.missed.as_ref().is_some_and(|missed| missed.iter().any(|(other, _)| *other == room))
    }

    /// Appends what the client is to be told of what was dropped. Says whether there was anything.
    fn tell_missed(&mut self, format: Format) -> bool {
        let Some(missed) = self.missed.take() else { return false };
        let mut frame = Vec::with_capacity(32);
        for (room, from_seq) in *missed {
            frame.clear();
            carillon_protocol::encode(&Frame::Lagged { room, from_seq }, &mut frame);
            self.push_own(|out| encoded::append(&frame, format, out));
        }
        true
    }

    fn push(&mut self, piece: Piece) {
        self.queue = match std::mem::replace(&mut self.queue, Queue::Empty) {
            Queue::Empty => Queue::One(piece),
            Queue::One(first) => Queue::Many(Box::new(VecDeque::from([first, piece]))),
            Queue::Many(mut pieces) => {
                pieces.push_back(piece);
                Queue::Many(pieces)
            }
        };
    }

    fn pop(&mut self) -> Option<Piece> {
        match std::mem::replace(&mut self.queue, Queue::Empty) {
            Queue::Empty => None,
            Queue::One(piece) => Some(piece),
            Queue::Many(mut pieces) => {
                let first = pieces.pop_front();
                if !pieces.is_empty() {
                    self.queue = Queue::Many(pieces);
                }
                first
            }
        }
    }

    fn first(&self) -> Option<&Piece> {
        match &self.queue {
            Queue::Empty => None,
            Queue::One(piece) => Some(piece),
            Queue::Many(pieces) => pieces.front(),
        }
    }

    /// The last piece, if one may still append to it.
    fn last_mut(&mut self) -> Option<&mut Piece> {
        match &mut self.queue {
            Queue::Empty => None,
            Queue::One(piece) => Some(piece),
            Queue::Many(pieces) => pieces.back_mut(),
        }
    }
}

impl Piece {
    fn bytes(&self, format: Format) -> &[u8] {
        match self {
            Piece::Shared(chunk) => chunk.bytes(format),
            Piece::Own(bytes) => bytes,
        }
    }
}

/// Notes the first event missed of a room. Ephemeral frames are nobody's loss.
fn miss(missed: &mut Vec<(RoomId, u64)>, chunk: &Chunk) {
    let Class::Events { seq } = chunk.class else { return };
    match missed.iter_mut().find(|(room, _)| *room == chunk.room) {
        Some((_, from_seq)) => *from_seq = seq.min(*from_seq),
        None => missed.push((chunk.room, seq)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoded::Encoded;

    /// Takes `space` bytes, then blocks.
    struct Socket {
        got: Vec<u8>,
        space: usize,
    }

    impl Write for Socket {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.space == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let taken = bytes.len().min(self.space);
            self.space -= taken;
            self.got.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn room(number: u8) -> RoomId {
        RoomId::from_bytes([number; 16])
    }

    fn chunk(number: u8, seq: u64, len: usize) -> Rc<Chunk> {
        Rc::new(Chunk::new(room(number), Class::Events { seq }, Encoded::new(&vec![seq as u8; len])))
    }

    #[test]
    fn what_was_pushed_arrives_in_order_however_little_the_kernel_takes() {
        for space in 1..40 {
            let mut outbox = Outbox::default();
            outbox.push_own(|out| out.extend_from_slice(b"ab"));
            outbox.push_shared(&chunk(1, 3, 5), Format::Raw, 1000);
            outbox.push_own(|out| out.extend_from_slice(b"cd"));
            outbox.push_own(|out| out.extend_from_slice(b"e"));
            outbox.push_shared(&chunk(1, 4, 2), Format::Raw, 1000);
            let mut socket = Socket { got: Vec::new(), space };
            while outbox.flush(&mut socket, Format::Raw).unwrap() == Flush::Blocked {
                socket.space = space;
            }
            assert_eq!(socket.got, b"ab\x03\x03\x03\x03\x03cde\x04\x04");
            assert_eq!(outbox.bytes(), 0);
        }
    }

    #[test]
    fn a_client_that_does_not_read_costs_no_more_than_the_bound_and_is_told_where_to_go_on() {
        let mut outbox = Outbox::default();
        let mut socket = Socket { got: Vec::new(), space: 3 };
        outbox.push_shared(&chunk(1, 7, 10), Format::Raw, 40);
        outbox.flush(&mut socket, Format::Raw).unwrap();
        outbox.push_own(|out| out.extend_from_slice(b"ack"));
        outbox.push_shared(&chunk(2, 1, 10), Format::Raw, 40);
        outbox.push_shared(&chunk(1, 8, 10), Format::Raw, 40);
        let push = outbox.push_shared(&chunk(1, 9, 20), Format::Raw, 40);
        assert_eq!(push, Push::Lagged);
        assert_eq!(
            outbox.push_shared(&chunk(1, 10, 1), Format::Raw, 40),
            Push::Missed,
            "it is told of 8 anyway"
        );
        assert_eq!(outbox.push_shared(&chunk(2, 2, 1), Format::Raw, 40), Push::Missed);

        socket.space = usize::MAX;
        assert_eq!(outbox.flush(&mut socket, Format::Raw).unwrap(), Flush::Done);
        let mut expected = vec![7; 10];
        expected.extend_from_slice(b"ack");
        for (number, from_seq) in [(2, 1), (1, 8)] {
            carillon_protocol::encode(&Frame::Lagged { room: room(number), from_seq }, &mut expected);
        }
        assert_eq!(socket.got, expected, "what was begun is finished, answers stay, the rest is named");
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn a_client_that_never_reads_again_costs_no_more_however_much_happens() {
        let mut outbox = Outbox::default();
        let mut socket = Socket { got: Vec::new(), space: 3 };
        for seq in 1..10_000 {
            outbox.push_shared(&chunk((seq % 3) as u8, seq, 20), Format::Raw, 40);
            outbox.flush(&mut socket, Format::Raw).unwrap();
            assert!(outbox.bytes() <= 40, "{} bytes wait", outbox.bytes());
        }
        socket.space = usize::MAX;
        outbox.flush(&mut socket, Format::Raw).unwrap();
        assert!(socket.got.len() < 40 + 3 * 32, "{} bytes were kept", socket.got.len());
    }

    #[test]
    fn a_client_that_always_has_a_little_waiting_gives_back_what_it_took() {
        let mut outbox = Outbox::default();
        let mut socket = Socket { got: Vec::new(), space: 0 };
        outbox.push_own(|out| out.extend_from_slice(&[0; 100]));
        for _ in 0..100_000 {
            outbox.push_own(|out| out.extend_from_slice(&[0; 50]));
            (socket.space, socket.got) = (50, Vec::new());
            outbox.flush(&mut socket, Format::Raw).unwrap();
        }
        assert_eq!(outbox.bytes(), 100);
        let mut held = 0;
        while let Some(piece) = outbox.pop() {
            held += piece.bytes(Format::Raw).len();
        }
        assert!(held < 2 * OWN_BYTES_MAX, "{held}");
    }

    #[test]
    fn ephemeral_frames_go_first_and_silently() {
        let mut outbox = Outbox::default();
        outbox.push_shared(&chunk(1, 1, 30), Format::Raw, 40);
        let typing = Rc::new(Chunk::new(room(1), Class::Ephemeral, Encoded::new(&[9; 5])));
        assert_eq!(outbox.push_shared(&typing, Format::Raw, 40), Push::Dropped);
        assert_eq!(outbox.push_shared(&chunk(1, 2, 5), Format::Raw, 40), Push::Queued);
    }
}
