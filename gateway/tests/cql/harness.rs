//! The harness of the promises, with nodes whose store is a keyspace of their own in a CQL server.

use std::ops::{Deref, DerefMut};
use std::time::{SystemTime, UNIX_EPOCH};

use carillon_devservers::Cql;
use carillon_gateway::config::{Config, StoreKind};
use carillon_gateway::serve::cql_config;

#[path = "../promises/harness.rs"]
mod promises;

pub use promises::*;

pub struct Node(promises::Node);

impl Node {
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(&Cql::shared().unwrap(), change)
    }

    pub fn start_at(server: &str, change: impl FnOnce(&mut Config)) -> Self {
        Self(promises::Node::start_with(|config| {
            config.store = StoreKind::Cql;
            config.cql = vec![server.parse().unwrap()];
            config.cql_keyspace = new_keyspace().parse().unwrap();
            config.cql_timeout_ms = 20_000;
            change(config);
            apply_schema(config);
        }))
    }
}

impl Deref for Node {
    type Target = promises::Node;

    fn deref(&self) -> &promises::Node {
        &self.0
    }
}

impl DerefMut for Node {
    fn deref_mut(&mut self) -> &mut promises::Node {
        &mut self.0
    }
}

pub fn new_keyspace() -> String {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("t{}_{}", since_1970.as_micros(), std::process::id())
}

fn apply_schema(config: &Config) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(carillon_storage::apply_schema(&cql_config(config).unwrap(), 1)).unwrap();
}
