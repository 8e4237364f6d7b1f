//! Whether io_uring would make the end of a turn cheaper: the same bytes to each of many TCP sockets, once with a loop of `write`,
//! as the gateway does it, with `writev` in two pieces, and with many SENDs submitted in one `io_uring_enter`, of
//! plain and of registered descriptors. They take turns in one run; what counts is the ratio to the loop of `write`.
//!
//! `cargo run --release -p carillon-bench --bin uring_sends -- [turns]`
//!
//! The writer has core 0, and a process of its own that reads everything has core 1. Only the writing is timed: by the clock, and by
//! the processor time of the process and of the core's thread for soft interrupts, to which the kernel hands part of what
//! sending is: a long system call gives it more of that than a short one.
#![allow(clippy::print_stdout, reason = "it prints a measurement")]

use std::error::Error;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode, squeue, types};
use mio::{Events, Interest, Poll, Token};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

const SOCKETS: [usize; 2] = [1_000, 10_000];
const BYTES: [usize; 2] = [64, 1_024];
/// Writes in a turn, on all sockets together.
const WRITES_PER_TURN: usize = 50_000;
/// SENDs in one `io_uring_enter`, at the most.
const ENTRIES: u32 = 1_024;
/// The program's argument that makes it the reader.
const READER: &str = "reader";
const WRITER_CORE: usize = 0;
const READER_CORE: usize = 1;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [first, address, sockets] = &args[..]
        && first == READER
    {
        pin(READER_CORE);
        return Ok(read(address.parse()?, sockets.parse()?)?);
    }
    let turns: usize = args.first().map_or(Ok(15), |arg| arg.parse())?;
    pin(WRITER_CORE);
    println!("{:<46} {:>10} {:>10}   against write, median (least-most)", "", "CPU ns", "wall ns");
    for sockets in SOCKETS {
        for bytes in BYTES {
            println!("{sockets} sockets, {bytes} bytes to each");
            compare(sockets, bytes, turns)?;
        }
    }
    Ok(())
}

/// A process that does not get its core still measures, only less quietly.
fn pin(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    if let Err(error) = sched_setaffinity(None, &cores) {
        println!("core {core} cannot be had alone: {error}");
    }
}

fn compare(sockets: usize, bytes: usize, turns: usize) -> Result<(), Box<dyn Error>> {
    let mut room = Room::open(sockets)?;
    let mut ways: Vec<(&str, Box<dyn Way>)> =
        vec![("write", Box::new(WriteLoop)), ("writev of two pieces", Box::new(WritevLoop))];
    for (name, is_registered) in [("io_uring SEND", false), ("io_uring SEND, registered descriptors", true)] {
        match Uring::new(&room.sockets, is_registered) {
            Ok(uring) => ways.push((name, Box::new(uring))),
            Err(error) => println!("  {name:<44} cannot be had here: {error}"),
        }
    }
    let message = vec![7; bytes];
    let rounds = (WRITES_PER_TURN / sockets).max(1);
    let mut costs = vec![Vec::new(); ways.len()];
    for turn in 0..=turns {
        for ((_, way), costs) in ways.iter_mut().zip(&mut costs) {
            let cost = room.turn(&mut **way, &message, rounds)?;
            // The first is for caches and tables to fill.
            if turn > 0 {
                costs.push(cost);
            }
        }
    }
    for ((name, _), of_way) in ways.iter().zip(&costs) {
        let cpu = median(of_way.iter().map(|cost| cost.cpu_ns).collect());
        let wall = median(of_way.iter().map(|cost| cost.wall_ns).collect());
        let by_cpu = of_way.iter().zip(&costs[0]).map(|(cost, write)| write.cpu_ns / cost.cpu_ns).collect();
        let by_wall =
            of_way.iter().zip(&costs[0]).map(|(cost, write)| write.wall_ns / cost.wall_ns).collect();
        let (by_cpu, by_wall) = (spread(by_cpu), spread(by_wall));
        println!("  {name:<44} {cpu:>10.0} {wall:>10.0}   by CPU {by_cpu}, by the clock {by_wall}");
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    format!("{:.3} ({:.3}-{:.3})", at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
}

/// What a write cost, on the average of a turn.
#[derive(Clone)]
struct Cost {
    cpu_ns: f64,
    wall_ns: f64,
}

/// The writer's sockets, and the process that reads from them.
struct Room {
    sockets: Vec<TcpStream>,
    control: TcpStream,
    reader: Child,
    cpu_time: CpuTime,
}

impl Room {
    fn open(count: usize) -> Result<Self, Box<dyn Error>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let reader = Command::new(std::env::current_exe()?)
            .args([READER, &address, &count.to_string()])
            .stdin(Stdio::null())
            .spawn()?;
        let control = listener.accept()?.0;
        control.set_nodelay(true)?;
        let mut sockets = Vec::with_capacity(count);
        for _ in 0..count {
            let socket = listener.accept()?.0;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            sockets.push(socket);
        }
        Ok(Self { sockets, control, reader, cpu_time: CpuTime::find() })
    }

    /// So many rounds: everyone is written to once, and has read it before the next.
    fn turn(&mut self, way: &mut dyn Way, message: &[u8], rounds: usize) -> Result<Cost, Box<dyn Error>> {
        let (mut cpu, mut wall) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..rounds {
            let total = (message.len() * self.sockets.len()) as u64;
            self.control.write_all(&total.to_be_bytes())?;
            let (cpu_before, start) = (self.cpu_time.now(), Instant::now());
            way.write_to_all(&mut self.sockets, message)?;
            wall += start.elapsed();
            cpu += self.cpu_time.now() - cpu_before;
            self.control.read_exact(&mut [0])?;
        }
        let writes = (rounds * self.sockets.len()) as f64;
        Ok(Cost { cpu_ns: cpu.as_nanos() as f64 / writes, wall_ns: wall.as_nanos() as f64 / writes })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = self.reader.kill();
        let _ = self.reader.wait();
    }
}

/// The processor time of this process, with that of the thread for soft interrupts on its core, where it can be read.
struct CpuTime {
    soft_interrupts: Option<PathBuf>,
}

impl CpuTime {
    fn find() -> Self {
        let thread = format!("ksoftirqd/{WRITER_CORE}");
        let mut processes = std::fs::read_dir("/proc").into_iter().flatten().flatten().map(|it| it.path());
        let is_it = |path: &PathBuf| {
            std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == thread)
        };
        Self { soft_interrupts: processes.find(is_it).map(|path| path.join("schedstat")) }
    }

    fn now(&self) -> Duration {
        let own = clock_gettime(ClockId::ProcessCPUTime);
        let theirs = self.soft_interrupts.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        let theirs = theirs.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        Duration::new(own.tv_sec as u64, own.tv_nsec as u32) + Duration::from_nanos(theirs)
    }
}

/// A way to write to many sockets.
trait Way {
    /// Writes the message to each, whole; it is an error where the kernel takes less.
    fn write_to_all(&mut self, sockets: &mut [TcpStream], message: &[u8]) -> io::Result<()>;
}

struct WriteLoop;

impl Way for WriteLoop {
    fn write_to_all(&mut self, sockets: &mut [TcpStream], message: &[u8]) -> io::Result<()> {
        sockets.iter_mut().try_for_each(|socket| whole(socket.write(message)?, message))
    }
}

struct WritevLoop;

impl Way for WritevLoop {
    fn write_to_all(&mut self, sockets: &mut [TcpStream], message: &[u8]) -> io::Result<()> {
        let (head, rest) = message.split_at(message.len() / 2);
        let pieces = [IoSlice::new(head), IoSlice::new(rest)];
        sockets.iter_mut().try_for_each(|socket| whole(socket.write_vectored(&pieces)?, message))
    }
}

/// One ring, as a shard would have it.
struct Uring {
    ring: IoUring,
    /// The descriptors, where they are registered with the ring: a socket's number there is its place.
    is_registered: bool,
}

impl Uring {
    fn new(sockets: &[TcpStream], is_registered: bool) -> io::Result<Self> {
        // The flags that suit one thread that submits and reaps in turns.
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_submit_all()
            .build(ENTRIES)?;
        if is_registered {
            let descriptors: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
            ring.submitter().register_files(&descriptors)?;
        }
        Ok(Self { ring, is_registered })
    }

    fn send(&self, place: usize, socket: &TcpStream, message: &[u8]) -> squeue::Entry {
        let (bytes, len) = (message.as_ptr(), message.len() as u32);
        // A socket that is full says so, as for `write`: otherwise the ring would wait for it, and keep the bytes.
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        match self.is_registered {
            true => opcode::Send::new(types::Fixed(place as u32), bytes, len).flags(flags).build(),
            false => opcode::Send::new(types::Fd(socket.as_raw_fd()), bytes, len).flags(flags).build(),
        }
    }
}

impl Way for Uring {
    fn write_to_all(&mut self, sockets: &mut [TcpStream], message: &[u8]) -> io::Result<()> {
        for (batch, sockets) in sockets.chunks(ENTRIES as usize).enumerate() {
            for (index, socket) in sockets.iter().enumerate() {
                let send = self.send(batch * ENTRIES as usize + index, socket, message);
                // SAFETY: message and sockets are borrowed until every completion has been taken, below.
                unsafe { self.ring.submission().push(&send) }.map_err(io::Error::other)?;
            }
            self.ring.submit_and_wait(sockets.len())?;
            let mut taken = 0;
            for completion in self.ring.completion() {
                taken += 1;
                match completion.result() {
                    sent @ 0.. => whole(sent as usize, message)?,
                    error => return Err(io::Error::from_raw_os_error(-error)),
                }
            }
            if taken != sockets.len() {
                return Err(io::Error::other("not everything that was submitted has completed"));
            }
        }
        Ok(())
    }
}

fn whole(written: usize, message: &[u8]) -> io::Result<()> {
    if written == message.len() { Ok(()) } else { Err(io::Error::other("the kernel took only a part")) }
}

/// The reader's side: so many connections, and for each number on the first of all, as many bytes on them together.
fn read(address: SocketAddr, count: usize) -> io::Result<()> {
    let mut control = TcpStream::connect(address)?;
    control.set_nodelay(true)?;
    let mut poll = Poll::new()?;
    let mut sockets = Vec::with_capacity(count);
    for number in 0..count {
        let socket = TcpStream::connect(address)?;
        socket.set_nonblocking(true)?;
        let mut socket = mio::net::TcpStream::from_std(socket);
        poll.registry().register(&mut socket, Token(number), Interest::READABLE)?;
        sockets.push(socket);
    }
    let mut events = Events::with_capacity(1_024);
    let (mut number, mut scratch) = ([0; 8], vec![0; 64 * 1_024]);
    while control.read_exact(&mut number).is_ok() {
        let mut left = u64::from_be_bytes(number);
        while left > 0 {
            poll.poll(&mut events, None)?;
            for event in &events {
                left = left.saturating_sub(drained(&mut sockets[event.token().0], &mut scratch)?);
            }
        }
        control.write_all(&[1])?;
    }
    Ok(())
}

fn drained(socket: &mut mio::net::TcpStream, scratch: &mut [u8]) -> io::Result<u64> {
    let mut all = 0;
    loop {
        match socket.read(scratch) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => all += read as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(all),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
