//! Centrifugo's WebSocket, in the JSON form of its client protocol: one channel for the room, published to by a client.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::foreign::{Alike, Dialect};
use crate::link::Link;

/// What its clients say and hear.
pub(super) struct Centrifugo {
    deliveries: Alike,
    commands: u64,
}

impl Centrifugo {
    /// For texts of that many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        // The first two of a client are its connect and its subscribe.
        Self { deliveries: Alike::new(bytes), commands: 2 }
    }
}

impl Dialect for Centrifugo {
    fn path(&self) -> String {
        "/connection/websocket".into()
    }

    fn command(&self, program: &Path, address: SocketAddr, folder: &Path) -> anyhow::Result<Command> {
        let config = serde_json::json!({
            "http_server": { "address": address.ip().to_string(), "port": address.port().to_string() },
            // No tokens and no rights; nobody is pinged during a run.
            "client": { "insecure": true, "ping_interval": "1h" },
            "log": { "level": "error" },
        });
        let path = folder.join("centrifugo.json");
        std::fs::write(&path, config.to_string())?;
        let mut command = Command::new(program);
        command.arg("-c").arg(path);
        Ok(command)
    }

    fn greet(&self, is_publisher: bool, link: &mut Link) {
        let subscribe = if is_publisher { "" } else { "\n{\"id\":2,\"subscribe\":{\"channel\":\"room\"}}" };
        link.say_text(&format!("{{\"id\":1,\"connect\":{{}}}}{subscribe}"));
    }

    fn join(&self, is_publisher: bool, _: &mut Link, message: &[u8]) -> bool {
        let answer: &[u8] =
            if is_publisher { b"{\"id\":1,\"connect\":" } else { b"{\"id\":2,\"subscribe\":" };
        message.split(|&byte| byte == b'\n').any(|line| line.starts_with(answer))
    }

    fn publish(&mut self, link: &mut Link, messages: u64) {
        let text = self.deliveries.text();
        let first = self.commands + 1;
        self.commands += messages;
        let publish =
            |id| format!("{{\"id\":{id},\"publish\":{{\"channel\":\"room\",\"data\":\"{text}\"}}}}");
        let commands: Vec<String> = (first..=self.commands).map(publish).collect();
        link.say_text(&commands.join("\n"));
    }

    /// Several may come in one message, a line each.
    fn deliveries(&mut self, message: &[u8]) -> Option<u64> {
        let mut came = 0;
        for line in message.split(|&byte| byte == b'\n') {
            came += u64::from(self.deliveries.is_one(line).then_some(true)?);
        }
        Some(came)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What version 6.9.1 said.
    const HEARD: &str = r#"{"push":{"channel":"room","pub":{"data":"xxxxx","info":{"user":"","client":"98c48ded-3410-48ea-be62-7141d38fe5a0"}}}}"#;

    #[test]
    fn every_line_is_a_delivery_and_anything_else_is_noticed() {
        let mut centrifugo = Centrifugo::new(5);
        assert_eq!(centrifugo.deliveries(HEARD.as_bytes()), Some(1));
        assert_eq!(centrifugo.deliveries(format!("{HEARD}\n{HEARD}").as_bytes()), Some(2));
        assert_eq!(centrifugo.deliveries(HEARD.replace("xxxxx", "xxxxy").as_bytes()), None);
        assert_eq!(centrifugo.deliveries(br#"{"push":{"channel":"room","disconnect":{}}}"#), None);
    }
}
