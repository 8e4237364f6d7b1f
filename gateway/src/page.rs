//! What the port answers to plain HTTP: the chat page, and what operators ask.
//!
//! The page is embedded, so that one binary is all there is to run. It loads nothing from elsewhere and runs no
//! inline script, and its headers hold it to that.

use serde_json::json;

use crate::auth::Keys;
use crate::follow::counters::CountersStatus;
use crate::health::{self, Health};
use crate::shard::Node;
use carillon_storage::CqlStatus;

/// What is served as it is: path, media type, bytes.
type File = (&'static str, &'static str, &'static [u8]);

/// The page's files. Scripts need their media type, or browsers do not run them as modules.
macro_rules! files {
    ($($media_type:literal: $($name:literal),+;)+) => {
        &[$($((concat!("/", $name), $media_type, include_bytes!(concat!("../page/", $name)))),+),+]
    };
}

const INDEX: &str = "/index.html";
const FILES: &[File] = files! {
    "text/html; charset=utf-8": "index.html";
    "text/css; charset=utf-8": "style.css";
    "image/svg+xml": "icon.svg";
    "text/javascript; charset=utf-8":
        "app.js", "connection.js", "conversation.js", "dialogs.js", "dom.js", "format.js", "items.js", "log.js",
        "marks.js", "outbox.js", "rooms.js", "sync.js", "view.js";
};

/// How long a development token lasts: a working week of trying things out.
const DEV_TOKEN_TTL_S: u64 = 7 * 24 * 3600;

const TEXT: &str = "text/plain; charset=utf-8";

/// An answer to a GET.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The media type.
    pub content_type: &'static str,
    /// The body.
    pub body: std::borrow::Cow<'static, [u8]>,
}

impl Response {
    /// A few words.
    pub fn text(status: u16, text: &'static str) -> Self {
        Self { status, content_type: TEXT, body: text.as_bytes().into() }
    }

    fn line(status: u16, text: String) -> Self {
        Self { status, content_type: TEXT, body: text.into_bytes().into() }
    }

    fn json(value: &serde_json::Value) -> Self {
        Self { status: 200, content_type: "application/json", body: format!("{value}\n").into_bytes().into() }
    }
}

/// Answers a GET of `target` (path and query).
pub fn get(node: &Node, target: &str, now_s: u64) -> Response {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    match path {
        "/healthz" => health(node),
        "/readyz" => readiness(node),
        "/v1/stats" => Response::json(&stats(node)),
        "/v1/dev/token" => dev_token(&node.keys, query, now_s),
        _ => file(path),
    }
}

fn file(path: &str) -> Response {
    let path = if path == "/" { INDEX } else { path };
    match FILES.iter().find(|(known, ..)| *known == path) {
        Some((_, content_type, body)) => Response { status: 200, content_type, body: (*body).into() },
        None => Response::text(404, "There is nothing here. The chat is at /, the WebSocket at /v1/ws.\n"),
    }
}

/// Whether a restart would help: a log that has failed takes nothing until then.
fn health(node: &Node) -> Response {
    let health = Health::of(node);
    Response::line(if health.is_dead { 503 } else { 200 }, health.text)
}

/// Whether new clients should be sent here: not to a node that cannot welcome them, or is about to stop.
fn readiness(node: &Node) -> Response {
    let health = Health::of(node);
    Response::line(if health.is_ready { 200 } else { 503 }, health.text)
}

/// A token for `?user=N`, for trying things out: only while tokens are signed with the development key.
fn dev_token(keys: &Keys, query: &str, now_s: u64) -> Response {
    if !keys.is_development() {
        return Response::text(404, "This node has keys of its own: get a token from whoever holds them.\n");
    }
    let user = query.split('&').find_map(|pair| pair.strip_prefix("user="));
    let Some(user) = user.and_then(|user| user.parse().ok()).and_then(carillon_protocol::UserId::new) else {
        return Response::text(400, "Say for whom: /v1/dev/token?user=1\n");
    };
    match keys.mint(user, DEV_TOKEN_TTL_S, now_s) {
        Ok(token) => Response::json(&json!({ "token": token })),
        Err(error) => {
            tracing::error!(%error, "a development token could not be made");
            Response::text(500, "A token could not be made; the node's log says why.\n")
        }
    }
}

/// Everything that is counted, as JSON.
fn stats(node: &Node) -> serde_json::Value {
    let log = node.log.status();
    // First: what is not counted as waiting is in the status by then.
    let lag = health::lag(node);
    let archiving = node.archiving.borrow().clone();
    let mut stats = node.stats.total();
    if let Some(cluster) = &node.cluster {
        cluster.count(&mut stats);
    }
    stats.insert("users".into(), json!(node.directory.len()));
    stats.insert(
        "log".into(),
        json!({
            "syncs": log.syncs,
            "sync_time_us": log.sync_time_us,
            "groups": log.groups,
            "batches": log.batches,
            "bytes_written": log.bytes_written,
            "bytes_on_disk": log.bytes_on_disk,
            "segments": log.segments,
            "used": log.used_permille as f64 / 1000.0,
            "refused": log.refused,
            "last_error": log.last_error,
            "failed": log.failed,
        }),
    );
    stats.insert(
        "archive".into(),
        json!({
            "lag_batches": lag.batches,
            "lag_events": lag.events,
            "lag_ms": lag.ms,
            "batches": archiving.batches,
            "events": archiving.events,
            "bytes": archiving.bytes,
            "dead_letters": archiving.dead_letters,
            "failures_in_a_row": archiving.failures_in_a_row,
            "last_error": archiving.last_error,
        }),
    );
    if let Some(counting) = &node.counting {
        stats.insert("counters".into(), counters_stats(&counting.borrow()));
    }
    if let Some(store) = &node.cql {
        stats.insert("store".into(), store_stats(&store.status()));
    }
    stats.into()
}

/// How late the counters of unread messages are.
fn counters_stats(status: &CountersStatus) -> serde_json::Value {
    let lag_ms = status.waiting_since.map_or(0, |since| since.elapsed().as_millis() as u64);
    json!({
        "lag_ms": lag_ms,
        "rooms_waiting": status.rooms_waiting,
        "rooms_suspect": status.rooms_suspect,
        "updates": status.updates,
    })
}

/// Requests to the store's servers, by kind.
fn store_stats(status: &CqlStatus) -> serde_json::Value {
    let requests = status.kinds.iter().map(|kind| {
        let counts = json!({
            "count": kind.count,
            "failures": kind.failures,
            "timeouts": kind.timeouts,
            "rows": kind.rows,
            "total_us": kind.total_us,
            "p50_us": kind.p50_us,
            "p99_us": kind.p99_us,
        });
        (kind.name.to_owned(), counts)
    });
    json!({
        "failures_in_a_row": status.failures_in_a_row,
        "batches_in_flight_max": status.batches_in_flight_max,
        "requests": serde_json::Value::Object(requests.collect()),
    })
}
