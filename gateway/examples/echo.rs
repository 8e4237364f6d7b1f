//! A WebSocket server that sends back what it gets, on the transport that the gateway serves with: for conformance suites
//! (`tests/autobahn_finds_no_fault.rs`), and for `carillon-loadtest echo`. `cargo run --release -p carillon-gateway --example
//! echo -- 127.0.0.1:9001`, then point another suite at `ws://127.0.0.1:9001/v1/ws`.
//!
//! One thread, and the turns of a shard: read into one buffer, parse in place, answer into outboxes, write each once. What a
//! shard does besides (sessions, rooms, limits) is not here.

use std::collections::HashMap;
use std::io::{self, Read as _};

use carillon_gateway::encoded::Format;
use carillon_gateway::outbox::{Flush, Outbox};
use carillon_gateway::transport::http::{self, Asked};
use carillon_gateway::transport::websocket::{self, Opcode, Read, Takes, WebSocket};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

/// Suites send messages of up to 16 MiB.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// Who does not take answers is not read on past so many bytes of them.
const OUTBOX_BYTES_MAX: usize = 256 * 1024;
const READ_BYTES: usize = 64 * 1024;
const LISTENER: Token = Token(usize::MAX);

struct Connection {
    socket: TcpStream,
    /// Nothing until the upgrade.
    websocket: Option<WebSocket>,
    /// Came, and is not a whole frame yet.
    partial: Vec<u8>,
    outbox: Outbox,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// What else the peer says is not listened to; it ends once the outbox is written.
    Closing,
    /// All is said; the peer ends it.
    Shut,
}

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9001".to_owned());
    let address = address.parse().map_err(|_| io::Error::other("an address is 127.0.0.1:9001, say"))?;
    let mut listener = TcpListener::bind(address)?;
    announce(&listener)?;
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut shard = Shard { poll, connections: HashMap::new(), next: 0, scratch: vec![0; 2 * READ_BYTES] };
    let mut events = Events::with_capacity(1024);
    loop {
        shard.turn(&listener, &mut events)?;
    }
}

#[expect(clippy::print_stdout, reason = "who starts it on a free port is told which")]
fn announce(listener: &TcpListener) -> io::Result<()> {
    println!("listens on {}", listener.local_addr()?);
    Ok(())
}

struct Shard {
    poll: Poll,
    connections: HashMap<usize, Connection>,
    next: usize,
    scratch: Vec<u8>,
}

impl Shard {
    fn turn(&mut self, listener: &TcpListener, events: &mut Events) -> io::Result<()> {
        match self.poll.poll(events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in events.iter() {
            if event.token() == LISTENER {
                self.accept(listener)?;
                continue;
            }
            let Some(connection) = self.connections.get_mut(&event.token().0) else { continue };
            if let Err(error) = connection.serve(&mut self.scratch) {
                if error.kind() != io::ErrorKind::UnexpectedEof {
                    eprintln!("a connection ended: {error}");
                }
                self.connections.remove(&event.token().0);
            }
        }
        Ok(())
    }

    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            let mut socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let _ = socket.set_nodelay(true);
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut socket, Token(self.next), interest)?;
            let (websocket, partial, outbox) = (None, Vec::new(), Outbox::default());
            let connection = Connection { socket, websocket, partial, outbox, state: State::Open };
            self.connections.insert(self.next, connection);
            self.next += 1;
        }
    }
}

impl Connection {
    /// Writes, reads and answers until there is no more to do just now. The end of the connection is an error.
    fn serve(&mut self, scratch: &mut [u8]) -> io::Result<()> {
        loop {
            // It is read again once the kernel takes more of what it asked for.
            if self.write()? == Flush::Blocked && self.outbox.bytes() > OUTBOX_BYTES_MAX {
                return Ok(());
            }
            let kept = self.partial.len();
            scratch[..kept].copy_from_slice(&self.partial);
            let read = match self.socket.read(&mut scratch[kept..kept + READ_BYTES]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let bytes = &mut scratch[..kept + read];
            let used = self.take(bytes);
            if kept > 0 || used < bytes.len() {
                self.partial = bytes[used..].into();
            }
            // The kernel had no more than that: it says so when it has.
            if read < READ_BYTES {
                return self.write().map(drop);
            }
        }
    }

    fn write(&mut self) -> io::Result<Flush> {
        let flush = self.outbox.flush(&mut self.socket, Format::WebSocket)?;
        if flush == Flush::Done && self.state == State::Closing {
            self.socket.shutdown(std::net::Shutdown::Write)?;
            self.state = State::Shut;
        }
        Ok(flush)
    }

    /// Takes what is whole and appends the answers; says how much that was.
    fn take(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && self.state == State::Open {
            match self.take_next(&mut bytes[at..]) {
                Some(used) => at += used,
                None => return at,
            }
        }
        bytes.len()
    }

    /// Takes the next thing, if it is whole.
    fn take_next(&mut self, bytes: &mut [u8]) -> Option<usize> {
        let Some(open) = &mut self.websocket else { return self.upgrade(bytes) };
        let outbox = &mut self.outbox;
        match open.read(bytes, MESSAGE_BYTES_MAX) {
            Ok(Read::Message { text, payload, used }) => {
                let opcode = if text { Opcode::Text } else { Opcode::Binary };
                outbox.push_own(|out| {
                    websocket::write_header(out, opcode, payload.len());
                    out.extend_from_slice(&payload);
                });
                Some(used)
            }
            Ok(Read::Ping { payload, used }) => {
                outbox.push_own(|out| websocket::write_pong(out, payload));
                Some(used)
            }
            Ok(Read::Used(used) | Read::Pong { used }) => Some(used),
            Ok(Read::Incomplete) => None,
            Ok(Read::Close { code }) => self.close(|out| websocket::write_close_answer(out, code)),
            Err(violation) => self.close(|out| websocket::write_close(out, violation.code, violation.reason)),
        }
    }

    fn upgrade(&mut self, bytes: &[u8]) -> Option<usize> {
        match http::parse(bytes, &[]) {
            Ok(None) => None,
            Ok(Some(Asked::Upgrade(upgrade))) => {
                self.outbox.push_own(|out| http::write_upgrade(out, &upgrade));
                self.websocket = Some(WebSocket::new(Takes::Both));
                Some(upgrade.head_bytes)
            }
            Ok(Some(Asked::Get { .. })) => self.close(|_| {}),
            Err(refusal) => self.close(|out| out.extend_from_slice(&refusal.response())),
        }
    }

    /// Says the last thing; nothing that comes counts any more.
    fn close(&mut self, last: impl FnOnce(&mut Vec<u8>)) -> Option<usize> {
        self.outbox.push_own(last);
        self.state = State::Closing;
        Some(0)
    }
}
