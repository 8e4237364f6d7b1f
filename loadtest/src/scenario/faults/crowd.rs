//! The clients: on one epoll loop, each does what the SDK does. It keeps what it sends until that is acknowledged, comes back
//! at another gateway when its own is silent, and asks for what it missed.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use carillon_protocol::{ClientId, CloseCode, Event, EventBody, Frame, RoomId};
use mio::{Events, Interest, Poll, Token};

use super::verdict::{Broken, Faults};
use super::{LARGE_ONE_IN, Shared, user_of};
use crate::dice::Dice;
use crate::link::{Link, Transport};
use crate::scenario::client_id;

/// A gateway that says nothing for so long is left: it pings every second.
const SILENT: Duration = Duration::from_millis(3_500);
/// Who has no answer for so long leaves the gateway: it answers everything within ten seconds.
const UNANSWERED: Duration = Duration::from_secs(13);
/// Before a client comes back, and before it sends again what was refused for now.
const AGAIN_MS: u64 = 100;
/// Sends that a client keeps; past it new ones are put off.
const OPEN_MAX: usize = 400;
/// How often clients look at what they wait for.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// How long clients may take to come to an end once nothing happens any more.
const PATIENCE: Duration = Duration::from_secs(90);
/// After all is acknowledged, how long the last events may take to reach everyone.
const REACHED_WITHIN: Duration = Duration::from_secs(20);
/// A send that waited less is no pause.
const PAUSE: Duration = Duration::from_millis(20);
/// Acknowledged sends of a client that it may repeat.
const RECENT: usize = 64;

/// What clients know at the end.
#[derive(Default)]
pub(super) struct Told {
    /// Each acknowledged send, its room's number and its seq.
    pub(super) acknowledged: HashMap<ClientId, (usize, u64)>,
    /// Of each room a digest of each event that somebody heard, by seq; 0 where nobody did.
    pub(super) heard: Vec<Vec<u64>>,
    /// The largest marker that each client was acknowledged, by room.
    pub(super) marks: Vec<HashMap<usize, u64>>,
    /// Sends that waited.
    pub(super) waits: Vec<Wait>,
    pub(super) retried: u64,
    pub(super) repeated: u64,
    pub(super) put_off: u64,
    pub(super) live: u64,
    pub(super) fetched: u64,
    pub(super) reconnects: u64,
    pub(super) faults: Faults,
}

/// A send that was not acknowledged at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    pub(super) client: usize,
    pub(super) began: Instant,
    pub(super) ended: Instant,
}

pub(super) struct Crowd {
    shared: Arc<Shared>,
    poll: Poll,
    clients: Vec<Client>,
    numbers: HashMap<RoomId, usize>,
    dice: Dice,
    told: Told,
}

struct Client {
    number: usize,
    link: Option<Link>,
    gateway: usize,
    is_welcome: bool,
    heard_at: Instant,
    /// When it comes back.
    comes: Instant,
    small: Vec<usize>,
    large: Vec<usize>,
    streams: HashMap<usize, Stream>,
    last_request: u64,
    asked: HashMap<u64, Asked>,
    open: HashMap<ClientId, Open>,
    recent: VecDeque<(ClientId, usize)>,
}

/// How far it is in a room.
#[derive(Default)]
struct Stream {
    last: u64,
    /// The largest seq it knows of.
    head: u64,
    is_asking: bool,
}

enum Asked {
    Send(ClientId, usize),
    Repeat(ClientId, usize),
    Mark(usize),
    Sync(usize),
}

struct Open {
    room: usize,
    began: Instant,
    /// When it was sent on this connection.
    sent: Option<Instant>,
    /// Not before this.
    next: Instant,
}

/// A text that says whose it is, so that a mixed-up one is noticed.
pub(super) fn text_of(id: ClientId) -> String {
    format!("I am {id}")
}

/// What an event is, in short; never 0.
pub(super) fn digest(event: &Event<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (event.seq, event.ordinal, event.at_ms, event.sender.get()).hash(&mut hasher);
    match &event.body {
        EventBody::Message { client_id, text } => (client_id.as_bytes(), text).hash(&mut hasher),
        other => format!("{other:?}").hash(&mut hasher),
    }
    hasher.finish() | 1
}

impl Crowd {
    pub(super) fn new(shared: Arc<Shared>) -> io::Result<Self> {
        let now = Instant::now();
        let clients = (0..shared.clients).map(|number| {
            let mine = |is_large: bool| {
                let all = shared.rooms.iter().enumerate();
                let mine = all
                    .filter(|(_, room)| room.is_large == is_large && room.members.contains(&number))
                    .map(|(room, _)| room);
                mine.collect::<Vec<_>>()
            };
            let (small, large) = (mine(false), mine(true));
            Client {
                number,
                link: None,
                gateway: number % shared.gateways.len(),
                is_welcome: false,
                heard_at: now,
                comes: now,
                streams: small.iter().chain(&large).map(|&room| (room, Stream::default())).collect(),
                small,
                large,
                last_request: 0,
                asked: HashMap::new(),
                open: HashMap::new(),
                recent: VecDeque::new(),
            }
        });
        Ok(Self {
            clients: clients.collect(),
            numbers: shared.rooms.iter().enumerate().map(|(number, room)| (room.id, number)).collect(),
            dice: Dice::new(shared.seed.rotate_left(32)),
            poll: Poll::new()?,
            told: Told {
                heard: vec![Vec::new(); shared.rooms.len()],
                marks: vec![HashMap::new(); shared.clients],
                ..Told::default()
            },
            shared,
        })
    }

    /// Until nothing more is done to the cluster, and all have what there is.
    pub(super) fn live(mut self) -> anyhow::Result<Told> {
        let mut events = Events::with_capacity(1024);
        let mut scratch = vec![0; 256 * 1024];
        let (began, mut due, mut looked) = (Instant::now(), 0, Instant::now());
        let (mut finishing, mut all_sent) = (None, None);
        loop {
            match self.poll.poll(&mut events, Some(Duration::from_millis(2))) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
            let now = Instant::now();
            for event in events.iter() {
                self.read(event.token().0, &mut scratch, now);
            }
            if !self.shared.finish.load(Ordering::Relaxed) {
                let until_now = (began.elapsed().as_secs_f64() * self.shared.sends_per_s as f64) as u64;
                while due < until_now {
                    due += 1;
                    self.act(now);
                }
            } else {
                let deadline = *finishing.get_or_insert(now + PATIENCE);
                if self.clients.iter().all(|client| client.open.is_empty()) {
                    let reached = *all_sent.get_or_insert(now + REACHED_WITHIN);
                    if self.have_all() || now > reached {
                        break;
                    }
                }
                if now > deadline {
                    break;
                }
            }
            if now.duration_since(looked) > LOOK_EVERY {
                looked = now;
                (0..self.clients.len()).for_each(|client| self.look(client, now));
            }
            for client in &mut self.clients {
                let Some(link) = &mut client.link else { continue };
                if let Err(error) = link.flush() {
                    link.closed(&error);
                    client.lose(now, &mut self.dice, self.shared.gateways.len());
                }
            }
        }
        self.sum_up();
        Ok(self.told)
    }

    /// Whether every client has every event that somebody has.
    fn have_all(&self) -> bool {
        self.clients.iter().all(|client| {
            client
                .streams
                .iter()
                .all(|(&room, stream)| !stream.is_asking && stream.last == self.told.heard[room].len() as u64)
        })
    }

    fn sum_up(&mut self) {
        for client in &self.clients {
            for (id, open) in &client.open {
                let (room, waited) = (self.shared.rooms[open.room].id, open.began.elapsed());
                let why = format!(
                    "client {} on gateway {} has no acknowledgement of {id} in room {room} after {waited:?}",
                    client.number,
                    client.gateway + 1
                );
                self.told.faults.add(Broken::Unanswered, why);
            }
            for (&room, stream) in &client.streams {
                let head = self.told.heard[room].len() as u64;
                if stream.last < head {
                    let why = format!(
                        "client {} on gateway {} was never told of more than seq {} of room {} ({}), which has {head}",
                        client.number,
                        client.gateway + 1,
                        stream.last,
                        self.shared.rooms[room].id,
                        if self.shared.rooms[room].is_large { "large" } else { "small" },
                    );
                    self.told.faults.add(Broken::Unheard, why);
                }
            }
        }
    }

    /// Somebody does something.
    fn act(&mut self, now: Instant) {
        let client = self.dice.below(self.clients.len() as u64) as usize;
        let client = &mut self.clients[client];
        let kind = self.dice.below(100);
        let rooms = match self.dice.below(LARGE_ONE_IN) {
            0 if !client.large.is_empty() => &client.large,
            _ => &client.small,
        };
        let room = rooms[self.dice.below(rooms.len() as u64) as usize];
        if kind < 2 && client.is_welcome {
            let seq = client.streams[&room].last.max(1);
            client.ask(Asked::Mark(room), |request| Frame::MarkRead {
                request,
                room: self.shared.rooms[room].id,
                seq,
            });
        } else if kind < 4 && client.is_welcome && !client.recent.is_empty() {
            let (id, room) = client.recent[self.dice.below(client.recent.len() as u64) as usize];
            self.told.repeated += 1;
            client.send(&self.shared, id, room, true);
        } else if client.open.len() < OPEN_MAX {
            let id = client_id();
            let sent = client.is_welcome.then_some(now);
            client.open.insert(id, Open { room, began: now, sent, next: now });
            if client.is_welcome {
                client.send(&self.shared, id, room, false);
            }
        } else {
            self.told.put_off += 1;
        }
    }

    /// A client looks at what it waits for.
    fn look(&mut self, number: usize, now: Instant) {
        let gateways = self.shared.gateways.len();
        let client = &mut self.clients[number];
        if client.link.is_none() {
            if now >= client.comes && self.connect(number, now).is_err() {
                self.clients[number].lose(now, &mut self.dice, gateways);
            }
            return;
        }
        let is_late = |open: &Open| open.sent.is_some_and(|sent| now.duration_since(sent) > UNANSWERED);
        if now.duration_since(client.heard_at) > SILENT || client.open.values().any(is_late) {
            return client.lose(now, &mut self.dice, gateways);
        }
        if !client.is_welcome {
            return;
        }
        let again = client.open.iter().filter(|(_, open)| open.sent.is_none() && open.next <= now);
        let again: Vec<_> = again.map(|(&id, open)| (id, open.room)).collect();
        for (id, room) in again {
            self.told.retried += 1;
            if let Some(open) = client.open.get_mut(&id) {
                open.sent = Some(now);
            }
            client.send(&self.shared, id, room, false);
        }
        let behind: Vec<usize> = client
            .streams
            .iter()
            .filter(|(_, stream)| !stream.is_asking && stream.head > stream.last)
            .map(|(&room, _)| room)
            .collect();
        behind.into_iter().for_each(|room| client.sync(&self.shared, room));
    }

    fn connect(&mut self, number: usize, now: Instant) -> io::Result<()> {
        let client = &mut self.clients[number];
        let mut link = Link::connect(self.shared.gateways[client.gateway], number, Transport::Tcp, None)?;
        let token = self.shared.signer.token(user_of(number)).into();
        link.say(&Frame::Hello { token, device: "faults".into(), agent: None });
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut link.stream, Token(number), interest)?;
        link.flush()?;
        client.link = Some(link);
        client.heard_at = now;
        self.told.reconnects += 1;
        Ok(())
    }

    fn read(&mut self, number: usize, scratch: &mut [u8], now: Instant) {
        let Some(mut link) = self.clients[number].link.take() else { return };
        let read = link.read(scratch, |link, frame| self.hear(number, link, frame, now));
        let client = &mut self.clients[number];
        client.link = Some(link);
        client.heard_at = now;
        if read.is_err() {
            client.lose(now, &mut self.dice, self.shared.gateways.len());
        }
    }

    fn hear(&mut self, number: usize, link: &mut Link, frame: Frame<'_>, now: Instant) {
        let client = &mut self.clients[number];
        match frame {
            Frame::Welcome { .. } => {
                client.is_welcome = true;
                // What is open is sent again by the next look; and what was missed is asked for.
                let rooms: Vec<usize> = client.streams.keys().copied().collect();
                for room in rooms {
                    sync_on(link, client, &self.shared, room);
                }
            }
            Frame::Ping { stamp, heads } => {
                link.answer_ping(stamp);
                for head in heads {
                    if let Some(stream) =
                        self.numbers.get(&head.room).and_then(|room| client.streams.get_mut(room))
                    {
                        stream.head = stream.head.max(head.seq);
                    }
                }
            }
            Frame::Lagged { room, .. } => {
                if let Some(&room) = self.numbers.get(&room) {
                    sync_on(link, client, &self.shared, room);
                }
            }
            Frame::Event(event) => {
                self.told.live += 1;
                self.event(number, &event, "live");
            }
            Frame::Events { request, head_seq, events, .. } => {
                let Some(Asked::Sync(room)) = client.asked.remove(&request) else { return };
                if let Some(stream) = client.streams.get_mut(&room) {
                    stream.is_asking = false;
                    stream.head = stream.head.max(head_seq);
                }
                self.told.fetched += events.len() as u64;
                let mut before = None;
                for event in &events {
                    if before.is_some_and(|before| event.seq != before + 1) {
                        let why = format!(
                            "an answer to client {number} has seq {} of room {} after {before:?}",
                            event.seq, event.room
                        );
                        self.told.faults.add(Broken::Order, why);
                    }
                    before = Some(event.seq);
                    self.event(number, event, "in an answer to sync");
                }
            }
            Frame::Ack { request, seq, .. } => self.acknowledged(number, request, seq, now),
            // The gateway closes the connection, and says why; what that means for a client is that it comes back.
            Frame::Error { request: 0, code, .. } if code.come_back() || CloseCode(code.0).come_back() => {}
            Frame::Error { request, code, message, retry_after_ms } => {
                let asked = client.asked.remove(&request);
                let again = now + Duration::from_millis(retry_after_ms.unwrap_or(0).clamp(AGAIN_MS, 2_000));
                match asked {
                    Some(Asked::Send(id, _)) => {
                        if let Some(open) = client.open.get_mut(&id) {
                            (open.sent, open.next) = (None, again);
                        }
                    }
                    Some(Asked::Sync(room)) => {
                        if let Some(stream) = client.streams.get_mut(&room) {
                            // Asked for again by the next look.
                            (stream.is_asking, stream.head) = (false, stream.head.max(stream.last + 1));
                        }
                    }
                    Some(Asked::Repeat(..) | Asked::Mark(_)) | None => {}
                }
                if !code.come_back() {
                    let why = format!(
                        "client {number} was refused on gateway {}: {code:?} {message}",
                        client.gateway + 1
                    );
                    self.told.faults.add(Broken::Refused, why);
                }
            }
            Frame::Snapshot { request, room, .. } => {
                client.asked.remove(&request);
                self.told.faults.add(Broken::Refused, format!("a snapshot instead of room {room}'s events"));
            }
            _ => {}
        }
    }

    fn acknowledged(&mut self, number: usize, request: u64, seq: u64, now: Instant) {
        let client = &mut self.clients[number];
        match client.asked.remove(&request) {
            Some(Asked::Send(id, room)) => {
                if let Some(open) = client.open.remove(&id) {
                    if now.duration_since(open.began) > PAUSE {
                        self.told.waits.push(Wait { client: number, began: open.began, ended: now });
                    }
                    client.recent.push_back((id, room));
                    if client.recent.len() > RECENT {
                        client.recent.pop_front();
                    }
                }
                self.note(number, id, room, seq);
            }
            Some(Asked::Repeat(id, room)) => self.note(number, id, room, seq),
            Some(Asked::Mark(room)) => {
                let mark = self.told.marks[number].entry(room).or_default();
                *mark = seq.max(*mark);
            }
            Some(Asked::Sync(_)) | None => {}
        }
    }

    fn note(&mut self, number: usize, id: ClientId, room: usize, seq: u64) {
        if let Some((_, before)) = self.told.acknowledged.insert(id, (room, seq))
            && before != seq
        {
            let gateway = self.clients[number].gateway + 1;
            let why = format!(
                "{id} of client {number} in room {} was acknowledged with seq {before}, and with {seq} on gateway {gateway}",
                self.shared.rooms[room].id
            );
            self.told.faults.add(Broken::Duplicate, why);
        }
    }

    /// An event came to a client.
    fn event(&mut self, number: usize, event: &Event<'_>, how: &str) {
        let client = &mut self.clients[number];
        let room = self.numbers.get(&event.room);
        let Some((&room, stream)) = room.and_then(|room| Some((room, client.streams.get_mut(room)?))) else {
            let why = format!("client {number} heard of room {}, and is not in it", event.room);
            return self.told.faults.add(Broken::Refused, why);
        };
        stream.head = stream.head.max(event.seq);
        if event.seq == stream.last + 1 {
            stream.last = event.seq;
        }
        let heard = &mut self.told.heard[room];
        let (index, digest) = (event.seq as usize - 1, digest(event));
        if heard.len() <= index {
            heard.resize(index + 1, 0);
        }
        if heard[index] == 0 {
            heard[index] = digest;
        } else if heard[index] != digest {
            let why = format!(
                "client {number} on gateway {} heard seq {} of room {} {how} as another event than somebody did before: {:?}",
                client.gateway + 1,
                event.seq,
                event.room,
                event.body,
            );
            self.told.faults.add(Broken::Order, why);
        }
    }
}

/// The same as [`Client::sync`] while the client's link is read.
fn sync_on(link: &mut Link, client: &mut Client, shared: &Shared, room: usize) {
    if let Some(frame) = client.sync_frame(shared, room) {
        link.say(&frame);
    }
}

impl Client {
    fn ask(&mut self, asked: Asked, frame: impl FnOnce(u64) -> Frame<'static>) {
        self.last_request += 1;
        self.asked.insert(self.last_request, asked);
        if let Some(link) = &mut self.link {
            link.say(&frame(self.last_request));
        }
    }

    fn send(&mut self, shared: &Shared, id: ClientId, room: usize, is_repeat: bool) {
        let asked = if is_repeat { Asked::Repeat(id, room) } else { Asked::Send(id, room) };
        let text = text_of(id).into();
        let room = shared.rooms[room].id;
        self.ask(asked, |request| Frame::Send { request, room, client_id: id, text });
    }

    fn sync(&mut self, shared: &Shared, room: usize) {
        if let (Some(frame), Some(link)) = (self.sync_frame(shared, room), &mut self.link) {
            link.say(&frame);
        }
    }

    /// The question for what the client misses of a room, unless it is asked already.
    fn sync_frame(&mut self, shared: &Shared, room: usize) -> Option<Frame<'static>> {
        let stream = self.streams.get_mut(&room).filter(|stream| !stream.is_asking)?;
        stream.is_asking = true;
        let after_seq = stream.last;
        self.last_request += 1;
        self.asked.insert(self.last_request, Asked::Sync(room));
        Some(Frame::Sync { request: self.last_request, room: shared.rooms[room].id, after_seq, limit: 0 })
    }

    /// Leaves its gateway, for another.
    fn lose(&mut self, now: Instant, dice: &mut Dice, gateways: usize) {
        self.link = None;
        self.is_welcome = false;
        self.asked.clear();
        self.streams.values_mut().for_each(|stream| stream.is_asking = false);
        self.open.values_mut().for_each(|open| (open.sent, open.next) = (None, now));
        if gateways > 1 {
            self.gateway = (self.gateway + 1 + dice.below(gateways as u64 - 1) as usize) % gateways;
        }
        self.comes = now + Duration::from_millis(dice.below(2 * AGAIN_MS));
    }
}
