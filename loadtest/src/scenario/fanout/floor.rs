//! The floor: a process that writes, and one that reads as the subscribers do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use carillon_protocol::Frame;
use serde::{Deserialize, Serialize};

use super::rival::{Rival, take_turns};
use super::{Fanout, Turn, on_server_core, turn};
use crate::fleet::Fleet;
use crate::gateway;
use crate::link::{Link, Transport};

/// Starts both. The readers are a process of their own, for its descriptors; they have the clients' core, as everything
/// that is started here.
pub(super) fn start(fanout: &Fanout, frame: &[u8]) -> anyhow::Result<Rival> {
    let order = Readers {
        subscribers: fanout.subscribers,
        outstanding: fanout.outstanding,
        seconds: fanout.seconds,
        transport: fanout.target.transport,
        hex: hex(&framed(frame, fanout)),
    };
    Rival::start("floor-readers", &order)
}

/// What the floor's readers are told.
#[derive(Serialize, Deserialize)]
struct Readers {
    subscribers: u64,
    outstanding: u64,
    seconds: u64,
    transport: Transport,
    hex: String,
}

/// The floor's readers' own side: a turn for every line.
pub fn readers(order: &str) -> anyhow::Result<()> {
    let order: Readers = serde_json::from_str(order)?;
    let mut writer = on_server_core(&std::env::current_exe()?)
        .args(["floor", &order.subscribers.to_string(), &order.outstanding.to_string(), &order.hex])
        // It ends when this process does, however that comes about.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = [0; 64];
    let read = writer.stdout.as_mut().context("no output")?.read(&mut line)?;
    let address: SocketAddr = String::from_utf8_lossy(&line[..read]).trim().parse()?;
    let mut control = TcpStream::connect(address)?;
    control.set_nodelay(true)?;
    let mut fleet = Fleet::new()?;
    for number in 0..order.subscribers as usize {
        fleet.adopt(Link::connect_to_floor(address, number, order.transport)?)?;
    }
    take_turns(|| floor_turn(&order, &mut control, &mut fleet, writer.id()))?;
    drop((control, writer.stdin.take()));
    writer.wait()?;
    Ok(())
}

fn floor_turn(
    order: &Readers,
    control: &mut TcpStream,
    fleet: &mut Fleet,
    writer: u32,
) -> anyhow::Result<Turn> {
    let (start, cpu) = (Instant::now(), gateway::cpu(writer)?);
    let wanted = order.subscribers * order.outstanding;
    let mut rounds = 0;
    while start.elapsed() < Duration::from_secs(order.seconds) {
        control.write_all(&[1])?;
        let mut came = 0;
        fleet.until("the floor has written", |_, _, frame| {
            came += u64::from(matches!(frame, Frame::Event(_)));
            came == wanted
        })?;
        rounds += 1;
    }
    Ok(turn(rounds * wanted, start, gateway::cpu(writer)? - cpu))
}

/// What goes over the wire for one message: over WebSocket with its header.
fn framed(frame: &[u8], fanout: &Fanout) -> Vec<u8> {
    match (fanout.target.transport, frame.len()) {
        (Transport::Tcp, _) => frame.to_vec(),
        (Transport::Ws, len @ 0..=125) => [&[0x82, len as u8], frame].concat(),
        (Transport::Ws, len) => [&[0x82, 126, (len >> 8) as u8, len as u8], frame].concat(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The floor's own side: for every byte on the first connection, one `write` of all outstanding messages to each other one.
pub fn write(count: usize, outstanding: usize, hex: &str) -> anyhow::Result<()> {
    let bytes: Result<Vec<u8>, _> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(hex.get(at..at + 2).unwrap_or_default(), 16))
        .collect();
    let bytes = bytes?.repeat(outstanding);
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0)
    });
    let listener = TcpListener::bind("127.0.0.1:0")?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let mut control = listener.accept()?.0;
    let mut sockets = Vec::new();
    for _ in 0..count {
        let socket = listener.accept()?.0;
        socket.set_nodelay(true)?;
        sockets.push(socket);
    }
    while control.read(&mut [0])? == 1 {
        for socket in &mut sockets {
            if socket.write(&bytes)? != bytes.len() {
                bail!("the kernel took only a part");
            }
        }
    }
    Ok(())
}
