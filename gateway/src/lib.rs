//! The gateway: shards, transports, sessions, commands, homes, log.
//!
//! In reading order. `docs/life-of-a-message.md` walks one send through them.

pub mod config;
pub mod doctor;
pub mod logging;
pub mod serve;
pub mod startup;

pub mod background;
pub mod listen;
pub mod mailbox;
pub mod memory;
pub mod shard;

pub mod connections;
pub mod encoded;
pub mod outbox;
pub mod socket;
pub mod tls;
pub mod transport;
pub mod wire;

pub mod auth;
pub mod limits;
pub mod session;

pub mod command;
pub mod route;

pub mod follow;
pub mod home;
pub mod log;

pub mod cluster;

pub mod deliver;
pub mod delivery;
pub mod directory;

pub mod health;
pub mod page;
pub mod stats;
