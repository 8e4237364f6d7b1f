//! The frames whose coding is measured.

use carillon_protocol::{ClientId, Event, EventBody, Frame, RoomId, UserId, encode};

/// No frame here is larger.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// A text of 64 bytes.
pub const TEXT: &str = "The bells of the old town ring at six, and all of us look upward";
/// A room.
pub const ROOM: RoomId = RoomId::from_bytes(*b"0123456789abcdef");

const CLIENT_ID: ClientId = ClientId::from_bytes(*b"fedcba9876543210");
const _: () = assert!(TEXT.len() == 64);

/// What a client says to send a message.
pub fn send() -> Frame<'static> {
    Frame::Send { request: 1_000, room: ROOM, client_id: CLIENT_ID, text: TEXT.into() }
}

/// What every member gets of it.
pub fn message() -> Frame<'static> {
    Frame::Event(Event {
        room: ROOM,
        seq: 123_456,
        ordinal: 123_400,
        at_ms: 1_790_000_000_000,
        sender: user(1_234_567),
        body: EventBody::Message { client_id: CLIENT_ID, text: TEXT.into() },
    })
}

/// A frame's bytes.
pub fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    encode(frame, &mut bytes);
    bytes
}

/// The user of that number, from 1 up.
pub fn user(number: u64) -> UserId {
    UserId::new(number).expect("users have numbers from 1 up")
}

/// A client id that no other number gives.
pub fn client_id(number: u64) -> ClientId {
    let mut bytes = [0x42; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    ClientId::from_bytes(bytes)
}
