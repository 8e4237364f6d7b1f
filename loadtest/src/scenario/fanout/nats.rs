//! nats-server's WebSocket listener: one subject for the room.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::foreign::Dialect;
use crate::link::Link;

/// The protocol's opening, without an answer to everything (`verbose`).
const CONNECT: &str =
    "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"load\",\"version\":\"1\"}\r\n";

/// What its clients say and hear.
pub(super) struct Nats {
    publish: String,
    /// What every delivery is. They come several to a message, and may go on in the next; so bytes are counted.
    delivery: Vec<u8>,
    bytes_left_over: usize,
}

impl Nats {
    /// For texts of that many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        let text = "x".repeat(bytes);
        Self {
            publish: format!("PUB room {bytes}\r\n{text}\r\n"),
            delivery: format!("MSG room 1 {bytes}\r\n{text}\r\n").into_bytes(),
            bytes_left_over: 0,
        }
    }
}

impl Dialect for Nats {
    fn path(&self) -> String {
        "/".into()
    }

    fn command(&self, program: &Path, address: SocketAddr, folder: &Path) -> anyhow::Result<Command> {
        let config = folder.join("nats.conf");
        // It pings no one during a run, so that every byte it sends is a delivery.
        std::fs::write(
            &config,
            format!(
                "host: 127.0.0.1\nport: -1\nping_interval: \"1h\"\n\
                 websocket {{ host: 127.0.0.1, port: {}, no_tls: true }}\n",
                address.port()
            ),
        )?;
        let mut command = Command::new(program);
        command.arg("-c").arg(config);
        Ok(command)
    }

    fn join(&self, is_publisher: bool, link: &mut Link, message: &[u8]) -> bool {
        // The server speaks first; who writes before that is cut off.
        if message.starts_with(b"INFO ") {
            let subscribe = if is_publisher { "" } else { "SUB room 1\r\n" };
            link.say_bytes(format!("{CONNECT}{subscribe}PING\r\n").as_bytes());
        }
        message.windows(6).any(|six| six == b"PONG\r\n")
    }

    fn publish(&mut self, link: &mut Link, messages: u64) {
        link.say_bytes(self.publish.repeat(messages as usize).as_bytes());
    }

    fn deliveries(&mut self, message: &[u8]) -> Option<u64> {
        if message.starts_with(b"-ERR") {
            return None;
        }
        // It says such things of itself, once, to whoever has just come.
        if message.starts_with(b"INFO ") || message == b"PING\r\n" {
            return Some(0);
        }
        self.bytes_left_over += message.len();
        let whole = self.bytes_left_over / self.delivery.len();
        self.bytes_left_over %= self.delivery.len();
        Some(whole as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_are_counted_however_they_are_cut() {
        let mut nats = Nats::new(2);
        assert_eq!(nats.deliveries(b"MSG room 1 2\r\nxx\r\nMSG room 1 2\r\nxx"), Some(1));
        assert_eq!(nats.deliveries(b"\r\n"), Some(1));
        assert_eq!(nats.deliveries(b"PING\r\n"), Some(0));
        assert_eq!(nats.deliveries(b"-ERR 'Slow Consumer'\r\n"), None);
    }
}
