//! A session on a thread of its own: it asks, and waits for the answer.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use carillon_protocol::frame::RoomEntry;
use carillon_protocol::{Decoded, Event, Frame, RoomId, decode, encode};

use crate::token::Signer;

/// How long an answer may take; then the connection counts as dead.
const ANSWER: Duration = Duration::from_secs(15);
/// Before something is asked again that could not be answered.
const AGAIN: Duration = Duration::from_millis(50);

/// A blocking connection with a session.
pub struct Session {
    stream: TcpStream,
    bytes: Vec<u8>,
    out: Vec<u8>,
    requests: u64,
}

impl Session {
    /// Opens one for that user's device, and waits until it is welcome.
    pub fn open(address: SocketAddr, signer: &Signer, user: u64, device: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_nodelay(true)?;
        let mut session = Self { stream, bytes: Vec::new(), out: Vec::new(), requests: 0 };
        let token = signer.token(user).into();
        session.say(&Frame::Hello { token, device: device.into(), agent: None });
        session.flush()?;
        loop {
            match session.hear()? {
                Frame::Welcome { .. } => return Ok(session),
                Frame::Error { code, message, .. } => {
                    return Err(io::Error::other(format!("not welcome: {code:?} {message}")));
                }
                // In a cluster a welcome waits until the user's home knows; pings and events do not.
                _ => {}
            }
        }
    }

    /// The next request's number.
    pub fn next_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }

    /// Appends a frame to what will be written.
    pub fn say(&mut self, frame: &Frame<'_>) {
        encode(frame, &mut self.out);
    }

    /// Writes what there is to say.
    pub fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// The next frame that comes.
    pub fn hear(&mut self) -> io::Result<Frame<'static>> {
        loop {
            match decode(&self.bytes, usize::MAX).map_err(io::Error::other)? {
                Decoded::Frame { frame, used } => {
                    let frame = frame.into_owned();
                    self.bytes.drain(..used);
                    return Ok(frame);
                }
                Decoded::Skipped { used } => drop(self.bytes.drain(..used)),
                Decoded::Incomplete => {
                    let mut more = [0; 65_536];
                    let read = self.stream.read(&mut more)?;
                    if read == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    self.bytes.extend_from_slice(&more[..read]);
                }
            }
        }
    }

    /// Says a request, and waits for its answer; what else comes is passed over.
    pub fn ask(&mut self, frame: &Frame<'_>, number: u64) -> io::Result<Frame<'static>> {
        self.say(frame);
        self.flush()?;
        loop {
            let frame = self.hear()?;
            if frame.request() == Some(number) {
                return Ok(frame);
            }
        }
    }

    /// All events of a room, from the beginning.
    pub fn history(&mut self, room: RoomId) -> io::Result<Vec<Event<'static>>> {
        let mut all: Vec<Event<'static>> = Vec::new();
        loop {
            let (number, after_seq) = (self.next_request(), all.len() as u64);
            match self.ask(&Frame::Sync { request: number, room, after_seq, limit: 0 }, number)? {
                Frame::Events { events, head_seq, .. } => {
                    if events.is_empty() && after_seq < head_seq {
                        let what = format!("nothing after {after_seq} of {head_seq} events of room {room}");
                        return Err(io::Error::other(what));
                    }
                    all.extend(events);
                    if all.len() as u64 >= head_seq {
                        return Ok(all);
                    }
                }
                Frame::Error { code, .. } if code.come_back() => thread::sleep(AGAIN),
                other => return Err(io::Error::other(format!("history was answered with {other:?}"))),
            }
        }
    }

    /// All rooms of the user.
    pub fn rooms(&mut self) -> io::Result<Vec<RoomEntry<'static>>> {
        let (mut all, mut page) = (Vec::new(), None);
        loop {
            let number = self.next_request();
            match self.ask(&Frame::Rooms { request: number, changed_since: 0, limit: 0, page }, number)? {
                Frame::RoomList { rooms, next, .. } => {
                    all.extend(rooms);
                    page = next;
                    if page.is_none() {
                        return Ok(all);
                    }
                }
                Frame::Error { code, .. } if code.come_back() => thread::sleep(AGAIN),
                other => {
                    return Err(io::Error::other(format!("the list of rooms was answered with {other:?}")));
                }
            }
        }
    }
}
