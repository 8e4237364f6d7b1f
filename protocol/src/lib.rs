//! Carillon's wire format: what client and gateway say to each other, and the bytes they say it in.
//!
//! A [`Frame`] is one sentence of the conversation. It has two forms, made from the same definition:
//! [`binary`] (subprotocol `carillon.v1`, raw TCP, QUIC streams) and [`json`] (subprotocol
//! `carillon.v1.json`). `docs/protocol.md` draws every frame; `protocol/vectors/` holds bytes that every
//! implementation must produce and accept.
//!
//! This crate does no I/O, reads no clock and never allocates by a length that a peer merely claimed.

#[macro_use]
mod table;

pub mod binary;
pub mod code;
pub mod event;
mod fields;
pub mod frame;
pub mod id;
pub mod json;
pub mod layout;
pub mod varint;

pub use binary::{
    Decoded, EventHeader, Malformed, decode, decode_event, encode, encode_event, encode_event_frame,
    encode_events_frame, event_header,
};
pub use code::{CloseCode, ErrorCode};
pub use event::{Event, EventBody};
pub use frame::Frame;
pub use id::{ClientId, RoomId, UserId};
pub use layout::{EventKind, Kind};

/// The WebSocket subprotocol whose binary messages hold one or more frames in [`binary`] form.
pub const SUBPROTOCOL_BINARY: &str = "carillon.v1";
/// The WebSocket subprotocol whose text messages hold one frame in [`json`] form.
pub const SUBPROTOCOL_JSON: &str = "carillon.v1.json";
