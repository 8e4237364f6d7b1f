//! Transports: how frames travel over a connection. Pure: bytes in, values out; the shard does the I/O.
//!
//! One port serves them all: the first byte tells an HTTP request (which may become a WebSocket, `/v1/ws`) from raw TCP,
//! where frames follow each other back to back.

pub mod http;
pub mod mask;
pub mod websocket;

/// What a connection's first byte says it speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// An HTTP request: methods are capital letters.
    Http,
    /// Frames: a client's first is `hello`, kind 1.
    Raw,
}

/// What a connection speaks; nothing where it is neither.
pub fn sniff(first: u8) -> Option<Protocol> {
    match first {
        b'A'..=b'Z' => Some(Protocol::Http),
        kind if kind == carillon_protocol::Kind::Hello.number() => Some(Protocol::Raw),
        _ => None,
    }
}
