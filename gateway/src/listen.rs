//! Listening: every shard binds the same port, and the kernel shares connections out among them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mio::net::TcpListener;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that may wait to be accepted; the kernel cuts it to `net.core.somaxconn`.
pub(crate) const BACKLOG: i32 = 4096;

/// Where a shard lets connections in.
pub struct Door {
    /// The listening socket.
    pub listener: TcpListener,
    /// How hands are shaken; not at all where nothing is encrypted.
    pub tls: Option<Arc<ServerConfig>>,
    /// It has more connections than were accepted.
    pub is_accepting: bool,
}

impl Door {
    /// One at which somebody may wait already.
    pub fn new(listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> Self {
        Self { listener, tls, is_accepting: true }
    }
}

/// As many listeners on one address as there are shards. Where its port is 0, the first one's choice is everyone's.
///
/// A port that another process listens on is refused, although all of ours share theirs: the first listener is bound
/// without `SO_REUSEPORT` to find out.
pub fn bind(address: SocketAddr, shards: u16) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    drop(socket(address, false)?);
    let first = socket(address, true)?;
    let address = first.local_addr()?.as_socket().unwrap_or(address);
    let mut sockets = vec![first];
    for _ in 1..shards {
        sockets.push(socket(address, true)?);
    }
    let listeners = sockets.into_iter().map(|socket| {
        socket.listen(BACKLOG)?;
        Ok(TcpListener::from_std(socket.into()))
    });
    Ok((address, listeners.collect::<io::Result<_>>()?))
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // A restart need not wait for the connections of the process before it.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
