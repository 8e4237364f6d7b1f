//! What a message costs between two nodes, without the network: bytes, numbers, acknowledgements.

use bytes::Bytes;
use carillon_gateway::cluster::Target;
use carillon_gateway::cluster::link::{Link, LinkConfig, Output};
use carillon_gateway::cluster::view::NodeId;
use carillon_gateway::cluster::wire;
use carillon_gateway::delivery::{Audience, Delivery};
use carillon_gateway::encoded::{Class, Encoded};
use carillon_gateway::shard::message::Message;

use crate::codec::{ROOM, message, user};

/// Two nodes with a link between them, and a small message from one to the other.
pub struct Nodes {
    here: Link,
    there: Link,
    now_ms: u64,
    message: Message,
}

impl Nodes {
    /// Two that know each other. The message is a text of 64 bytes for two members of a room.
    pub fn new() -> Self {
        let [here, there] = [7, 9].map(|id| NodeId::new(id).expect("not 0"));
        let delivery = Delivery {
            room: ROOM,
            class: Class::Events { seq: 123_456 },
            encoded: Encoded::frame(&message()),
            audience: Audience::Users([user(1_234_567), user(7_654_321)].into()),
        };
        let mut nodes = Self {
            here: Link::new(here, there, 1, LinkConfig::default()),
            there: Link::new(there, here, 1, LinkConfig::default()),
            now_ms: 0,
            message: Message::Deliver(delivery),
        };
        while !(nodes.here.is_open() && nodes.there.is_open()) {
            nodes.exchange();
        }
        nodes
    }

    /// A batch of so many messages crosses and is acknowledged. Says how many came out.
    pub fn cross(&mut self, messages: usize) -> usize {
        let mut batch = Vec::new();
        for _ in 0..messages {
            wire::append(&mut batch, Target::Users, &self.message);
        }
        assert!(self.here.send(batch.into()).is_ok(), "there is room for one");
        self.exchange()
    }

    /// Datagrams in both directions, then an acknowledgement's delay passes.
    fn exchange(&mut self) -> usize {
        let Self { here, there, now_ms, .. } = self;
        carry(here, there, *now_ms);
        let got = take(there);
        *now_ms += LinkConfig::default().ack_delay_ms;
        carry(there, here, *now_ms);
        take(here);
        got
    }
}

impl Default for Nodes {
    fn default() -> Self {
        Self::new()
    }
}

fn carry(from: &mut Link, to: &mut Link, now_ms: u64) {
    while let Some(datagram) = from.datagram_out(now_ms) {
        to.on_datagram(now_ms, &Bytes::from(datagram)).expect("what a link writes a link reads");
    }
}

fn take(link: &mut Link) -> usize {
    let mut messages = 0;
    while let Some(output) = link.next() {
        if let Output::Batch(batch) = output {
            messages += wire::messages(&batch).filter(Result::is_ok).count();
            link.taken();
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_crosses() {
        let mut nodes = Nodes::new();
        assert_eq!(nodes.cross(1), 1);
        assert_eq!(nodes.cross(64), 64);
        assert_eq!(nodes.here.unacknowledged_bytes(), 0);
    }
}
