//! How a node is, in a line each of what is wrong: for people, for balancers and for whoever restarts it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::follow::archive::ArchiveStatus;
use crate::follow::lag::Lag;
use crate::shard::Node;

/// From here on a log that fills is said to, in thousandths of what it may take.
const FILLING_PERMILLE: u64 = 750;
/// Requests to the store's servers that failed in a row before they are said to be away.
const FAILURES: u64 = 3;

/// How a node is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Health {
    /// Whether nothing but a restart would help.
    pub is_dead: bool,
    /// Whether new clients should be sent here.
    pub is_ready: bool,
    /// A line each of what is wrong; `ok` where nothing is.
    pub text: String,
}

impl Health {
    /// As of now. What ends by itself is said, and is no reason to restart: that would cost every session and change
    /// nothing. A store that is away or behind is none to send clients elsewhere either.
    pub fn of(node: &Node) -> Self {
        let log = node.log.status();
        if log.failed {
            let text = "the log has failed; restart this node\n".to_owned();
            return Self { is_dead: true, is_ready: false, text };
        }
        let trouble = node.cluster.as_ref().and_then(|cluster| cluster.trouble());
        let mut text = trouble.map(|trouble| trouble.sentence().to_owned()).unwrap_or_default();
        text.extend(store(node));
        text.extend(filling(log.used_permille));
        if text.is_empty() {
            text.push_str("ok\n");
        }
        Self { is_dead: false, is_ready: trouble.is_none(), text }
    }
}

/// What is in the log and not in the store.
pub fn lag(node: &Node) -> Lag {
    lag_of(node, &node.archiving.borrow())
}

fn lag_of(node: &Node, archiving: &ArchiveStatus) -> Lag {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    Lag::now(archiving, &node.log.last(), &node.archived.borrow(), now_ms)
}

/// What is wrong with the store, and by how much.
fn store(node: &Node) -> Option<String> {
    let archiving = node.archiving.borrow().clone();
    let lag = lag_of(node, &archiving);
    let failed = node.cql.as_ref().map_or(0, |store| store.status().failures_in_a_row);
    if lag.ms < node.config.archive_late_ms && failed < FAILURES {
        return None;
    }
    let what = if failed >= FAILURES || archiving.failures_in_a_row > 0 {
        "the store is away or refuses; what only it has is answered UNAVAILABLE"
    } else {
        "the store does not keep up"
    };
    let (events, seconds) = (lag.events, lag.ms / 1000);
    let why = match archiving.last_error {
        Some(error) if archiving.failures_in_a_row > 0 => format!(" ({})", error.replace('\n', " ")),
        _ => String::new(),
    };
    Some(format!(
        "degraded: {what}; {events} events, the oldest {seconds} s old, wait for it in the log; sends go on, and it catches \
         up by itself{why}\n"
    ))
}

fn filling(used_permille: u64) -> Option<String> {
    (used_permille >= FILLING_PERMILLE).then(|| {
        let percent = used_permille / 10;
        format!("degraded: the log is {percent} % full; when it is full, sends are answered UNAVAILABLE\n")
    })
}
