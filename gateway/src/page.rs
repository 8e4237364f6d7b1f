//! What the port answers to plain HTTP: the chat page, and what operators ask.
//!
//! The page is embedded, so that one binary is all there is to run. It loads nothing from elsewhere and runs no
//! inline script, and its headers hold it to that.

use serde_json::json;

use crate::auth::Keys;
use crate::cluster::status::Trouble;
use crate::shard::Node;

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
        Self { status, content_type: "text/plain; charset=utf-8", body: text.as_bytes().into() }
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

/// Whether a restart would help: a log that has failed takes nothing until then. What ends by itself (NATS away, above all) is
/// said, and is no reason to restart: that would cost every session and change nothing.
fn health(node: &Node) -> Response {
    match node.log.status().failed {
        true => Response::text(503, "the log has failed; restart this node\n"),
        false => Response::text(200, trouble(node).map_or("ok\n", Trouble::sentence)),
    }
}

/// Whether new clients should be sent here: not to a node that cannot welcome them, or is about to stop.
fn readiness(node: &Node) -> Response {
    let health = health(node);
    let status = if trouble(node).is_some() { 503 } else { health.status };
    Response { status, ..health }
}

fn trouble(node: &Node) -> Option<Trouble> {
    node.cluster.as_ref()?.trouble()
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
            "refused": log.refused,
            "last_error": log.last_error,
            "failed": log.failed,
        }),
    );
    stats.insert(
        "archive".into(),
        json!({
            "lag_batches": archiving.lag_batches,
            "batches": archiving.batches,
            "bytes": archiving.bytes,
            "dead_letters": archiving.dead_letters,
            "failures_in_a_row": archiving.failures_in_a_row,
            "last_error": archiving.last_error,
        }),
    );
    stats.into()
}
