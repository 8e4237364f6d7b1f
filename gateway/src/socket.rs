//! What a connection reads from and writes to: a TCP socket, or a client within the process.
//!
//! A client within the process is for measuring a shard without the kernel (`shard/within.rs`): it takes everything at once
//! and keeps none of it. A connection's row is no larger for it.

use std::cell::Cell;
use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// One end of a connection: ours.
pub enum Socket {
    /// To a client somewhere else.
    Tcp(TcpStream),
    /// To a client within the process.
    Within,
}

thread_local! {
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

/// Bytes that clients within the process have taken from this thread so far, all together.
pub fn taken() -> u64 {
    TAKEN.get()
}

impl Socket {
    /// Lets `registry` know of it, where the kernel does.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => registry.register(socket, token, Interest::READABLE | Interest::WRITABLE),
            Self::Within => Ok(()),
        }
    }

    /// Takes it out of `registry`.
    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => registry.deregister(socket),
            Self::Within => Ok(()),
        }
    }

    /// Says to the peer that nothing more will be written.
    pub fn shut(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Self::Within => Ok(()),
        }
    }
}

impl Read for Socket {
    #[inline]
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.read(space),
            // What it says is handed to the shard.
            Self::Within => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Socket {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write(bytes),
            Self::Within => Ok(take(bytes.len())),
        }
    }

    #[inline]
    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(socket) => socket.write_vectored(pieces),
            Self::Within => Ok(take(pieces.iter().map(|piece| piece.len()).sum())),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn take(len: usize) -> usize {
    TAKEN.set(TAKEN.get() + len as u64);
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_no_larger_for_clients_within_the_process() {
        assert_eq!(size_of::<Socket>(), size_of::<TcpStream>());
    }

    #[test]
    fn a_client_within_the_process_takes_everything_and_says_nothing() {
        let (mut socket, before) = (Socket::Within, taken());
        assert_eq!(socket.write(b"abc").expect("it takes everything"), 3);
        let pieces = [IoSlice::new(b"de"), IoSlice::new(b"f")];
        assert_eq!(socket.write_vectored(&pieces).expect("it takes everything"), 3);
        assert_eq!(taken() - before, 6);
        let nothing = socket.read(&mut [0; 8]).expect_err("what it says is handed to the shard");
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }
}
