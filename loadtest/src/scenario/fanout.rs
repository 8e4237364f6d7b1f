//! `fanout`: one room, many subscribers, and a floor in the same run: a loop of bare `write`s of as many bytes on as many
//! sockets, read by the same clients.
//!
//! Both servers have one core and the clients the other; they take turns. A round is: the sender sends its messages, and the next
//! round begins when every subscriber has all of them.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use carillon_protocol::{Event, EventBody, Frame, RoomId, encode};
use clap::Args;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Target, client_id, create_room, room, user};
use crate::check::{Faults, Stream};
use crate::fleet::Fleet;
use crate::gateway::{self, Gateway};
use crate::link::{Link, Transport};
use crate::report::{Figure, Table};
use crate::worker::must_be_clean;

/// Users added in one request.
const MEMBERS_PER_REQUEST: u64 = 1_000;
/// The cores, when both sides are pinned.
const SERVER_CORE: &str = "0";
const CLIENT_CORE: usize = 1;

/// What to drive.
#[derive(Args, Clone, Debug)]
pub struct Fanout {
    #[command(flatten)]
    target: Target,
    /// Subscribers
    #[arg(long, default_value_t = 10_000)]
    subscribers: u64,
    /// Messages that the sender has outstanding
    #[arg(long, default_value_t = 1)]
    outstanding: u64,
    /// Bytes of each text
    #[arg(long, default_value_t = 64)]
    bytes: usize,
    /// Seconds of each turn
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Turns that each side has
    #[arg(long, default_value_t = 5)]
    turns: u64,
}

/// What a turn came to.
#[derive(Serialize, Deserialize)]
struct Turn {
    deliveries_per_s: f64,
    cpu_us_per_delivery: f64,
}

/// Runs it.
pub fn run(fanout: &Fanout) -> anyhow::Result<Table> {
    let program =
        fanout.target.start.as_deref().context("fanout starts the gateway itself: --start PROGRAM")?;
    let target = Target { start: Some(pinned(program)?), ..fanout.target.clone() };
    let gateway = target.gateway_with(&["--shards=1"])?;
    pin_self()?;
    let mut subscribers = Subscribers::gather(fanout, &gateway)?;
    let frame = event_frame(subscribers.room, fanout.bytes)?;
    let mut floor = Floor::start(fanout, &frame)?;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for turn in 1..=fanout.turns {
        bare.push(floor.turn()?);
        ours.push(subscribers.turn(fanout, &gateway)?);
        let (ours, bare) = (ours[ours.len() - 1].deliveries_per_s, bare[bare.len() - 1].deliveries_per_s);
        eprintln!("turn {turn}: {ours:.0} deliveries/s, bare writes {bare:.0}/s, ratio {:.3}", ours / bare);
    }
    must_be_clean(subscribers.faults)?;
    let ratios: Vec<f64> =
        ours.iter().zip(&bare).map(|(ours, bare)| ours.deliveries_per_s / bare.deliveries_per_s).collect();
    let mut sorted = ratios.clone();
    sorted.sort_by(f64::total_cmp);
    let median = |value: fn(&Turn) -> f64, turns: &[Turn]| {
        let mut values: Vec<f64> = turns.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let what = format!("{} subscribers, {} outstanding", fanout.subscribers, fanout.outstanding);
    Ok(Table::new(
        "fanout",
        vec![
            Figure::new(what, median(|turn| turn.deliveries_per_s, &ours), "deliveries/s (median turn)"),
            Figure::new(
                "bare writes of as many bytes",
                median(|turn| turn.deliveries_per_s, &bare),
                "deliveries/s (median turn)",
            ),
            Figure::new("ratio to bare writes", sorted[sorted.len() / 2], "(median turn)").at_least(0.9),
            Figure::new("  smallest of the turns", sorted[0], ""),
            Figure::new("  largest of the turns", sorted[sorted.len() - 1], ""),
            Figure::new(
                "the gateway's processor time",
                median(|turn| turn.cpu_us_per_delivery, &ours),
                "µs a delivery",
            ),
            Figure::new(
                "the floor's processor time",
                median(|turn| turn.cpu_us_per_delivery, &bare),
                "µs a delivery",
            ),
        ],
    ))
}

/// The room's members, all connected; the first is the sender.
struct Subscribers {
    fleet: Fleet,
    room: RoomId,
    streams: Vec<Stream>,
    faults: Faults,
    sends: u64,
}

impl Subscribers {
    fn gather(fanout: &Fanout, gateway: &Gateway) -> anyhow::Result<Self> {
        let mut fleet = Fleet::new()?;
        let place = fanout.target.place(gateway)?;
        fleet.open(&place, 1..=fanout.subscribers, |_, _, _| {})?;
        let room = room(Uuid::new_v4(), 0);
        fleet.links[0].say(&create_room(1, room, Vec::new()));
        answered(&mut fleet)?;
        for first in (2..=fanout.subscribers).step_by(MEMBERS_PER_REQUEST as usize) {
            let last = fanout.subscribers.min(first + MEMBERS_PER_REQUEST - 1);
            let members = (first..=last).map(user).collect::<Result<_, _>>()?;
            fleet.links[0].say(&Frame::AddMembers { request: first, room, members });
            answered(&mut fleet)?;
        }
        let additions = (fanout.subscribers - 1).div_ceil(MEMBERS_PER_REQUEST);
        let streams = (0..fanout.subscribers).map(|_| Stream::default()).collect();
        let mut all = Self { fleet, room, streams, faults: Faults::default(), sends: 0 };
        all.wait_for_last(1 + additions)?;
        all.streams.iter_mut().for_each(|stream| stream.expect(room, 1 + additions));
        Ok(all)
    }

    /// Until the room's last addition has reached its last member.
    fn wait_for_last(&mut self, seq: u64) -> anyhow::Result<()> {
        let last = self.fleet.links.len() - 1;
        self.fleet.until(
            "the room is complete",
            |number, _, frame| matches!(&frame, Frame::Event(event) if event.seq == seq && number == last),
        )?;
        // What is still on its way to the others.
        for _ in 0..20 {
            self.fleet.turn(Duration::from_millis(25), |_, _, _| {})?;
        }
        Ok(())
    }

    fn turn(&mut self, fanout: &Fanout, gateway: &Gateway) -> anyhow::Result<Turn> {
        let (text, room) = ("x".repeat(fanout.bytes), self.room);
        let (start, cpu) = (Instant::now(), gateway.cpu()?);
        let wanted = fanout.subscribers * fanout.outstanding;
        let mut rounds = 0;
        while start.elapsed() < Duration::from_secs(fanout.seconds) {
            for _ in 0..fanout.outstanding {
                self.sends += 1;
                let request = 1_000_000 + self.sends;
                self.fleet.links[0].say(&Frame::Send {
                    request,
                    room,
                    client_id: client_id(),
                    text: text.as_str().into(),
                });
            }
            self.fleet.flush(0)?;
            let mut came = 0;
            let (streams, faults) = (&mut self.streams, &mut self.faults);
            self.fleet.until("every subscriber has it", |number, _, frame| {
                if let Frame::Event(event) = frame {
                    streams[number].event(event.room, event.seq, faults);
                    came += 1;
                }
                came == wanted
            })?;
            rounds += 1;
        }
        Ok(turn(rounds * wanted, start, gateway.cpu()? - cpu))
    }
}

fn turn(deliveries: u64, start: Instant, cpu: Duration) -> Turn {
    Turn {
        deliveries_per_s: deliveries as f64 / start.elapsed().as_secs_f64(),
        cpu_us_per_delivery: cpu.as_secs_f64() * 1e6 / deliveries as f64,
    }
}

fn answered(fleet: &mut Fleet) -> anyhow::Result<()> {
    fleet.flush(0)?;
    let mut refused = None;
    fleet.until("the room grows", |number, _, frame| match frame {
        Frame::Ack { .. } => number == 0,
        Frame::Error { message, .. } => {
            refused = Some(message.into_owned());
            true
        }
        _ => false,
    })?;
    refused.map_or(Ok(()), |message| Err(anyhow::anyhow!("refused: {message}")))
}

/// A delivery's bytes: an event of that length, with numbers as long as they are in the run.
fn event_frame(room: RoomId, bytes: usize) -> anyhow::Result<Vec<u8>> {
    let text = "x".repeat(bytes);
    let body = EventBody::Message { client_id: client_id(), text: text.as_str().into() };
    let at_ms = 1_800_000_000_000;
    let event = Event { room, seq: 1_000, ordinal: 1_000, at_ms, sender: user(1)?, body };
    let mut frame = Vec::new();
    encode(&Frame::Event(event), &mut frame);
    Ok(frame)
}

/// The floor: a process that writes, and one that reads as the subscribers do.
struct Floor {
    readers: Child,
    orders: ChildStdin,
    reports: Lines<BufReader<ChildStdout>>,
}

impl Floor {
    /// The readers are a process of their own, for its descriptors; they have the clients' core, as everything started here.
    fn start(fanout: &Fanout, frame: &[u8]) -> anyhow::Result<Self> {
        let order = Readers {
            subscribers: fanout.subscribers,
            outstanding: fanout.outstanding,
            seconds: fanout.seconds,
            transport: fanout.target.transport,
            hex: hex(&framed(frame, fanout)),
        };
        let mut readers = Command::new(std::env::current_exe()?)
            .args(["floor-readers", &serde_json::to_string(&order)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = readers.stdin.take().context("no input")?;
        let reports = BufReader::new(readers.stdout.take().context("no output")?).lines();
        Ok(Self { readers, orders, reports })
    }

    fn turn(&mut self) -> anyhow::Result<Turn> {
        writeln!(self.orders, "turn")?;
        Ok(serde_json::from_str(&self.reports.next().context("the floor's readers have died")??)?)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.readers.kill();
        let _ = self.readers.wait();
    }
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
pub fn floor_readers(order: &str) -> anyhow::Result<()> {
    let order: Readers = serde_json::from_str(order)?;
    let mut writer = Command::new("taskset")
        .args(["-c", SERVER_CORE])
        .arg(std::env::current_exe()?)
        .args(["floor", &order.subscribers.to_string(), &order.outstanding.to_string(), &order.hex])
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
    for line in std::io::stdin().lines() {
        line?;
        let turn = floor_turn(&order, &mut control, &mut fleet, writer.id())?;
        writeln!(std::io::stdout(), "{}", serde_json::to_string(&turn)?)?;
    }
    // The writer ends with its control connection.
    drop(control);
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
pub fn floor(count: usize, outstanding: usize, hex: &str) -> anyhow::Result<()> {
    let bytes: Result<Vec<u8>, _> = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(hex.get(at..at + 2).unwrap_or_default(), 16))
        .collect();
    let bytes = bytes?.repeat(outstanding);
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

/// A program that starts the gateway on the server's core: `exec` keeps its process id the gateway's.
fn pinned(program: &Path) -> anyhow::Result<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::temp_dir().join(format!("carillon-pinned-{}", std::process::id()));
    let program = program.canonicalize().with_context(|| format!("there is no {}", program.display()))?;
    std::fs::write(
        &path,
        format!("#!/bin/sh\nexec taskset -c {SERVER_CORE} '{}' \"$@\"\n", program.display()),
    )?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700))?;
    Ok(path)
}

fn pin_self() -> anyhow::Result<()> {
    // SAFETY: an all-zero set is an empty one, and the call reads just the one set it is given the size of.
    let result = unsafe {
        let mut cores: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(CLIENT_CORE, &mut cores);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &cores)
    };
    if result != 0 {
        eprintln!("the clients cannot be pinned to a core of their own; the figures are rougher for it");
    }
    Ok(())
}
