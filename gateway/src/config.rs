//! Settings: what can be set, what each costs, and what must hold between them.
//!
//! A setting is defined once, in the list below. From that come its field of [`Config`], its key in the TOML
//! file, its `CARILLON_…` variable, its `--flag`, its line in `carillon config` and in `docs/gateway.toml`.
//! Where a setting comes from (file, then environment, then flags; the later wins) is `config/load.rs`.

mod load;
mod print;
mod table;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;

use carillon_storage::Consistency;

pub use load::{CONFIG_VARIABLE, Origin, SettingError, Settings, Sources};
pub use table::Setting;
pub(crate) use value::with_underscores;
pub use value::{
    Given, HostPort, Keyspace, LogFormat, LogLevel, NatsServer, NodeName, StoreKind, Value, WebOrigin,
};

table::settings! {
    "Network" {
        /// Address and port of the WebSocket, of HTTP and of the page at `/`.
        /// Port 0 lets the system choose a free one, which the start-up lines name.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8080));

        /// Address and port of the same over TLS (`wss://`, `https://`, raw TCP), beside `listen`; empty for none.
        /// To be reached over TLS alone, let `listen` stay on this machine, for health checks. Each connection
        /// takes some two kibibytes more.
        tls_listen: Option<SocketAddr> = None;

        /// File with the certificate to show, in PEM: the node's own first, then those between it and the
        /// root. SIGHUP reads it and the key anew; connections stay. One that has expired, or is another
        /// key's, refuses to start.
        tls_certificate: Option<PathBuf> = None;

        /// File with the certificate's private key, in PEM and not encrypted. ECDSA (P-256) makes a handshake
        /// much cheaper for this node than RSA.
        tls_key: Option<PathBuf> = None;

        /// Web pages that may connect, such as `https://chat.example.com`; empty lets any page connect. A
        /// browser on another page is refused with status 403. Clients that are not browsers send no origin
        /// and always pass.
        allowed_origins: Vec<WebOrigin> = Vec::new();

        /// Connections this node holds at once. An idle one costs about a kibibyte here and a few in the
        /// kernel, and one of the process's open files. A further one is told with status 503, or over raw TCP with
        /// 4003 (overloaded).
        connections_max: usize = 1_000_000, within 1..=100_000_000;

        /// Connections from one IP address at once; 0 for no limit. Everyone behind one proxy or one office
        /// router shares an address: set it to 0 or high there. A further one is told
        /// with status 503, or over raw TCP with 4003 (overloaded).
        connections_per_ip_max: usize = 20_000, within 0..=100_000_000;

        /// How long a new connection has to complete its handshake and say hello, in milliseconds. More is
        /// kinder to slow networks and lets half-open connections hold memory longer. Then it is closed with
        /// 4500.
        handshake_timeout_ms: u64 = 10_000, within 100..=600_000;

        /// How often a quiet connection is pinged, in milliseconds.
        /// Less finds dead peers and lost events sooner, and wakes phones and this node's CPU more often.
        ping_interval_ms: u64 = 25_000, within 100..=3_600_000;

        /// How long a connection may stay silent, not even answering pings, in milliseconds.
        /// Then it is closed with 4001 (idle). More keeps vanished clients, and their memory, longer.
        idle_timeout_ms: u64 = 60_000, within 200..=7_200_000;

        /// How long a node that was told to stop waits for its clients to take what is theirs and go, in
        /// milliseconds. Then it closes what is left; what was acknowledged is durable either way. Give the
        /// supervisor a few seconds more.
        drain_timeout_ms: u64 = 10_000, within 0..=3_600_000;
    }

    "What a client may send" {
        /// Largest frame taken from a client, in bytes. Each connection in the middle of a frame may hold
        /// that much. A larger one closes the connection with 4504 (too large).
        frame_bytes_max: usize = 65_536, within 1_024..=16_777_216;

        /// Longest text of a message, in bytes of UTF-8. More makes every step of a message, the store
        /// included, heavier. A longer one is answered TOO_LARGE.
        text_bytes_max: usize = 16_384, within 1..=16_777_216;

        /// Longest name of a room, in bytes of UTF-8.
        /// It is repeated in every list of rooms. A longer one is answered TOO_LARGE.
        name_bytes_max: usize = 256, within 1..=65_536;

        /// Bytes that may wait for one connection. More bridges longer pauses of slow clients, each of which
        /// may cost that much memory. Past it what waits is dropped, and the client is told from where to
        /// catch up: nothing is lost.
        outbox_bytes_max: usize = 262_144, within 4_096..=1_073_741_824;

        /// Users that one request may add to a room.
        /// All of them must fit in one frame and are one event of the room. More are answered LIMIT.
        members_per_request_max: usize = 1_000, within 1..=1_000_000;

        /// Requests that a connection may make in a second. More lets one client take more of its shard.
        /// Further ones are answered RATE_LIMITED until the second is over; typing is dropped.
        requests_per_second_max: usize = 10_000, within 1..=1_000_000_000;
    }

    "Rooms" {
        /// Rooms a user may be in. Each costs its users' homes some memory and makes the list of rooms
        /// longer. A further one is answered LIMIT.
        rooms_per_user_max: usize = 1_000, within 1..=1_000_000;

        /// Members a room may have. An active room holds every member and read marker in memory, some 64
        /// bytes each. A further one is answered LIMIT.
        members_per_room_max: usize = 20_000, within 2..=10_000_000;

        /// Members up to which a room's events are handed to each member's connections by name. In a larger
        /// room each shard keeps a list of who listens, which costs memory and saves work. Raise it where
        /// most rooms are small and few of their members are connected.
        inbox_limit: usize = 64, within 0..=65_536;

        /// Members up to which a room shows its members each other's read markers as they move. Every marker
        /// goes to every member: the traffic grows with the square. Larger rooms keep exact markers and show
        /// them on demand.
        receipts_members_max: usize = 100, within 0..=65_536;

        /// Events that one answer to `sync` carries at most. More means fewer round trips for clients that
        /// were away and longer turns for everyone else; the rest takes another request.
        sync_events_max: usize = 500, within 1..=100_000;

        /// How many events back a client may catch up. One that missed more is answered with a snapshot and
        /// starts near the end. More means more reading from the store after a long absence.
        sync_reach_events: u64 = 10_000, within 1..=1_000_000_000;

        /// Recent events an active room keeps in memory.
        /// More answers more catching up without touching the store, and costs memory in every active room.
        room_events_kept: usize = 128, within 1..=65_536;

        /// Recently used client ids an active room keeps in memory, to know a retry at once.
        /// Older ones are looked up in the store. Each costs about 64 bytes in every active room.
        dedupe_ids_kept: usize = 1_024, within 1..=1_048_576;

        /// How long a room stays in memory after its last use, in milliseconds. More saves reading it again
        /// from the store, and costs the memory of every room touched in that time.
        room_idle_ms: u64 = 60_000, within 100..=86_400_000;
    }

    "Shards" {
        /// Threads that serve connections and rooms, each alone on what it owns; 0 for one on each core.
        /// More than there are cores makes everything slower.
        shards: usize = 0, within 0..=1_024;

        /// Shares into which all rooms and users are divided, each owned by one shard. Fixed at the first
        /// start with a data folder: another value refuses to start. Many more than all shards together
        /// spread the load evenly; each costs a little memory and a record in the log's checkpoints.
        partitions: u16 = 64, within 1..=4_096;

        /// This node's name, in logs and to other nodes; empty for the host's name.
        node: NodeName = NodeName::default();

        /// Batches that may wait from one shard for another. More absorbs longer turns and lets latency grow
        /// before anyone is told. Past it senders are answered BUSY.
        mailbox_batches: usize = 256, within 1..=65_536;

        /// Requests that may wait in one shard for its rooms and its log. More bridges longer pauses of the
        /// disk, with memory and latency. Past it senders are answered BUSY and come back.
        requests_waiting_max: usize = 65_536, within 1..=16_777_216;
    }

    "Storage" {
        /// Folder for the log, the store and the development key; made when it is missing.
        /// One process at a time uses it. A relative path starts where carillon was started.
        data: PathBuf = PathBuf::from("carillon-data");

        /// Size at which the log goes on in a new file, in bytes.
        /// The log is trimmed by whole files: larger ones are fewer and free their space later.
        log_segment_bytes: u64 = 67_108_864, within 1_048_576..=1_073_741_824;

        /// Size of the log at which nothing more is accepted, in bytes. It grows only while the store falls
        /// behind. At the limit sends are answered UNAVAILABLE until the store has caught up.
        log_bytes_max: u64 = 4_294_967_296, within 2_097_152..=1_099_511_627_776;

        /// Where the long-term tables are: `embedded`, in the data folder; or `cql`, in ScyllaDB or Apache
        /// Cassandra, for rooms and histories that one disk cannot hold, or that must outlive it. The one does not see
        /// what the other has.
        store: StoreKind = StoreKind::Embedded;

        /// Memory for what was read from the embedded store last, in bytes: lists of rooms, older history.
        /// More spares reading after many came back at once; past it, reads go to the kernel's page cache.
        store_cache_bytes: u64 = carillon_storage::CACHE_BYTES, within 1_048_576..=1_099_511_627_776;

        /// How often the store is made durable so that the log can be trimmed, in milliseconds. More means
        /// fewer disk flushes, a longer log and a longer start after a crash. Acknowledged messages are
        /// durable in the log regardless.
        archive_persist_ms: u64 = 1_000, within 10..=600_000;

        /// How old the oldest event may be that is in the log and not in the store, in milliseconds, before `/healthz`
        /// says `degraded`. Sends go on: it is for whoever looks after the store.
        archive_late_ms: u64 = 10_000, within 100..=86_400_000;
    }

    "NATS" {
        /// NATS servers, `nats://host:4222` or `tls://host:4222` each; one suffices to find the others of its cluster.
        /// Empty for a node that stands alone and keeps its log on its own disk. NATS 2.15 or newer with JetStream,
        /// and `sync_interval: always` where a power cut must lose nothing.
        nats: Vec<NatsServer> = Vec::new();

        /// File with the credentials to show to the NATS servers: as `nsc` writes them, or the seed of an NKEY; empty for
        /// none.
        nats_credentials: Option<PathBuf> = None;

        /// JetStream streams that hold the log's partitions; the same on every node, and fixed at the first start.
        /// Each is kept together by its replicas: few do more appends in a second than many, one or two for each
        /// server are best.
        nats_streams: u16 = 2, within 1..=64;

        /// NATS servers that each have a copy of the log: 1, 3 or 5; the same on every node. With 3 one may be lost
        /// at any moment; with 1, for development, nothing may. More makes every append slower.
        nats_replicas: usize = 3, within 1..=5;

        /// What the log may take on each of these servers, in bytes. It grows only while the store falls behind. At
        /// the limit sends are answered UNAVAILABLE until the store has caught up.
        nats_log_bytes_max: u64 = 4_294_967_296, within 2_097_152..=1_099_511_627_776;

        /// What the names of this cluster's streams, subjects and buckets begin with; letters, digits, - and _. The
        /// same on every node. Two clusters on the same NATS servers have different ones.
        nats_prefix: NodeName = NodeName::of_cluster();

        /// How long a node may say nothing before the others take over what it was the home of, in milliseconds; whole
        /// seconds. Less shortens the pause after a crash, and takes a node for dead that is only slow.
        node_ttl_ms: u64 = 3_000, within 1_000..=60_000;

        /// How long NATS may be silent before sends are answered UNAVAILABLE, in milliseconds. More hides longer
        /// elections of a leader from clients, which wait meanwhile.
        nats_append_timeout_ms: u64 = 10_000, within 100..=600_000;
    }

    "The store in ScyllaDB or Cassandra" {
        /// Some of the servers, such as `db1.example.com:9042`; the others are found through these.
        /// Needed where `store` is `cql`; `carillon schema apply` makes the tables.
        cql: Vec<HostPort> = Vec::new();

        /// Keyspace of the tables. Counters are in the one with `_counters` behind its name.
        cql_keyspace: Keyspace = Keyspace::default();

        /// User to log in as; empty where the servers ask for none.
        cql_user: Option<String> = None;

        /// File with that user's password. Space around it does not count.
        cql_password_file: Option<PathBuf> = None;

        /// Data centre whose servers are asked first; empty to ask all alike.
        /// With more than one data centre set it: requests to a distant one take its distance.
        cql_datacenter: Option<String> = None;

        /// How many replicas must have done a read or a write: `local_quorum`, `quorum`, `one`, `local_one` or
        /// `all`. With less than a quorum a server's failure may take back what the log has been trimmed of.
        cql_consistency: Consistency = Consistency::LocalQuorum;

        /// How long one request to the servers may take, in milliseconds. Then it is tried again, later and
        /// later, while the log keeps what it was about; a client's request is answered UNAVAILABLE.
        cql_timeout_ms: u64 = 5_000, within 100..=600_000;

        /// After how long a read is asked of a second replica as well, in milliseconds; 0 for never.
        /// It cuts off slow answers, and costs the servers more reads the lower it is.
        cql_speculative_ms: u64 = 0, within 0..=60_000;

        /// Members up to which a room's unread messages are also kept in counters in the database, for badge totals and
        /// readers outside; 0 keeps none. A flush of a room updates a counter for each member, which costs the servers
        /// as much as 45 rows.
        counters_members_max: u64 = 0, within 0..=10_000;

        /// How often the counters of rooms with news are updated, in milliseconds. More makes one update of what
        /// many messages changed, and badges later.
        counters_interval_ms: u64 = 5_000, within 100..=600_000;

        /// How much of the time counters may take, in percent, in small pieces with rests between them: about as much of what the
        /// servers can do. Where more has changed than that counts in an interval, badges come later, as
        /// `counters.lag_ms` of `/v1/stats` says; it does not hold while the log is more than half full.
        counters_time_percent: u64 = 10, within 1..=100;

        /// File with the certificates, in PEM, that the servers' own must lead up to. Set, all is said over TLS.
        cql_tls_ca: Option<PathBuf> = None;
    }

    "Tokens" {
        /// Key files that tokens may be signed with, or folders of them. `NAME.hs256` holds a shared secret
        /// of 32 bytes or more, `NAME.ed25519` an Ed25519 public key in PEM; NAME is the key's `kid`. Where
        /// none is named, a development key is made in the data folder, and `carillon token` signs with it.
        token_keys: Vec<PathBuf> = Vec::new();

        /// Audience that a token must name in `aud`; empty for any.
        token_audience: Option<String> = None;

        /// Issuer that a token must name in `iss`; empty for any.
        token_issuer: Option<String> = None;

        /// How far the clocks of token issuer and node may differ, in seconds.
        /// A token is good that much before its `nbf` and after its `exp`; more keeps expired ones alive.
        token_leeway_s: u64 = 30, within 0..=3_600;
    }

    "Logs" {
        /// How log lines look on stderr: `text` for people, `json` for machines.
        log_format: LogFormat = LogFormat::Text;

        /// Least severe level that is logged: `off`, `error`, `warn`, `info`, `debug` or `trace`. Different
        /// for parts of the program: `info,carillon_gateway::log=debug`. From `debug` on every connection
        /// writes lines.
        log_level: LogLevel = LogLevel::default();
    }
}

/// Bytes a frame has around its text, name or members: numbers, ids and lengths.
pub const FRAME_OVERHEAD_BYTES: u64 = 128;

/// `large` must be at least `times · small + plus`.
struct Rule {
    small: &'static str,
    times: u64,
    plus: u64,
    large: &'static str,
    because: &'static str,
}

/// What must hold between settings.
const RULES: &[Rule] = &[
    Rule {
        small: "text_bytes_max",
        times: 1,
        plus: FRAME_OVERHEAD_BYTES,
        large: "frame_bytes_max",
        because: "the longest message must fit in a frame",
    },
    Rule {
        small: "name_bytes_max",
        times: 1,
        plus: FRAME_OVERHEAD_BYTES,
        large: "frame_bytes_max",
        because: "the longest room name must fit in a frame",
    },
    Rule {
        small: "members_per_request_max",
        times: 8,
        plus: FRAME_OVERHEAD_BYTES,
        large: "frame_bytes_max",
        because: "all members of a request must fit in a frame, at 8 bytes each",
    },
    Rule {
        small: "frame_bytes_max",
        times: 1,
        plus: 0,
        large: "outbox_bytes_max",
        because: "an outbox must hold a frame",
    },
    Rule {
        small: "frame_bytes_max",
        times: 2,
        plus: 0,
        large: "log_segment_bytes",
        because: "a file of the log must hold a batch",
    },
    Rule {
        small: "log_segment_bytes",
        times: 2,
        plus: 0,
        large: "log_bytes_max",
        because: "the log is trimmed by whole files and needs room for a second one",
    },
    Rule {
        small: "members_per_request_max",
        times: 1,
        plus: 1,
        large: "members_per_room_max",
        because: "a room must hold its creator and those it is created with",
    },
    Rule {
        small: "sync_events_max",
        times: 1,
        plus: 0,
        large: "sync_reach_events",
        because: "a client must be able to catch up by a whole answer",
    },
    Rule {
        small: "ping_interval_ms",
        times: 1,
        plus: 1,
        large: "idle_timeout_ms",
        because: "a quiet client must be pinged before it counts as gone",
    },
];

impl Config {
    /// The node's name: as set, or the host's, or `node`.
    pub fn node_name(&self) -> NodeName {
        if self.node.is_empty() { NodeName::of_host() } else { self.node.clone() }
    }

    /// How many shards to start: as set, or one on each core.
    pub fn shard_count(&self) -> usize {
        if self.shards > 0 {
            return self.shards;
        }
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_speaks_of_numbers_that_exist() {
        let config = Config::default();
        for name in RULES.iter().flat_map(|rule| [rule.small, rule.large]) {
            let setting = Setting::named(name).unwrap_or_else(|| panic!("no setting {name}"));
            assert!(setting.value(&config).number().is_some(), "{name} is not a number");
        }
    }

    #[test]
    fn every_number_has_bounds_and_a_default_within_them() {
        let config = Config::default();
        for setting in Config::SETTINGS {
            let Some(number) = setting.value(&config).number() else { continue };
            let bounds = setting.bounds.as_ref().unwrap_or_else(|| panic!("{} has no bounds", setting.name));
            assert!(bounds.contains(&number), "{}", setting.name);
        }
    }
}
