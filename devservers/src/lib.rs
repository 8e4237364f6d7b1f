//! Real servers for tests, benches and developers: started with data of their own in a temporary folder, on ports of
//! 127.0.0.1 that were free, and stopped by their own process ids when the value is dropped.
//!
//! Everything here blocks the thread that calls it; a test on one of tokio's may do that, a server's loop may not.

mod cassandra;
pub mod cql;
pub mod find;
pub mod gateway;
pub mod nats;
pub mod ports;
pub mod process;
pub mod way;

pub use cql::{Cql, CqlConfig};
pub use gateway::{Gateway, GatewayConfig};
pub use nats::{Nats, NatsConfig};
pub use process::Server;
