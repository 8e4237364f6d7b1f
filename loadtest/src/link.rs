//! One client's connection: frames out, frames in, over raw TCP or WebSocket, over TLS or not.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;

use carillon_protocol::{Decoded, Frame, decode, encode};
use clap::ValueEnum;
use mio::net::TcpStream;
use rustls::{ClientConfig, ClientConnection};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use crate::tls;

/// How a client talks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, ValueEnum)]
pub enum Transport {
    /// Frames, back to back.
    Tcp,
    /// Binary WebSocket messages.
    Ws,
}

/// Source addresses used in turn, so that one node's port does not limit how many clients a machine can be: 127.0.1.1
/// to 127.0.1.200.
const SOURCES: usize = 200;
/// What a message is (RFC 6455, 5.2).
const TEXT: u8 = 0x1;
/// The same, of bytes.
pub const BINARY: u8 = 0x2;

/// A connection.
pub struct Link {
    /// The socket.
    pub stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    transport: Transport,
    /// Whether the answer to the upgrade is still to come.
    upgrading: bool,
    /// Whether it reads nothing but what it is told to.
    is_held: bool,
    has_answered_a_ping: bool,
    /// Why it ended, once it has.
    why_closed: Option<String>,
    /// Came, and is not a whole frame yet.
    kept: Vec<u8>,
    /// To be written.
    out: Vec<u8>,
    frame: Vec<u8>,
}

impl Link {
    /// Connects, as the client of that number; over TLS, where it is said how.
    pub fn connect(
        to: SocketAddr,
        number: usize,
        transport: Transport,
        tls: Option<&Arc<ClientConfig>>,
    ) -> io::Result<Self> {
        let mut link = Self::connect_to_floor(to, number, transport)?;
        link.tls = tls.map(tls::connection).transpose().map_err(io::Error::other)?.map(Box::new);
        if transport == Transport::Ws {
            link.upgrade(to, "/v1/ws", "Sec-WebSocket-Protocol: carillon.v1\r\n");
        }
        Ok(link)
    }

    /// Connects to another server's WebSocket.
    pub fn connect_to_peer(to: SocketAddr, number: usize, path: &str) -> io::Result<Self> {
        let mut link = Self::connect_to_floor(to, number, Transport::Ws)?;
        link.upgrade(to, path, "");
        Ok(link)
    }

    /// Whether it is past the upgrade.
    pub fn is_open(&self) -> bool {
        !self.upgrading
    }

    fn upgrade(&mut self, to: SocketAddr, path: &str, more: &str) {
        self.upgrading = true;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {to}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
        );
        self.out.extend_from_slice(request.as_bytes());
    }

    /// Connects to something that writes frames without a handshake before them.
    pub fn connect_to_floor(to: SocketAddr, number: usize, transport: Transport) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
        if to.ip().is_loopback() && to.is_ipv4() {
            let source = SocketAddr::from(([127, 0, 1, 1 + (number % SOURCES) as u8], 0));
            socket.bind(&source.into())?;
        }
        socket.connect(&to.into())?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            stream: TcpStream::from_std(socket.into()),
            tls: None,
            transport,
            upgrading: false,
            is_held: false,
            has_answered_a_ping: false,
            why_closed: None,
            kept: Vec::new(),
            out: Vec::new(),
            frame: Vec::new(),
        })
    }

    /// Appends a frame to what will be written.
    pub fn say(&mut self, frame: &Frame<'_>) {
        match self.transport {
            Transport::Tcp => encode(frame, &mut self.out),
            Transport::Ws => {
                let mut bytes = std::mem::take(&mut self.frame);
                bytes.clear();
                encode(frame, &mut bytes);
                self.say_bytes(&bytes);
                self.frame = bytes;
            }
        }
    }

    /// Appends a WebSocket message of these bytes to what will be written.
    pub fn say_bytes(&mut self, bytes: &[u8]) {
        self.say_masked(BINARY, [0; 4], bytes);
    }

    /// The same as text.
    pub fn say_text(&mut self, text: &str) {
        self.say_masked(TEXT, [0; 4], text.as_bytes());
    }

    /// The same with bytes that are masked already, with this key.
    pub fn say_masked(&mut self, opcode: u8, key: [u8; 4], masked: &[u8]) {
        write_masked_header(&mut self.out, opcode, key, masked.len());
        self.out.extend_from_slice(masked);
    }

    /// Appends bytes that are not framed at all.
    pub fn say_raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Writes what the kernel takes; says whether that was all.
    pub fn flush(&mut self) -> io::Result<bool> {
        if self.is_closed() {
            return Ok(false);
        }
        let mut written = 0;
        while written < self.out.len() {
            let out = &self.out[written..];
            let taken = match &mut self.tls {
                None => self.stream.write(out),
                Some(tls) => rustls::Stream::new(tls.as_mut(), &mut self.stream).write(out),
            };
            match taken {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.drain(..written);
        if let Some(tls) = &mut self.tls {
            flush_tls(tls, &mut self.stream)?;
        }
        if self.out.is_empty() && self.out.capacity() > 4096 {
            self.out = Vec::new();
        }
        Ok(self.out.is_empty())
    }

    /// Reads what came and calls `each` for every frame. An end of the connection is an error.
    pub fn read(&mut self, scratch: &mut [u8], mut each: impl FnMut(&mut Self, Frame<'_>)) -> io::Result<()> {
        self.read_messages(scratch, |link, bytes| link.frames(bytes, &mut each))
    }

    /// Reads what came and calls `each` with it, a WebSocket message at a time; what it says it has not used comes again
    /// with what follows, on TCP.
    pub fn read_messages(
        &mut self,
        scratch: &mut [u8],
        mut each: impl FnMut(&mut Self, &[u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        loop {
            let read = self.read_once(scratch, &mut each)?;
            // A read that fills the buffer may have left something, and nobody is told of it again. A TLS session hands out
            // a record at a time; only the socket says when there is no more.
            if read == 0 || (read < scratch.len() && self.tls.is_none()) {
                return Ok(());
            }
        }
    }

    /// Reads once, and calls `each` with what came; says how many bytes that were.
    fn read_once(
        &mut self,
        scratch: &mut [u8],
        each: &mut impl FnMut(&mut Self, &[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let read = loop {
            let read = match &mut self.tls {
                None => self.stream.read(scratch),
                Some(tls) => rustls::Stream::new(tls.as_mut(), &mut self.stream).read(scratch),
            };
            match read {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => break read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        if self.kept.is_empty() {
            let used = self.take(&scratch[..read], each)?;
            self.kept.extend_from_slice(&scratch[used..read]);
        } else {
            let mut kept = std::mem::take(&mut self.kept);
            kept.extend_from_slice(&scratch[..read]);
            let used = self.take(&kept, each)?;
            kept.drain(..used);
            self.kept = if kept.is_empty() { Vec::new() } else { kept };
        }
        Ok(read)
    }

    /// Reads at most so many bytes, and calls `each` for every frame that is whole.
    pub fn sip(&mut self, scratch: &mut [u8], mut each: impl FnMut(&mut Self, Frame<'_>)) -> io::Result<()> {
        self.read_once(scratch, &mut |link, bytes| link.frames(bytes, &mut each)).map(drop)
    }

    /// From now on it reads only what it is told to ([`Link::sip`]).
    pub fn hold(&mut self) {
        self.is_held = true;
    }

    /// It reads again as everyone does.
    pub fn release(&mut self) {
        self.is_held = false;
    }

    /// Whether it is held.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// Appends the answer to a ping to what will be written.
    pub fn answer_ping(&mut self, stamp: u64) {
        self.has_answered_a_ping = true;
        self.say(&Frame::Pong { stamp });
    }

    /// Whether a ping came, and was answered.
    pub fn has_answered_a_ping(&self) -> bool {
        self.has_answered_a_ping
    }

    /// Ends it, without a goodbye.
    pub fn cut(&mut self) {
        self.why_closed = Some("cut on purpose".into());
        // It may have ended by itself already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// It has ended. Whether that is news.
    pub fn closed(&mut self, error: &io::Error) -> bool {
        let is_news = self.why_closed.is_none();
        self.why_closed.get_or_insert_with(|| error.to_string());
        is_news
    }

    /// Whether it has ended.
    pub fn is_closed(&self) -> bool {
        self.why_closed.is_some()
    }

    /// Why it ended.
    pub fn why_closed(&self) -> &str {
        self.why_closed.as_deref().unwrap_or("it has not")
    }

    /// Takes what is whole; says how much that was.
    fn take(
        &mut self,
        bytes: &[u8],
        each: &mut impl FnMut(&mut Self, &[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut at = 0;
        if self.upgrading {
            let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(0) };
            if !bytes.starts_with(b"HTTP/1.1 101 ") {
                let answer = String::from_utf8_lossy(&bytes[..end]).into_owned();
                return Err(io::Error::other(format!("the upgrade was refused: {answer}")));
            }
            self.upgrading = false;
            at = end + 4;
        }
        match self.transport {
            Transport::Tcp => Ok(at + each(self, &bytes[at..])?),
            Transport::Ws => {
                while let Some((payload, used)) = message(&bytes[at..])? {
                    each(self, payload)?;
                    at += used;
                }
                Ok(at)
            }
        }
    }

    fn frames(&mut self, bytes: &[u8], each: &mut impl FnMut(&mut Self, Frame<'_>)) -> io::Result<usize> {
        let mut at = 0;
        loop {
            match decode(&bytes[at..], usize::MAX).map_err(io::Error::other)? {
                Decoded::Frame { frame, used } => {
                    at += used;
                    each(self, frame);
                }
                Decoded::Skipped { used } => at += used,
                Decoded::Incomplete => return Ok(at),
            }
        }
    }
}

/// Writes what a session has encrypted, as far as the kernel takes it.
fn flush_tls(tls: &mut ClientConnection, stream: &mut TcpStream) -> io::Result<()> {
    while tls.wants_write() {
        match tls.write_tls(stream) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The header of a client's message. A key of zeros masks nothing, and is as good as any against a node.
fn write_masked_header(out: &mut Vec<u8>, opcode: u8, key: [u8; 4], len: usize) {
    out.push(0x80 | opcode);
    match len {
        0..=125 => out.push(0x80 | len as u8),
        126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&key);
}

/// The server's next message, if it is whole: its payload (of a control frame nothing), and how long it was.
fn message(bytes: &[u8]) -> io::Result<Option<(&[u8], usize)>> {
    let [first, second, ..] = bytes else { return Ok(None) };
    let (len, at) = match second & 0x7f {
        126 => (bytes.get(2..4).map(|len| u64::from(u16::from_be_bytes([len[0], len[1]]))), 4),
        127 => (bytes.get(2..10).map(|len| len.iter().fold(0, |all, &byte| all << 8 | u64::from(byte))), 10),
        short => (Some(u64::from(short)), 2),
    };
    let Some(end) = len.map(|len| at + len as usize).filter(|end| *end <= bytes.len()) else {
        return Ok(None);
    };
    match first & 0x0f {
        // Of a message in parts each part is taken as it comes.
        0x0 | TEXT | BINARY => Ok(Some((&bytes[at..end], end))),
        0x8 => Err(io::Error::other(format!(
            "closed: {}",
            String::from_utf8_lossy(&bytes[(at + 2).min(end)..end])
        ))),
        _ => Ok(Some((&[], end))),
    }
}
