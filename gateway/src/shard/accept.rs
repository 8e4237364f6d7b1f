//! Letting connections in.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use mio::Token;
use mio::net::TcpStream;
use rustls::ServerConfig;

use super::Shard;
use crate::connections::{Connection, Key, State};
use crate::outbox::Outbox;
use crate::socket::Socket;
use crate::tls::session::Tls;
use crate::wire::Wire;

/// Connections accepted in one turn, so that a storm of them does not stop those who are in.
const ACCEPTS_MAX: usize = 256;

/// Connections over a limit that are told so at the same time.
const REFUSED_MAX: usize = 1024;

impl Shard {
    /// Accepts what waits, up to a turn's share. Where descriptors have run out, the next tick tries again.
    pub(super) fn accept(&mut self) {
        for door in 0..self.doors.len() {
            self.accept_at(door);
        }
    }

    fn accept_at(&mut self, door: usize) {
        for _ in 0..ACCEPTS_MAX {
            let Some(door) = self.doors.get_mut(door).filter(|door| door.is_accepting) else { return };
            match door.listener.accept() {
                Ok((socket, peer)) => {
                    let tls = door.tls.clone();
                    self.accepted(socket, peer.ip(), tls);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => door.is_accepting = false,
                Err(error) if is_exhausted(&error) => {
                    tracing::warn!(%error, "a connection waits: no descriptor is free for it");
                    door.is_accepting = false;
                }
                // The peer went away between its SYN and our accept.
                Err(_) => {}
            }
        }
    }

    /// A connection gets a row. One over a limit gets one too, for long enough to be told why; past [`REFUSED_MAX`] of
    /// those it is only dropped.
    fn accepted(&mut self, mut socket: TcpStream, peer: IpAddr, tls: Option<Arc<ServerConfig>>) {
        let refused = !self.node.admission.admit(peer);
        if refused {
            self.stats().refused.add(1);
            if self.refused >= REFUSED_MAX {
                return;
            }
        }
        // Each turn's writes are one write already; waiting for more would only delay them.
        let _ = socket.set_nodelay(true);
        match begin(&mut socket, tls) {
            Ok(tls) => {
                self.seat(Socket::Tcp(socket), tls, peer, refused);
            }
            Err(_) if refused => {}
            Err(_) => self.node.admission.release(peer),
        }
    }

    /// Gives a connection its row; nothing where it cannot be waited for.
    pub(super) fn seat(
        &mut self,
        socket: Socket,
        tls: Option<Box<Tls>>,
        peer: IpAddr,
        refused: bool,
    ) -> Option<Key> {
        let entry = Connection {
            socket,
            tls,
            peer,
            wire: Wire::default(),
            outbox: Outbox::default(),
            owed_bytes: 0,
            partial: Box::default(),
            session: None,
            heard: self.ticks.count,
            state: State { refused, ..State::default() },
        };
        let key = self.connections.insert(entry);
        self.refused += usize::from(refused);
        let registry = self.sockets.get_ref().registry();
        if self.connections.get_mut(key)?.socket.register(registry, Token(key.index as usize)).is_err() {
            self.remove(key);
            return None;
        }
        self.stats().accepted.add(1);
        self.let_go_later(key);
        Some(key)
    }
}

/// A socket that failed already is not worth a row. One that did not begins its handshake, where there is one.
fn begin(socket: &mut TcpStream, tls: Option<Arc<ServerConfig>>) -> io::Result<Option<Box<Tls>>> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    tls.map(|config| Tls::new(config).map(Box::new)).transpose().map_err(io::Error::other)
}

fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
