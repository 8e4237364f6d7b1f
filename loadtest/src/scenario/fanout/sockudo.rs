//! Sockudo's WebSocket, in the Pusher protocol: one private channel for the room, published to by a client (`client-` events),
//! so that its HTTP interface costs it nothing.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use aws_lc_rs::hmac;
use serde_json::Value;

use super::foreign::{Alike, Dialect};
use crate::link::Link;

/// The application that its clients are of, as they are told to Sockudo when it starts.
const APP_ID: &str = "load";
const KEY: &str = "load-key";
const SECRET: &str = "load-secret-of-a-run-on-this-machine";
/// Only members of a private channel may publish there.
const CHANNEL: &str = "private-room";
const EVENT: &str = "client-message";
/// More than any run needs.
const NO_LIMIT: &str = "1000000000";

/// What its clients say and hear.
pub(super) struct Sockudo {
    deliveries: Alike,
}

impl Sockudo {
    /// For texts of that many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        Self { deliveries: Alike::new(bytes) }
    }
}

impl Dialect for Sockudo {
    fn path(&self) -> String {
        format!("/app/{KEY}?protocol=7&client=load&version=1")
    }

    fn command(&self, program: &Path, address: SocketAddr, _: &Path) -> anyhow::Result<Command> {
        let mut command = Command::new(program);
        command
            .env("HOST", address.ip().to_string())
            .env("PORT", address.port().to_string())
            .env("METRICS_ENABLED", "false")
            .env("RATE_LIMITER_ENABLED", "false")
            // Nobody is pinged during a run.
            .env("ACTIVITY_TIMEOUT", "3600")
            .env("SOCKUDO_DEFAULT_APP_ID", APP_ID)
            .env("SOCKUDO_DEFAULT_APP_KEY", KEY)
            .env("SOCKUDO_DEFAULT_APP_SECRET", SECRET)
            .env("SOCKUDO_DEFAULT_APP_ENABLE_CLIENT_MESSAGES", "true")
            .env("SOCKUDO_DEFAULT_APP_MAX_CONNECTIONS", NO_LIMIT)
            .env("SOCKUDO_DEFAULT_APP_MAX_CLIENT_EVENTS_PER_SECOND", NO_LIMIT);
        Ok(command)
    }

    fn join(&self, _: bool, link: &mut Link, message: &[u8]) -> bool {
        let Ok(said) = serde_json::from_slice::<Value>(message) else { return false };
        match said["event"].as_str() {
            Some("pusher:connection_established") => {
                if let Some(socket) = socket_id(&said) {
                    link.say_text(&subscribe(&socket));
                }
                false
            }
            Some("pusher_internal:subscription_succeeded") => true,
            _ => false,
        }
    }

    fn publish(&mut self, link: &mut Link, messages: u64) {
        let text = self.deliveries.text();
        for _ in 0..messages {
            link.say_text(&format!(
                "{{\"event\":\"{EVENT}\",\"channel\":\"{CHANNEL}\",\"data\":\"{text}\"}}"
            ));
        }
    }

    fn deliveries(&mut self, message: &[u8]) -> Option<u64> {
        self.deliveries.is_one(message).then_some(1)
    }
}

/// The id that a new connection is told: within `data`, which is JSON in a string.
fn socket_id(said: &Value) -> Option<String> {
    let data: Value = serde_json::from_str(said["data"].as_str()?).ok()?;
    Some(data["socket_id"].as_str()?.to_owned())
}

fn subscribe(socket: &str) -> String {
    let signature = signature(SECRET, &format!("{socket}:{CHANNEL}"));
    serde_json::json!({
        "event": "pusher:subscribe",
        "data": { "channel": CHANNEL, "auth": format!("{KEY}:{signature}") },
    })
    .to_string()
}

/// HMAC-SHA256, in hexadecimal.
fn signature(secret: &str, what: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hmac::sign(&key, what.as_bytes()).as_ref().iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_channel_is_signed_for_as_the_pusher_protocol_shows() {
        // The example of the protocol's documentation on authentication.
        let signature = signature("7ad3773142a6692b25b8", "1234.1234:private-foobar");
        assert_eq!(signature, "58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4");
    }
}
