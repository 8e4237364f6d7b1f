//! Driving: sessions in rooms that send, read, type and come back, each at a fixed rate, while every stream is checked and every
//! second is written down. The scenarios `sends`, `chat`, `broadcast`, `slow` and `soak` are mixes of it.
//!
//! The program that was called leads ([`lead`]); its workers gather their sessions and rooms ([`gather`]), act when something
//! is due ([`act`]) and check what comes ([`hear`]).

pub mod act;
pub mod gather;
pub mod hear;
pub mod lead;

use std::collections::HashMap;
use std::ops::Range;

use carillon_protocol::RoomId;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::check::{Faults, Stream};
use crate::fleet::Place;
use crate::report::Recorded;
use crate::worker::Sessions;

/// The longest latency that is told apart.
pub const LATENCY_MAX_US: u64 = 60_000_000;

/// One worker's share of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Load {
    /// Names the run, so that its rooms and messages are its own.
    pub run: Uuid,
    /// The worker's sessions.
    pub sessions: Sessions,
    /// The rooms they are in.
    pub rooms: Rooms,
    /// What they do.
    pub mix: Mix,
    /// Bytes of each text.
    pub bytes: usize,
    /// How long.
    pub timing: Timing,
    /// Those that read slowly.
    pub slow: Option<Slow>,
}

impl Load {
    /// The user of that client.
    fn user_of(&self, client: usize) -> u64 {
        self.sessions.first_user + client as u64
    }

    /// Whether a client is one of those that read slowly.
    fn is_slow(&self, client: usize) -> bool {
        self.slow_clients().contains(&client)
    }

    /// The clients that read slowly, who may be cut off for it.
    fn slow_clients(&self) -> Range<usize> {
        let slow = self.slow.map_or(0, |slow| slow.sessions);
        self.sessions.count.saturating_sub(slow) as usize..self.sessions.count as usize
    }
}

/// Which rooms a worker has.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Rooms {
    /// So many of its own, each with so many of its sessions as members.
    Small {
        /// The first one's number.
        first: u64,
        /// How many.
        count: u64,
        /// Members of each.
        members: u64,
    },
    /// One, and every session of every worker is its member.
    One {
        /// The users of all workers, numbered from 1.
        users: u64,
        /// Users of this worker who send; the first of them makes the room. 0 where another worker has them.
        senders: u64,
    },
}

/// What a worker's sessions do, in times a second for all of them together.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Mix {
    /// Messages.
    pub sends_per_s: f64,
    /// Read markers that move to a room's last event.
    pub reads_per_s: f64,
    /// Typing that begins.
    pub typing_per_s: f64,
    /// Connections that are cut and opened again.
    pub reconnects_per_s: f64,
}

/// A run's parts, one after another.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Timing {
    /// Seconds in which rates rise from nothing.
    pub ramp_s: u64,
    /// Seconds at full rates that do not count.
    pub warm_up_s: u64,
    /// Seconds that count.
    pub seconds: u64,
}

impl Timing {
    /// When it begins to count.
    pub fn measured_from_s(&self) -> u64 {
        self.ramp_s + self.warm_up_s
    }

    /// All of it.
    pub fn total_s(&self) -> u64 {
        self.measured_from_s() + self.seconds
    }
}

/// Sessions that read slowly: the worker's last ones.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Slow {
    /// How many.
    pub sessions: u64,
    /// Bytes that each reads in a second; 0 for none at all.
    pub bytes_per_s: u64,
}

/// The last event of each room that somebody was told of.
pub type Heads = HashMap<RoomId, u64>;

/// What a worker measured, once everything has arrived.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// From when a send was due until it was acknowledged, in microseconds; of sends that were due while it counted.
    pub acks_us: Recorded,
    /// From when a send was due until one client had it, in microseconds; as above, live deliveries.
    pub deliveries_us: Recorded,
    /// Sends that were due while it counted, and acknowledged.
    pub acknowledged: u64,
    /// Events that came live, in all.
    pub events: u64,
    /// Events that were caught up with.
    pub fetched: u64,
    /// Typing and read markers that came.
    pub signals: u64,
    /// Read markers acknowledged.
    pub reads: u64,
    /// Sessions cut on purpose, and back.
    pub returned: u64,
    /// Connections that ended by themselves.
    pub lost: u64,
    /// Rooms that clients were told they lag in.
    pub lagged: u64,
    /// What was wrong with the streams.
    pub faults: Faults,
    /// What the first refused request was told.
    pub refusal: Option<String>,
}

/// A worker's part of a run, between its orders.
pub struct Driving {
    load: Load,
    place: Place,
    rooms: Vec<Room>,
    /// The numbers of the rooms that each client is in.
    rooms_of: Vec<Vec<usize>>,
    streams: Vec<Stream>,
    measured: Measured,
    timed: Timed,
}

/// Latencies of what was due while it counted, in microseconds.
struct Timed {
    due_us: Range<u64>,
    acks: Histogram<u64>,
    deliveries: Histogram<u64>,
}

/// A room, and the clients that send into it.
struct Room {
    id: RoomId,
    senders: Vec<usize>,
}
