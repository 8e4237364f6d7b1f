//! Measurements: one piece of the gateway a file. `benches/` times them and counts their instructions; what is
//! measured stands here once.

pub mod allocated;
pub mod baseline;
pub mod client;
pub mod cluster;
pub mod codec;
pub mod echo;
pub mod fan_out;
pub mod log_append;
pub mod mailbox;
pub mod memory;
pub mod node;
pub mod outbox;
pub mod sequencing;
pub mod websocket;
