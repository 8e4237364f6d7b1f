//! A real node and blocking clients that say exactly what a test wants said.
#![allow(dead_code, reason = "each program of tests uses its part")]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use carillon_gateway::auth::Keys;
use carillon_gateway::config::Config;
use carillon_gateway::log::{FileLog, FileLogConfig, Log};
use carillon_gateway::serve::Running;
use carillon_gateway::startup::DataFolder;
use carillon_protocol::frame::RoomEntry;
use carillon_protocol::{
    ClientId, Decoded, ErrorCode, Event, EventBody, Frame, RoomId, UserId, decode, encode,
};
use carillon_storage::{EmbeddedStore, Store};
use tempfile::TempDir;

/// How long anything may take before a test calls it lost. Never a measure of speed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node in a temporary folder.
pub struct Node {
    pub dir: TempDir,
    pub address: SocketAddr,
    /// The same over TLS, where that is on.
    pub tls_address: Option<SocketAddr>,
    config: Config,
    running: Option<Running>,
    keys: Keys,
}

impl Node {
    /// With default settings, two shards and a free port.
    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let (dir, config) = Self::configured(change);
        let running = Running::start(config.clone()).unwrap();
        Self::over(dir, config, running)
    }

    /// On a log that `wrap` puts something before. It cannot be started again.
    pub fn start_on(
        change: impl FnOnce(&mut Config),
        wrap: impl FnOnce(Arc<dyn Log>) -> Arc<dyn Log>,
    ) -> Self {
        let (dir, config) = Self::configured(change);
        let data = DataFolder::open(&config.data).unwrap();
        let log = wrap(Self::file_log(&config, &data));
        let store = Arc::new(EmbeddedStore::open(&data.path().join("store")).unwrap());
        let running = Running::start_on(config.clone(), data, log, store).unwrap();
        Self::over(dir, config, running)
    }

    /// Over a store of the test's. It cannot be started again.
    pub fn start_over(change: impl FnOnce(&mut Config), store: Arc<dyn Store>) -> Self {
        let (dir, config) = Self::configured(change);
        let data = DataFolder::open(&config.data).unwrap();
        let log = Self::file_log(&config, &data);
        let running = Running::start_on(config.clone(), data, log, store).unwrap();
        Self::over(dir, config, running)
    }

    fn file_log(config: &Config, data: &DataFolder) -> Arc<FileLog> {
        let segment_bytes = config.log_segment_bytes;
        let log =
            FileLogConfig { segment_bytes, ..FileLogConfig::new(data.path().join("log"), config.partitions) };
        Arc::new(FileLog::open(log).unwrap())
    }

    fn configured(change: impl FnOnce(&mut Config)) -> (TempDir, Config) {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config {
            data: dir.path().join("data"),
            listen: "127.0.0.1:0".parse().unwrap(),
            shards: 2,
            log_segment_bytes: 1 << 20,
            ..Config::default()
        };
        change(&mut config);
        (dir, config)
    }

    fn over(dir: TempDir, config: Config, running: Running) -> Self {
        let keys = Keys::open(&config).unwrap();
        let (address, tls_address) = (running.address, running.tls.as_ref().map(|tls| tls.address));
        Self { dir, address, tls_address, config, running: Some(running), keys }
    }

    /// Stops in order and starts again on what is stored.
    pub fn restart(&mut self) {
        self.stop();
        let running = Running::start(self.config.clone()).unwrap();
        self.address = running.address;
        self.tls_address = running.tls.as_ref().map(|tls| tls.address);
        self.running = Some(running);
    }

    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn token(&self, user: u64) -> String {
        self.token_for(user, 3600)
    }

    /// A token that is good for so many seconds.
    pub fn token_for(&self, user: u64, ttl_s: u64) -> String {
        self.keys.mint(self::user(user), ttl_s, now_s()).unwrap()
    }

    /// One of the numbers of `/v1/stats`.
    pub fn count(&self, name: &str) -> u64 {
        self.running.as_ref().unwrap().stats()[name].as_u64().unwrap()
    }

    /// Status and body of what it answers over HTTP.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// All of `/v1/stats`.
    pub fn stats(&self) -> serde_json::Value {
        serde_json::from_str(&self.get("/v1/stats").1).unwrap()
    }

    /// Waits until all rooms have left memory, which they do in time where it [`forgets_soon`].
    pub fn forget_rooms(&self) {
        // What is counted is as of the last tick: let one pass that knows of the rooms.
        std::thread::sleep(Duration::from_millis(3 * self.config.ping_interval_ms));
        until("all rooms are forgotten", || self.count("rooms_active") == 0);
    }

    /// How many connections were closed with that code's name.
    pub fn closed(&self, code: &str) -> u64 {
        self.running.as_ref().unwrap().stats()["closed"][code].as_u64().unwrap()
    }

    /// A session over raw TCP, on a device of its own.
    pub fn client(&self, number: u64) -> Client {
        self.client_on(number, &format!("device-{}", rand_u64()))
    }

    pub fn client_on(&self, number: u64, device: &str) -> Client {
        let mut client = self.stranger();
        client.hello(&self.token(number), device);
        client
    }

    /// A connection that has not said hello.
    pub fn stranger(&self) -> Client {
        let stream = TcpStream::connect(self.address).unwrap();
        Client::over(stream)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One end of a raw connection, over TCP unless said otherwise.
pub struct Client<Stream = TcpStream> {
    pub stream: Stream,
    bytes: Vec<u8>,
    /// Heard while waiting for an answer.
    pub aside: VecDeque<Frame<'static>>,
    requests: u64,
    /// Whether pings are answered.
    pub answers_pings: bool,
}

impl Client {
    /// A connection to a gateway that may be gone.
    pub fn connect(address: &str) -> Option<Self> {
        TcpStream::connect(address).ok().map(Self::over)
    }

    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::on(stream)
    }
}

impl<Stream: Read + Write> Client<Stream> {
    /// Over whatever carries bytes.
    pub fn on(stream: Stream) -> Self {
        Self { stream, bytes: Vec::new(), aside: VecDeque::new(), requests: 0, answers_pings: true }
    }

    /// As [`hello`](Self::hello) and [`ask`](Self::ask), of a gateway that may end at any moment: then nothing.
    pub fn try_hello(&mut self, token: &str, device: &str) -> Option<()> {
        self.try_say(&Frame::Hello { token: token.into(), device: device.into(), agent: None }).ok()?;
        while !matches!(self.hear_new()?, Frame::Welcome { .. }) {}
        Some(())
    }

    /// The answers to several requests that are sent at once, in the order of the requests; fewer where the gateway ended.
    pub fn try_ask_all(&mut self, asks: Vec<impl FnOnce(u64) -> Frame<'static>>) -> Vec<Frame<'static>> {
        let first = self.requests + 1;
        let mut bytes = Vec::new();
        for ask in asks {
            self.requests += 1;
            encode(&ask(self.requests), &mut bytes);
        }
        let mut answers = Vec::new();
        if self.stream.write_all(&bytes).is_ok() {
            while answers.len() as u64 + first <= self.requests {
                let Some(frame) = self.hear_new() else { break };
                answers.extend(frame.request().map(|number| (number, frame)));
            }
        }
        answers.sort_by_key(|(number, _)| *number);
        let in_order =
            answers.into_iter().zip(first..).take_while(|((number, _), expected)| number == expected);
        in_order.map(|((_, frame), _)| frame).collect()
    }

    /// Opens a session.
    pub fn hello(&mut self, token: &str, device: &str) {
        self.say(&Frame::Hello { token: token.into(), device: device.into(), agent: None });
        // What happens in the user's rooms may overtake it.
        loop {
            match self.hear_new().expect("the connection ended before the welcome") {
                Frame::Welcome { .. } => return,
                other => self.aside.push_back(other),
            }
        }
    }

    pub fn say(&mut self, frame: &Frame<'_>) {
        self.try_say(frame).unwrap();
    }

    fn try_say(&mut self, frame: &Frame<'_>) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        encode(frame, &mut bytes);
        self.stream.write_all(&bytes)
    }

    /// The next frame, whatever it is; answers pings on the way.
    pub fn hear(&mut self) -> Frame<'static> {
        match self.aside.pop_front() {
            Some(frame) => frame,
            None => self.hear_new().expect("the connection ended"),
        }
    }

    /// The next frame that was not heard yet; nothing where the connection ended.
    pub fn hear_new(&mut self) -> Option<Frame<'static>> {
        loop {
            if let Decoded::Frame { frame, used } = decode(&self.bytes, usize::MAX).unwrap() {
                let frame = frame.into_owned();
                self.bytes.drain(..used);
                match frame {
                    Frame::Ping { stamp, ref heads } => {
                        if self.answers_pings {
                            // It may have been closed meanwhile, which reading tells.
                            let _ = self.try_say(&Frame::Pong { stamp });
                        }
                        if !heads.is_empty() || !self.answers_pings {
                            return Some(frame);
                        }
                    }
                    frame => return Some(frame),
                }
                continue;
            }
            let mut more = [0; 65536];
            match self.stream.read(&mut more) {
                Ok(0) => return None,
                Ok(read) => self.bytes.extend_from_slice(&more[..read]),
                Err(error) if is_gone(&error) => return None,
                Err(error) => panic!("nothing came for {PATIENCE:?}: {error}"),
            }
        }
    }

    /// Asks without waiting for the answer; its number.
    pub fn start(&mut self, ask: impl FnOnce(u64) -> Frame<'static>) -> u64 {
        self.requests += 1;
        self.say(&ask(self.requests));
        self.requests
    }

    /// The answer to what `ask` makes of a request number; what comes before it is put aside.
    pub fn ask(&mut self, ask: impl FnOnce(u64) -> Frame<'static>) -> Frame<'static> {
        let number = self.start(ask);
        self.answer(number)
    }

    /// The answer to a request that was started, whenever it came.
    pub fn answer(&mut self, number: u64) -> Frame<'static> {
        if let Some(place) = self.aside.iter().position(|frame| frame.request() == Some(number)) {
            return self.aside.remove(place).unwrap();
        }
        loop {
            let frame = self.hear_new().expect("the connection ended before the answer");
            if frame.request() == Some(number) {
                return frame;
            }
            self.aside.push_back(frame);
        }
    }

    /// The seq of what must be acknowledged.
    pub fn done(&mut self, ask: impl FnOnce(u64) -> Frame<'static>) -> u64 {
        match self.ask(ask) {
            Frame::Ack { seq, .. } => seq,
            other => panic!("not acknowledged: {other:?}"),
        }
    }

    /// The code of what must be refused.
    pub fn refused(&mut self, ask: impl FnOnce(u64) -> Frame<'static>) -> ErrorCode {
        match self.ask(ask) {
            Frame::Error { code, .. } => code,
            other => panic!("not refused: {other:?}"),
        }
    }

    pub fn create_room(&mut self, members: &[u64]) -> RoomId {
        let room = room();
        assert_eq!(self.done(|request| create(request, room, members)), 1);
        room
    }

    pub fn send(&mut self, room: RoomId, text: &str) -> u64 {
        self.send_as(room, client_id(), text)
    }

    pub fn send_as(&mut self, room: RoomId, client_id: ClientId, text: &str) -> u64 {
        let text = text.to_owned();
        self.done(|request| Frame::Send { request, room, client_id, text: text.into() })
    }

    /// The text of the next message of any room, which must be next.
    pub fn message(&mut self) -> String {
        match self.event().body {
            EventBody::Message { text, .. } => text.into_owned(),
            other => panic!("not a message: {other:?}"),
        }
    }

    /// The next event of any room; other frames are passed over.
    pub fn event(&mut self) -> Event<'static> {
        loop {
            if let Frame::Event(event) = self.hear() {
                return event;
            }
        }
    }

    /// All events of a room after a seq, page by page, from wherever the node has them.
    pub fn history(&mut self, room: RoomId, after_seq: u64) -> Vec<Event<'static>> {
        let mut all: Vec<Event<'static>> = Vec::new();
        loop {
            let after_seq = all.last().map_or(after_seq, |event| event.seq);
            match self.ask(|request| Frame::Sync { request, room, after_seq, limit: 0 }) {
                Frame::Events { events, head_seq, .. } => {
                    all.extend(events.into_iter().map(Event::into_owned));
                    if all.last().map_or(after_seq, |event| event.seq) >= head_seq {
                        return all;
                    }
                }
                other => panic!("no history: {other:?}"),
            }
        }
    }

    pub fn rooms(&mut self) -> Vec<RoomEntry<'static>> {
        match self.ask(|request| Frame::Rooms { request, changed_since: 0, limit: 0, page: None }) {
            Frame::RoomList { rooms, .. } => rooms.into_iter().map(RoomEntry::into_owned).collect(),
            other => panic!("no room list: {other:?}"),
        }
    }

    pub fn mark_read(&mut self, room: RoomId, seq: u64) -> u64 {
        self.done(|request| Frame::MarkRead { request, room, seq })
    }

    pub fn add(&mut self, room: RoomId, number: u64) -> u64 {
        self.done(|request| Frame::AddMembers { request, room, members: vec![user(number)] })
    }

    pub fn remove(&mut self, room: RoomId, number: u64) -> u64 {
        self.done(|request| Frame::RemoveMember { request, room, user: user(number) })
    }

    pub fn leave(&mut self, room: RoomId) -> u64 {
        self.done(|request| Frame::Leave { request, room })
    }

    /// The room as the list shows it; nothing where it is not in the list.
    pub fn entry(&mut self, room: RoomId) -> Option<RoomEntry<'static>> {
        self.rooms().into_iter().find(|entry| entry.room == room)
    }

    /// Everything that comes before the gateway answers a ping sent now.
    pub fn so_far(&mut self) -> Vec<Frame<'static>> {
        let stamp = rand_u64() >> 12;
        self.say(&Frame::Ping { stamp, heads: Vec::new() });
        let mut heard: Vec<_> = self.aside.drain(..).collect();
        loop {
            match self.hear_new().expect("the connection ended before the pong") {
                Frame::Pong { stamp: answered } if answered == stamp => return heard,
                frame => heard.push(frame),
            }
        }
    }

    /// Reads until the connection ends; what was heard.
    pub fn hear_out(&mut self) -> Vec<Frame<'static>> {
        let mut heard: Vec<_> = self.aside.drain(..).collect();
        while let Some(frame) = self.hear_new() {
            heard.push(frame);
        }
        heard
    }
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe)
}

/// Rooms leave memory as soon as nobody uses them.
pub fn forgets_soon(config: &mut Config) {
    config.room_idle_ms = 100;
    config.ping_interval_ms = 100;
}

pub fn create(request: u64, room: RoomId, members: &[u64]) -> Frame<'static> {
    let members = members.iter().map(|&number| user(number)).collect();
    Frame::CreateRoom { request, room, name: "a room".into(), members }
}

pub fn user(number: u64) -> UserId {
    UserId::new(number).unwrap()
}

pub fn room() -> RoomId {
    RoomId::from(uuid::Uuid::new_v4())
}

pub fn client_id() -> ClientId {
    ClientId::from(uuid::Uuid::new_v4())
}

pub fn rand_u64() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}

pub fn now_s() -> u64 {
    now_ms() / 1000
}

/// The gateway's clock too: it runs on this machine.
pub fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

/// Waits for what another thread does: looks until it is so, and says what was not when patience ends.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
