//! The floor: a process that writes, and clients that read as the subscribers do. What a server could reach at best.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};
use carillon_protocol::{Event, EventBody, Frame, RoomId, encode};
use uuid::Uuid;

use super::peer::{LISTEN, Peer};
use super::side::Order;
use crate::cores;
use crate::fleet::Fleet;
use crate::link::{Link, Transport};
use crate::scenario::{client_id, user};

/// What the writer is told, each with a number behind it: to let in so many more, or to write so many messages to each.
const ADMIT: u8 = b'+';
const WRITE: u8 = b'w';

/// The writer, and those who read.
pub(super) struct Floor {
    process: Child,
    address: SocketAddr,
    control: TcpStream,
    fleet: Fleet,
    transport: Transport,
}

/// Starts the writer.
pub(super) fn start(order: &Order) -> anyhow::Result<Floor> {
    let frame = framed(&event_frame(order.bytes)?, order.transport);
    let mut process = cores::start_server(
        Command::new(std::env::current_exe()?)
            .args(["floor", &hex(&frame)])
            // It ends when this process does, however that comes about.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped()),
    )?;
    let mut line = [0; 64];
    let read = process.stdout.as_mut().context("no output")?.read(&mut line)?;
    let address: SocketAddr = String::from_utf8_lossy(&line[..read]).trim().parse()?;
    let control = TcpStream::connect(address)?;
    control.set_nodelay(true)?;
    Ok(Floor { process, address, control, fleet: Fleet::new()?, transport: order.transport })
}

impl Floor {
    fn tell(&mut self, what: u8, number: u64) -> anyhow::Result<()> {
        let mut order = [what; 9];
        order[1..].copy_from_slice(&number.to_be_bytes());
        Ok(self.control.write_all(&order)?)
    }
}

impl Peer for Floor {
    fn pid(&self) -> u32 {
        self.process.id()
    }

    fn admit(&mut self, subscribers: u64) -> anyhow::Result<()> {
        let there = self.fleet.links.len();
        self.tell(ADMIT, subscribers - there as u64)?;
        for number in there..subscribers as usize {
            self.fleet.adopt(Link::connect_to_floor(self.address, number, self.transport)?)?;
        }
        Ok(self.control.read_exact(&mut [0])?)
    }

    fn publish(&mut self, messages: u64) -> anyhow::Result<()> {
        self.tell(WRITE, messages)
    }

    fn hear(&mut self) -> anyhow::Result<u64> {
        let mut came = 0;
        self.fleet.turn(LISTEN, |_, _, frame| came += u64::from(matches!(frame, Frame::Event(_))))?;
        if !self.fleet.lost.is_empty() {
            bail!("{} connections were lost", self.fleet.lost.len());
        }
        Ok(came)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A delivery's bytes: an event of that length, with numbers as long as they are in the run.
fn event_frame(bytes: usize) -> anyhow::Result<Vec<u8>> {
    let text = "x".repeat(bytes);
    let body = EventBody::Message { client_id: client_id(), text: text.as_str().into() };
    let (room, at_ms) = (RoomId::from(Uuid::new_v4()), 1_800_000_000_000);
    let event = Event { room, seq: 1_000, ordinal: 1_000, at_ms, sender: user(1)?, body };
    let mut frame = Vec::new();
    encode(&Frame::Event(event), &mut frame);
    Ok(frame)
}

/// What goes over the wire for one message: over WebSocket with its header.
fn framed(frame: &[u8], transport: Transport) -> Vec<u8> {
    match (transport, frame.len()) {
        (Transport::Tcp, _) => frame.to_vec(),
        (Transport::Ws, len @ 0..=125) => [&[0x82, len as u8], frame].concat(),
        (Transport::Ws, len) => [&[0x82, 126, (len >> 8) as u8, len as u8], frame].concat(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The writer's own side: does what it is told on the first connection.
pub fn write(hex: &str) -> anyhow::Result<()> {
    let frame: Result<Vec<u8>, _> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(hex.get(at..at + 2).unwrap_or_default(), 16))
        .collect();
    let frame = frame?;
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0)
    });
    let listener = TcpListener::bind("127.0.0.1:0")?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let mut control = listener.accept()?.0;
    let mut sockets = Vec::new();
    let mut order = [0; 9];
    while control.read_exact(&mut order).is_ok() {
        let [what, number @ ..] = order;
        let number = u64::from_be_bytes(number) as usize;
        if what == WRITE {
            write_to_all(&mut sockets, &frame.repeat(number))?;
            continue;
        }
        for _ in 0..number {
            let socket = listener.accept()?.0;
            socket.set_nodelay(true)?;
            sockets.push(socket);
        }
        control.write_all(&[ADMIT])?;
    }
    Ok(())
}

/// One `write` for each.
fn write_to_all(sockets: &mut [TcpStream], bytes: &[u8]) -> anyhow::Result<()> {
    for socket in sockets {
        if socket.write(bytes)? != bytes.len() {
            bail!("the kernel took only a part");
        }
    }
    Ok(())
}
