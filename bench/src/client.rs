//! What a client says, as the bytes that reach the gateway.

use carillon_protocol::{Frame, RoomId};

use crate::codec::{TEXT, client_id, encoded};
use crate::websocket::masked;

/// Asks for a WebSocket.
pub const UPGRADE: &[u8] =
    b"GET /v1/ws HTTP/1.1\r\nHost: carillon\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Protocol: carillon.v1\r\n\r\n";

/// Opens a session.
pub fn hello(token: &str) -> Vec<u8> {
    said(&Frame::Hello { token: token.into(), device: "bench".into(), agent: None })
}

/// Sends the message of that number (from 1 up) into a room.
pub fn send(room: RoomId, number: u64) -> Vec<u8> {
    said(&Frame::Send { request: number, room, client_id: client_id(number), text: TEXT.into() })
}

fn said(frame: &Frame<'_>) -> Vec<u8> {
    masked(&encoded(frame))
}
