//! The Rust client: connect, send, and follow rooms without a gap, across reconnects.
//!
//! ```no_run
//! # async fn run() -> carillon_sdk::Result<()> {
//! use carillon_sdk::{Client, Update};
//!
//! let (client, mut updates) = Client::builder("ws://127.0.0.1:8080/v1/ws").token("…").connect().await?;
//! let room = client.create_room("Ringers", []).await?;
//! let sent = room.send("hi").await?; // durable now
//! println!("event {} of the room", sent.seq);
//! while let Some(update) = updates.next().await {
//!     println!("{update:?}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What it promises: a send that returned is durable; one that was retried appears once; [`Updates`] carry every
//! event of every room of the user from the moment of connecting, per room in seq order, each once, none left out.
//! Lost connections are made again with exponential back-off and jitter, and what was missed is asked for. Nothing is
//! kept on disk: a new process starts at the rooms' heads, or where [`ClientBuilder::position`] says.
//!
//! Over TLS: `wss://host/v1/ws`, or `tls://host:port` without the WebSocket; [`ClientBuilder::trust_pem`] says whom to
//! trust instead of whom the system trusts.
//!
//! What it bounds: requests that wait for an answer ([`ClientBuilder::pending_max`]) and updates that wait for the app
//! ([`ClientBuilder::updates_max`]).

mod builder;
mod client;
mod connection;
mod room;
mod update;

mod session;

mod feed;
mod ordering;

mod backoff;
mod requests;

mod error;
mod link;
mod trust;

pub use builder::ClientBuilder;
pub use client::{Client, Updates};
pub use error::{Error, Result};
pub use room::{History, Room, Sent};
pub use update::{ConnectionState, Update};

pub use carillon_protocol::frame::{Member, Role, RoomEntry};
pub use carillon_protocol::{ClientId, CloseCode, ErrorCode, Event, EventBody, RoomId, UserId};
