//! One message to everyone in a room: from the sender's bytes to the bytes for each.

use crate::client;
use crate::codec::{ROOM, user};
use crate::node::{Client, Node, store};

/// Messages after which the log counts as archived.
const ARCHIVE_EVERY: u64 = 1_024;

/// A room whose members are connected.
pub struct FanOut {
    node: Node,
    sender: Client,
    sent: u64,
    members: u64,
}

impl FanOut {
    /// A room of so many members, each with a session, spread over the shards; one message has gone through it.
    pub fn new(shards: u16, members: u64) -> Self {
        let mut node = Node::new(shards, store([(ROOM, 1..members + 1)])).expect("a node starts");
        let home = node.home_of(ROOM);
        let hello = node.hello(user(1));
        let sender = node.open(home, &hello);
        for number in 2..=members {
            let hello = node.hello(user(number));
            node.open((number % u64::from(shards)) as u16, &hello);
        }
        node.settle();
        let mut fan_out = Self { node, sender, sent: 0, members };
        fan_out.send();
        fan_out.check();
        fan_out
    }

    /// A message is sent, decided, acknowledged, and written to every member.
    pub fn send(&mut self) {
        self.sent += 1;
        self.node.say(self.sender, &client::send(ROOM, self.sent));
        self.node.settle();
        if self.sent.is_multiple_of(ARCHIVE_EVERY) {
            self.node.archive();
        }
    }

    /// That every message so far reached every member.
    pub fn check(&self) {
        assert_eq!(self.node.count("delivered"), self.sent * self.members, "everyone gets everything");
    }
}
