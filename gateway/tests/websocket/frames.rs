//! A client's frames, right and wrong, and what the transport makes of a stream of them.

use carillon_gateway::transport::websocket::{Read, Takes, Violation, WebSocket};

/// The limit in these tests.
pub const MESSAGE_BYTES_MAX: usize = 70_000;

pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;
pub const FIN: u8 = 0x80;

/// A masked frame whose first byte is `first`.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x5a, 0x13, 0xc7, 0x81];
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&key);
    bytes.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ key[index % 4]));
    bytes
}

/// What came of a stream, as it can be compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Close(Option<u16>),
    Violation(u16),
}

/// Feeds a stream in pieces of the given sizes (the last one repeats), keeping what is incomplete as the shard does.
pub fn feed(takes: Takes, stream: &[u8], pieces: &[usize]) -> Vec<Got> {
    let mut websocket = WebSocket::new(takes);
    let (mut got, mut kept, mut stream) = (Vec::new(), Vec::new(), stream);
    let mut sizes = pieces.iter().copied().chain(std::iter::repeat(*pieces.last().unwrap()));
    while !stream.is_empty() {
        let (piece, rest) = stream.split_at(sizes.next().unwrap().clamp(1, stream.len()));
        stream = rest;
        kept.extend_from_slice(piece);
        match read_all(&mut websocket, &mut kept, &mut got) {
            Ok(used) => drop(kept.drain(..used)),
            Err(()) => return got,
        }
    }
    got
}

/// Reads as far as it goes; an error where nothing that follows counts.
fn read_all(websocket: &mut WebSocket, bytes: &mut [u8], got: &mut Vec<Got>) -> Result<usize, ()> {
    let mut at = 0;
    while at < bytes.len() {
        match websocket.read(&mut bytes[at..], MESSAGE_BYTES_MAX) {
            Ok(Read::Message { text: true, payload, used }) => {
                got.push(Got::Text(String::from_utf8(payload.into_owned()).expect("it was checked")));
                at += used;
            }
            Ok(Read::Message { text: false, payload, used }) => {
                got.push(Got::Binary(payload.into_owned()));
                at += used;
            }
            Ok(Read::Ping { payload, used }) => {
                got.push(Got::Ping(payload.to_vec()));
                at += used;
            }
            Ok(Read::Used(used) | Read::Pong { used }) => at += used,
            Ok(Read::Incomplete) => break,
            Ok(Read::Close { code }) => {
                got.push(Got::Close(code));
                return Err(());
            }
            Err(Violation { code, reason }) => {
                assert!(reason.ends_with('.'), "{reason}");
                got.push(Got::Violation(code));
                return Err(());
            }
        }
    }
    Ok(at)
}

/// Feeds a stream at once.
pub fn feed_whole(stream: &[u8]) -> Vec<Got> {
    feed(Takes::Both, stream, &[usize::MAX])
}
