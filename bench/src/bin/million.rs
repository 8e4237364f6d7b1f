//! A million sessions in one process: what each takes of memory, what opening one costs, what a delivery costs.
//!
//! `cargo run --release -p carillon-bench --bin million -- --sessions 1000000 [--room-size ALL] [--messages 20]`
//!
//! In the figures: everything a shard does for its clients, from their bytes to the bytes for them, on one thread: the
//! upgrade to a WebSocket, the token's signature, the session, looking up its room, subscribing to it; decoding a send,
//! its place in the room, the log's batch, delivery, outboxes, writing each. Not in them: the kernel's sockets and what it
//! does for them, on either end (clients are within the process; see `gateway/src/socket.rs`), the disk (log and store
//! are in memory, and what the store holds is there before the first session), other shards, pings, the clients' own work
//! and memory.
#![allow(clippy::print_stdout, reason = "it prints a measurement")]

use std::error::Error;
use std::ops::Range;
use std::time::{Duration, Instant};

use carillon_bench::allocated::Counting;
use carillon_bench::client;
use carillon_bench::codec::user;
use carillon_bench::memory::Memory;
use carillon_bench::node::{Client, Node, store};
use carillon_gateway::socket;
use carillon_protocol::RoomId;

#[global_allocator]
static COUNTING: Counting = Counting;

/// Sessions whose tokens are made ahead, which is their clients' work and not measured.
const BLOCK: u64 = 10_000;
/// Sessions opened in a turn, as many as a shard accepts in one.
const OPENED_A_TURN: usize = 256;
/// Rooms that get a message in the same turn.
const ROOMS_A_TURN: usize = 64;
/// After so long at rest, nothing of opening is left: who did not say hello in time has gone from the shard's list.
const REST: Duration = Duration::from_secs(4);

fn main() -> Result<(), Box<dyn Error>> {
    let asked = Asked::read()?;
    let rooms = asked.rooms();
    println!("{} sessions in rooms of {}, one shard, one thread", asked.sessions, asked.room_size);
    println!(
        "without the kernel's sockets, the disk, other shards and the clients' own work (see the program's head)"
    );
    let filling = Instant::now();
    let mut crowd = Crowd::new(Node::new(1, store(rooms.iter().cloned()))?, asked.sessions as usize);
    eprintln!("  the store is filled: {:.1} s", filling.elapsed().as_secs_f64());

    let empty = Memory::now()?;
    let (first_half, half) = (crowd.open(1..asked.sessions / 2 + 1), crowd.rest()?);
    let (second_half, full) = (crowd.open(asked.sessions / 2 + 1..asked.sessions + 1), crowd.rest()?);
    println!("{:<46} {:>12} {:>12}", "memory of a session, in bytes", "resident", "allocated");
    full.print_slope("  first to last", &empty, asked.sessions);
    full.print_slope("  second half (slope)", &half, asked.sessions - asked.sessions / 2);
    print_time("a session opened, first half", first_half, asked.sessions / 2);
    print_time("a session opened, second half", second_half, asked.sessions - asked.sessions / 2);

    let first = crowd.deliver(&rooms, asked.sessions)?;
    print_time("a delivery of the first message in each room", first, asked.sessions);
    let mut others = Duration::ZERO;
    for round in 1..=asked.messages {
        others += crowd.deliver(&rooms, asked.sessions)?;
        eprintln!("  message {round} of {}", asked.messages);
    }
    print_time("a delivery of the others", others, asked.sessions * asked.messages);
    let after = crowd.rest()?;
    println!(
        "{:<46} {:>12} {:>12}",
        "  rooms in use and what was told, bytes a session", "resident", "allocated"
    );
    after.print_slope("  since all were open", &full, asked.sessions);
    println!("{:<46} {:>12}", "deliveries, each counted", crowd.delivered);
    Ok(())
}

struct Asked {
    sessions: u64,
    room_size: u64,
    messages: u64,
}

impl Asked {
    fn read() -> Result<Self, String> {
        let (mut sessions, mut room_size, mut messages) = (1_000_000, None, 20);
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let number = args.next().and_then(|value| value.parse().ok()).filter(|&number| number > 0);
            let number = number.ok_or(format!("{arg} needs a number above 0"))?;
            match arg.as_str() {
                "--sessions" => sessions = number,
                "--room-size" => room_size = Some(number),
                "--messages" => messages = number,
                _ => {
                    return Err(format!(
                        "there is no {arg}; there are --sessions, --room-size and --messages"
                    ));
                }
            }
        }
        if sessions < 2 {
            return Err("two sessions are the least".to_owned());
        }
        Ok(Self { sessions, room_size: room_size.unwrap_or(sessions).min(sessions), messages })
    }

    /// The rooms, each with the numbers of its members; the last may have fewer.
    fn rooms(&self) -> Vec<(RoomId, Range<u64>)> {
        let starts = (1..=self.sessions).step_by(self.room_size as usize);
        let rooms = starts.enumerate().map(|(index, start)| {
            let id = RoomId::from_bytes((1 + index as u128).to_be_bytes());
            (id, start..(start + self.room_size).min(self.sessions + 1))
        });
        rooms.collect()
    }
}

/// The node and everyone who is connected.
struct Crowd {
    node: Node,
    clients: Vec<Client>,
    sends: u64,
    delivered: u64,
}

impl Crowd {
    fn new(node: Node, sessions: usize) -> Self {
        // Written to, so that this memory of the clients is there before the node's is measured.
        let mut clients = vec![Client::NONE; sessions];
        clients.clear();
        Self { node, clients, sends: 0, delivered: 0 }
    }

    /// Opens a session for each of these users. Says how long the node took.
    fn open(&mut self, users: Range<u64>) -> Duration {
        let mut took = Duration::ZERO;
        for start in users.clone().step_by(BLOCK as usize) {
            let end = (start + BLOCK).min(users.end);
            let hellos: Vec<Vec<u8>> = (start..end).map(|number| self.node.hello(user(number))).collect();
            let begun = Instant::now();
            for hellos in hellos.chunks(OPENED_A_TURN) {
                self.clients.extend(hellos.iter().map(|hello| self.node.open(0, hello)));
                self.node.turn();
            }
            self.node.settle();
            took += begun.elapsed();
            if (end - 1).is_multiple_of(10 * BLOCK) {
                eprintln!("  {} sessions are open", end - 1);
            }
        }
        assert_eq!(self.node.count("sessions"), self.clients.len() as u64, "every hello was welcome");
        took
    }

    /// A message into every room, each from one of its members. Says how long it took until every member had it.
    fn deliver(&mut self, rooms: &[(RoomId, Range<u64>)], sessions: u64) -> Result<Duration, Box<dyn Error>> {
        let (before, taken) = (self.node.count("delivered"), socket::taken());
        let begun = Instant::now();
        for rooms in rooms.chunks(ROOMS_A_TURN) {
            for (room, members) in rooms {
                self.sends += 1;
                let sender = self.clients[members.start as usize - 1];
                self.node.say(sender, &client::send(*room, self.sends));
            }
            self.node.settle();
        }
        let took = begun.elapsed();
        let delivered = self.node.count("delivered") - before;
        // A message of 64 bytes is more than 64 bytes on the wire.
        if delivered != sessions || socket::taken() - taken < 64 * sessions {
            return Err(format!("{delivered} deliveries instead of {sessions}").into());
        }
        self.delivered += delivered;
        self.node.archive();
        Ok(took)
    }

    /// Lets the node come to rest, and says what it holds then.
    fn rest(&mut self) -> Result<Memory, Box<dyn Error>> {
        let begun = Instant::now();
        while begun.elapsed() < REST {
            self.node.settle();
            std::thread::sleep(Duration::from_millis(10));
        }
        Memory::now()
    }
}

fn print_time(what: &str, took: Duration, count: u64) {
    println!("{what:<46} {:>12.0} ns", took.as_nanos() as f64 / count as f64);
}
