//! The server's side of a WebSocket (RFC 6455): bytes in, messages out.
//!
//! A message that lies whole in the bytes at hand is unmasked in place and borrowed from them. Only one that is fragmented,
//! or whose rest has not come, is gathered in a buffer of its own, which grows by what really came and goes with the
//! message. What a header claims is held against the limit before anything is kept. Text is checked as it arrives, so
//! that a bad byte ends the connection at once and not at the end of the message.

use std::borrow::Cow;

use super::mask::unmask;

/// The longest header of a server's frame.
pub const HEADER_BYTES_MAX: usize = 10;
/// The longest payload of a control frame (5.5).
const CONTROL_BYTES_MAX: usize = 125;
/// The longest reason of a close frame: what is left beside its code.
const REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// What a frame is (5.2), as far as frames are written here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Opcode {
    /// A message of UTF-8.
    Text = 0x1,
    /// A message of bytes.
    Binary = 0x2,
    /// The connection ends.
    Close = 0x8,
    /// Are you there?
    Ping = 0x9,
    /// Here I am.
    Pong = 0xa,
}

/// Which messages a connection takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Takes {
    /// Text only.
    Text,
    /// Bytes only.
    Binary,
    /// Both.
    Both,
}

/// What came.
#[derive(PartialEq, Eq, Debug)]
pub enum Read<'a> {
    /// A whole message.
    Message {
        /// Whether it is text (and then valid UTF-8).
        text: bool,
        /// What it says.
        payload: Cow<'a, [u8]>,
        /// How many bytes are done with.
        used: usize,
    },
    /// A ping: owed a pong with the same payload.
    Ping {
        /// At most 125 bytes.
        payload: &'a [u8],
        /// How many bytes are done with.
        used: usize,
    },
    /// A pong: nothing is owed, but the peer is there.
    Pong {
        /// How many bytes are done with.
        used: usize,
    },
    /// A close frame: owed one with the same code. What follows it does not count.
    Close {
        /// Why, if the peer says.
        code: Option<u16>,
    },
    /// Nothing for anyone yet, but so many bytes are done with.
    Used(usize),
    /// The beginning of a frame: come back with more behind it.
    Incomplete,
}

/// What breaks the protocol, as the close frame says it (7.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The close code.
    pub code: u16,
    /// The sentence beside it.
    pub reason: &'static str,
}

impl Violation {
    /// 1002: the frames are not what they must be.
    const fn protocol(reason: &'static str) -> Self {
        Self { code: 1002, reason }
    }

    const NOT_UTF8: Self = Self { code: 1007, reason: "The text is not UTF-8." };
    const TOO_LARGE: Self = Self { code: 1009, reason: "The message is larger than this server takes." };
    const NO_TEXT: Self = Self { code: 1003, reason: "This subprotocol has binary messages only." };
    const NO_BINARY: Self = Self { code: 1003, reason: "This subprotocol has text messages only." };
}

/// One connection's reading side: two words, while no message is under way.
pub struct WebSocket {
    takes: Takes,
    under_way: Option<Box<UnderWay>>,
}

/// A message whose end has not come.
struct UnderWay {
    text: bool,
    payload: Vec<u8>,
    /// How much of the payload is known to be UTF-8.
    checked: usize,
    /// The frame that is being read, or was last.
    fin: bool,
    key: [u8; 4],
    done: u64,
    left: u64,
}

/// A frame's header (5.2).
struct Header {
    fin: bool,
    opcode: u8,
    key: [u8; 4],
    /// Its own length.
    bytes: usize,
    /// Its payload's.
    payload_bytes: u64,
}

impl WebSocket {
    /// A connection that has just been upgraded.
    pub fn new(takes: Takes) -> Self {
        Self { takes, under_way: None }
    }

    /// Takes the next thing out of `bytes`, unmasking in place. No message may have more than `message_bytes_max` bytes.
    /// After a violation or a close, nothing else counts.
    pub fn read<'a>(&mut self, bytes: &'a mut [u8], message_bytes_max: usize) -> Result<Read<'a>, Violation> {
        if let Some(message) = self.under_way.as_mut().filter(|message| message.left > 0) {
            let used = message.take(bytes, message_bytes_max)?;
            return self.end_of_frame(used);
        }
        let Some(header) = Header::parse(bytes)? else { return Ok(Read::Incomplete) };
        if header.opcode >= 0x8 {
            return control(&header, bytes);
        }
        let under_way = self.under_way.as_ref().map(|message| message.payload.len());
        let text = self.check_data(&header, under_way, message_bytes_max)?;
        let end = header.bytes as u64 + header.payload_bytes;
        if header.fin && under_way.is_none() && end <= bytes.len() as u64 {
            let used = end as usize;
            let payload = &mut bytes[header.bytes..used];
            unmask(payload, header.key, 0);
            if text && std::str::from_utf8(payload).is_err() {
                return Err(Violation::NOT_UTF8);
            }
            return Ok(Read::Message { text, payload: Cow::Borrowed(payload), used });
        }
        let message = self.under_way.get_or_insert_with(|| Box::new(UnderWay::new(text)));
        message.begin_frame(&header);
        self.end_of_frame(header.bytes)
    }

    /// Whether a data frame may come now, and whether its message is text.
    fn check_data(
        &self,
        header: &Header,
        under_way: Option<usize>,
        message_bytes_max: usize,
    ) -> Result<bool, Violation> {
        let text = match (header.opcode, &self.under_way) {
            (0x0, Some(message)) => message.text,
            (0x0, None) => return Err(Violation::protocol("A continuation continues nothing.")),
            (_, Some(_)) => return Err(Violation::protocol("A new message began within another.")),
            (0x1, None) => true,
            (0x2, None) => false,
            _ => return Err(Violation::protocol("The opcode is reserved.")),
        };
        match self.takes {
            Takes::Binary if text => return Err(Violation::NO_TEXT),
            Takes::Text if !text => return Err(Violation::NO_BINARY),
            _ => {}
        }
        if under_way.unwrap_or(0) as u64 + header.payload_bytes > message_bytes_max as u64 {
            return Err(Violation::TOO_LARGE);
        }
        Ok(text)
    }

    /// So many bytes are done with; if that was the message's last, here it is.
    fn end_of_frame(&mut self, used: usize) -> Result<Read<'static>, Violation> {
        let is_whole = self.under_way.as_ref().is_some_and(|message| message.fin && message.left == 0);
        let Some(message) = self.under_way.take_if(|_| is_whole) else { return Ok(Read::Used(used)) };
        if message.text && message.checked < message.payload.len() {
            return Err(Violation::NOT_UTF8);
        }
        Ok(Read::Message { text: message.text, payload: Cow::Owned(message.payload), used })
    }
}

impl UnderWay {
    fn new(text: bool) -> Self {
        Self { text, payload: Vec::new(), checked: 0, fin: false, key: [0; 4], done: 0, left: 0 }
    }

    fn begin_frame(&mut self, header: &Header) {
        self.fin = header.fin;
        self.key = header.key;
        self.done = 0;
        self.left = header.payload_bytes;
    }

    /// Takes as much of the frame's payload as there is.
    fn take(&mut self, bytes: &mut [u8], message_bytes_max: usize) -> Result<usize, Violation> {
        let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let bytes = &mut bytes[..taken];
        unmask(bytes, self.key, (self.done % 4) as usize);
        self.reserve(taken, message_bytes_max);
        self.payload.extend_from_slice(bytes);
        self.done += taken as u64;
        self.left -= taken as u64;
        if self.text {
            self.check()?;
        }
        Ok(taken)
    }

    /// Makes room by doubling, as a vector does by itself, but never for more than a message may have.
    fn reserve(&mut self, more: usize, message_bytes_max: usize) {
        let (held, needed) = (self.payload.capacity(), self.payload.len() + more);
        if needed > held {
            let wanted = needed.max((2 * held).min(message_bytes_max));
            self.payload.reserve_exact(wanted - self.payload.len());
        }
    }

    /// Checks what came. A character whose rest has not come may yet be one.
    fn check(&mut self) -> Result<(), Violation> {
        match std::str::from_utf8(&self.payload[self.checked..]) {
            Ok(_) => self.checked = self.payload.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(Violation::NOT_UTF8),
        }
        Ok(())
    }
}

impl Header {
    /// The header at the start of `bytes`, if all of it is there. What can be seen to be wrong before that is.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, Violation> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        if first & 0x70 != 0 {
            return Err(Violation::protocol("A reserved bit is set, and no extension was agreed on."));
        }
        if matches!(opcode, 0x3..=0x7 | 0xb..=0xf) {
            return Err(Violation::protocol("The opcode is reserved."));
        }
        if opcode >= 0x8 && !fin {
            return Err(Violation::protocol("A control frame is fragmented."));
        }
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err(Violation::protocol("A client's frame is not masked."));
        }
        let short = second & 0x7f;
        if opcode >= 0x8 && usize::from(short) > CONTROL_BYTES_MAX {
            return Err(Violation::protocol("A control frame has more than 125 bytes."));
        }
        let Some((payload_bytes, key_at)) = length(short, bytes)? else { return Ok(None) };
        let Some(key) = bytes.get(key_at..key_at + 4) else { return Ok(None) };
        let key = std::array::from_fn(|index| key[index]);
        Ok(Some(Self { fin, opcode, key, bytes: key_at + 4, payload_bytes }))
    }
}

/// The payload's length and where it ends. It must be written as short as can be.
fn length(short: u8, bytes: &[u8]) -> Result<Option<(u64, usize)>, Violation> {
    let (extended, least) = match short {
        126 => (2, 126),
        127 => (8, 0x1_0000),
        short => return Ok(Some((u64::from(short), 2))),
    };
    let Some(digits) = bytes.get(2..2 + extended) else { return Ok(None) };
    let length = digits.iter().fold(0, |length, &digit| length << 8 | u64::from(digit));
    if length >> 63 != 0 {
        return Err(Violation::protocol("A length has its highest bit set."));
    }
    if length < least {
        return Err(Violation::protocol("A length is not written as short as it can be."));
    }
    Ok(Some((length, 2 + extended)))
}

/// A control frame, once all of it is there.
fn control<'a>(header: &Header, bytes: &'a mut [u8]) -> Result<Read<'a>, Violation> {
    let used = header.bytes + header.payload_bytes as usize;
    let Some(payload) = bytes.get_mut(header.bytes..used) else { return Ok(Read::Incomplete) };
    unmask(payload, header.key, 0);
    match header.opcode {
        0x8 => close_code(payload).map(|code| Read::Close { code }),
        0x9 => Ok(Read::Ping { payload, used }),
        _ => Ok(Read::Pong { used }),
    }
}

/// What a close frame says (5.5.1, 7.4).
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(Violation::protocol("A close frame has half a code.")),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::protocol("The close code may not be sent."));
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(Violation::NOT_UTF8),
    }
}

/// Appends the header of a server's frame: whole, unmasked, so that all recipients may share it.
pub fn write_header(out: &mut Vec<u8>, opcode: Opcode, payload_bytes: usize) {
    out.push(0x80 | opcode as u8);
    match payload_bytes {
        0..=125 => out.push(payload_bytes as u8),
        126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(payload_bytes as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
        }
    }
}

/// Appends a pong.
pub fn write_pong(out: &mut Vec<u8>, payload: &[u8]) {
    write_header(out, Opcode::Pong, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a close frame. A long reason is cut, between characters.
pub fn write_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    write_header(out, Opcode::Close, 2 + reason.len());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Appends the answer to a peer's close frame: the same code, or none where it gave none.
pub fn write_close_answer(out: &mut Vec<u8>, code: Option<u16>) {
    match code {
        Some(code) => write_close(out, code, ""),
        None => write_header(out, Opcode::Close, 0),
    }
}
