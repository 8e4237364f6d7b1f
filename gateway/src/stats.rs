//! What is counted: one row of numbers a shard, written by that shard alone and read by whoever asks.
//!
//! A count is defined once, in the list below; `/v1/stats` shows each under its name.

use std::sync::atomic::{AtomicU64, Ordering};

use carillon_protocol::CloseCode;
use serde_json::{Map, Value, json};

/// A number with one writer.
#[derive(Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds to it. Only its shard may: this is no atomic addition, and need not be one.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    /// Sets it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! shard_stats {
    ($($(#[doc = $sentence:literal])* $name:ident),* $(,)?) => {
        /// What one shard counts.
        // On lines of its own, so that shards do not disturb each other.
        #[derive(Default)]
        #[repr(align(128))]
        pub struct ShardStats {
            $($(#[doc = $sentence])* pub $name: Count,)*
            closes: [Count; CloseCode::ALL.len()],
        }

        impl ShardStats {
            /// Every number with its name and what it means.
            pub fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), concat!($($sentence),*), self.$name.get())),*].into_iter()
            }
        }
    };
}

shard_stats! {
    /// Connections accepted.
    accepted,
    /// Connections refused for a limit.
    refused,
    /// Connections that have gone.
    ended,
    /// Connections now.
    connections,
    /// Sessions opened.
    sessions,
    /// Large rooms that sessions get, each counted for each session.
    subscriptions,
    /// Frames received.
    frames,
    /// Requests refused.
    refusals,
    /// Connections that broke the WebSocket protocol.
    violations,
    /// TLS handshakes completed.
    tls_handshakes,
    /// Those among them that resumed an earlier session.
    tls_resumed,
    /// TLS sessions, begun or whole, that ended with an alert.
    tls_failed,
    /// Frames appended to outboxes for recipients.
    delivered,
    /// Ephemeral frames dropped because their recipient was slow.
    ephemeral_dropped,
    /// Times a slow client was told to catch up.
    lagged,
    /// Bytes that waited in outboxes, looked at once a ping interval.
    outbox_bytes,
    /// Rooms in memory.
    rooms_active,
}

impl ShardStats {
    /// A connection is closed with that code.
    pub fn closed(&self, code: CloseCode) {
        let place = CloseCode::ALL.iter().position(|(known, ..)| *known == code);
        if let Some(count) = place.and_then(|place| self.closes.get(place)) {
            count.add(1);
        }
    }
}

/// What a node counts.
pub struct NodeStats {
    shards: Box<[ShardStats]>,
}

impl NodeStats {
    /// For that many shards.
    pub fn new(shards: u16) -> Self {
        Self { shards: (0..shards).map(|_| ShardStats::default()).collect() }
    }

    /// One shard's row.
    pub fn of(&self, shard: u16) -> &ShardStats {
        &self.shards[usize::from(shard)]
    }

    /// All rows added up, by name.
    pub fn total(&self) -> Map<String, Value> {
        let mut total: Map<String, Value> = Map::new();
        for (name, _, value) in self.shards.iter().flat_map(ShardStats::all) {
            let sum = total.get(name).and_then(Value::as_u64).unwrap_or(0) + value;
            total.insert(name.to_owned(), json!(sum));
        }
        let closes = CloseCode::ALL.iter().enumerate().map(|(place, (_, name, _))| {
            let sum: u64 = self.shards.iter().map(|shard| shard.closes[place].get()).sum();
            (name.to_ascii_lowercase(), json!(sum))
        });
        total.insert("closed".to_owned(), Value::Object(closes.collect()));
        total
    }
}
