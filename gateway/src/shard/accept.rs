//! Letting connections in.

use std::io;

use mio::Interest;
use mio::Token;
use mio::net::TcpStream;

use super::Shard;
use crate::connections::{Connection, State};
use crate::outbox::Outbox;
use crate::wire::Wire;

/// Connections accepted in one turn, so that a storm of them does not stop those who are in.
const ACCEPTS_MAX: usize = 256;

/// Connections over a limit that are told so at the same time.
const REFUSED_MAX: usize = 1024;

impl Shard {
    /// Accepts what waits, up to a turn's share. Where descriptors have run out, the next tick tries again.
    pub(super) fn accept(&mut self) {
        if !self.accepting {
            return;
        }
        for _ in 0..ACCEPTS_MAX {
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((socket, peer)) => self.accepted(socket, peer.ip()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.accepting = false;
                    return;
                }
                Err(error) if is_exhausted(&error) => {
                    tracing::warn!(%error, "a connection waits: no descriptor is free for it");
                    self.accepting = false;
                    return;
                }
                // The peer went away between its SYN and our accept.
                Err(_) => {}
            }
        }
    }

    /// A connection gets a row. One over a limit gets one too, for long enough to be told why; past [`REFUSED_MAX`] of
    /// those it is only dropped.
    fn accepted(&mut self, mut socket: TcpStream, peer: std::net::IpAddr) {
        let refused = !self.node.admission.admit(peer);
        if refused {
            self.stats().refused.add(1);
            if self.refused >= REFUSED_MAX {
                return;
            }
        }
        // Each turn's writes are one write already; waiting for more would only delay them.
        let _ = socket.set_nodelay(true);
        let entry = Connection {
            socket: match socket_ready(&mut socket) {
                Ok(()) => socket,
                Err(_) if refused => return,
                Err(_) => return self.node.admission.release(peer),
            },
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
        let Some(connection) = self.connections.get_mut(key) else { return };
        let interest = Interest::READABLE | Interest::WRITABLE;
        if registry.register(&mut connection.socket, Token(key.index as usize), interest).is_err() {
            return self.remove(key);
        }
        self.stats().accepted.add(1);
        self.let_go_later(key);
    }
}

/// A socket that failed already is not worth a row.
fn socket_ready(socket: &mut TcpStream) -> io::Result<()> {
    match socket.take_error()? {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
