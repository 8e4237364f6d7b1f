//! `kills`: clients send, repeat, mark as read and reconnect while the node is killed (`kill -9`) at random moments and started
//! again; afterwards they compare. Every acknowledged send must be there once, in one dense order, the same for all, and
//! what is unread must be exact.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use carillon_protocol::frame::RoomEntry;
use carillon_protocol::{ClientId, Event, EventBody, Frame, RoomId};
use clap::Args;
use uuid::Uuid;

use super::{Target, client_id, create_room, room, user};
use crate::dice::Dice;
use crate::report::{Figure, Table};
use crate::session::Session;
use crate::token::Signer;

/// How long clients may take to come to an end after the last kill.
const PATIENCE: Duration = Duration::from_secs(60);
/// Sends that a client has outstanding at the most.
const PIPELINE_MAX: u64 = 8;

/// What to drive.
#[derive(Args, Clone, Debug)]
pub struct Kills {
    #[command(flatten)]
    target: Target,
    /// How often the node is killed
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// Clients, each a member of every room
    #[arg(long, default_value_t = 6)]
    clients: u64,
    /// Rooms
    #[arg(long, default_value_t = 3)]
    rooms: u64,
    /// The longest time between a start and a kill, in milliseconds
    #[arg(long, default_value_t = 150)]
    round_ms: u64,
}

impl Kills {
    /// So many kills of that program, with these flags.
    pub fn new(program: &std::path::Path, rounds: u64, flags: &[&str]) -> Self {
        let target = Target {
            start: Some(program.to_owned()),
            address: None,
            data: None,
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            transport: crate::link::Transport::Tcp,
            tls: None,
            tls_any: false,
        };
        Self { target, rounds, clients: 6, rooms: 3, round_ms: 150 }
    }
}

/// What all clients share.
struct Shared {
    address: SocketAddr,
    signer: Signer,
    rooms: Vec<RoomId>,
    /// No more kills: finish what is under way, and stop.
    finish: AtomicBool,
}

/// Runs it.
pub fn run(kills: &Kills) -> anyhow::Result<Table> {
    // Clients compare whole histories, however long.
    let mut gateway = kills.target.gateway_with(&["--sync-reach-events=1000000000"])?;
    let run = Uuid::new_v4();
    let shared = Arc::new(Shared {
        address: gateway.address,
        signer: Signer::open(&gateway.key())?,
        rooms: (0..kills.rooms).map(|number| room(run, number)).collect(),
        finish: AtomicBool::new(false),
    });
    create_rooms(&shared, kills.clients)?;
    let clients: Vec<_> = (1..=kills.clients)
        .map(|number| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || Client::new(shared, number).live())
        })
        .collect();
    let mut dice = Dice::new(run.as_u128() as u64);
    let start = Instant::now();
    for round in 1..=kills.rounds {
        thread::sleep(Duration::from_millis(1 + dice.below(kills.round_ms)));
        gateway.kill()?;
        gateway.start_again().with_context(|| format!("after kill {round}"))?;
        if round % 10 == 0 {
            eprint!("\r{round} of {} kills ", kills.rounds);
        }
    }
    eprintln!();
    shared.finish.store(true, Ordering::Relaxed);
    let mut told = Vec::new();
    for client in clients {
        told.push(client.join().map_err(|_| anyhow::anyhow!("a client panicked"))??);
    }
    let heads = compare(&told).map_err(|fault| anyhow::anyhow!("a promise was broken: {fault}"))?;
    let sum = |value: fn(&Told) -> u64| told.iter().map(value).sum::<u64>() as f64;
    Ok(Table::new(
        "kills",
        vec![
            Figure::new("kills", kills.rounds as f64, ""),
            Figure::new(
                "sends acknowledged",
                sum(|told| told.acknowledged.len() as u64),
                ", each there once",
            ),
            Figure::new("sends repeated", sum(|told| told.repeated), ", each under its first seq"),
            Figure::new("events in the rooms", heads as f64, ", the same order for all"),
            Figure::new("reconnects", sum(|told| told.reconnects), ""),
            Figure::new("took", start.elapsed().as_secs_f64(), "s"),
        ],
    ))
}

fn connect(shared: &Shared, number: u64) -> io::Result<Session> {
    Session::open(shared.address, &shared.signer, number, "kills")
}

fn create_rooms(shared: &Shared, clients: u64) -> anyhow::Result<()> {
    let mut session = connect(shared, 1)?;
    for &room in &shared.rooms {
        let members = (2..=clients).map(user).collect::<Result<_, _>>()?;
        let number = session.next_request();
        match session.ask(&create_room(number, room, members), number)? {
            Frame::Ack { .. } => {}
            other => bail!("a room was not created: {other:?}"),
        }
    }
    Ok(())
}

/// What a client knows at the end.
#[derive(Debug, Default, Clone)]
pub struct Told {
    number: u64,
    /// Its sends, and the seq that each got.
    acknowledged: HashMap<ClientId, (RoomId, u64)>,
    /// What it reads in each room.
    histories: HashMap<RoomId, Vec<Event<'static>>>,
    /// Its list of rooms.
    entries: Vec<RoomEntry<'static>>,
    repeated: u64,
    reconnects: u64,
}

/// A client: sends, and sends again what was not answered, until it is told to finish.
struct Client {
    shared: Arc<Shared>,
    dice: Dice,
    /// Sent and not answered.
    open: Vec<(ClientId, RoomId)>,
    told: Told,
}

impl Client {
    fn new(shared: Arc<Shared>, number: u64) -> Self {
        let told = Told { number, ..Told::default() };
        Self { shared, dice: Dice::new(number), open: Vec::new(), told }
    }

    fn live(mut self) -> anyhow::Result<Told> {
        let mut deadline = None;
        loop {
            if self.shared.finish.load(Ordering::Relaxed) {
                let deadline = *deadline.get_or_insert_with(|| Instant::now() + PATIENCE);
                match self.finish() {
                    Ok(()) => return Ok(self.told),
                    Err(Ended::Wrong(fault)) => bail!("client {}: {fault}", self.told.number),
                    Err(Ended::Connection(error)) if Instant::now() > deadline => {
                        bail!("client {} cannot finish: {error}", self.told.number)
                    }
                    Err(Ended::Connection(_)) => {}
                }
            } else if let Err(Ended::Wrong(fault)) = self.session() {
                bail!("client {}: {fault}", self.told.number);
            }
            self.told.reconnects += 1;
            thread::sleep(Duration::from_millis(1 + self.dice.below(10)));
        }
    }

    /// One connection's life: everything open again first, then new sends, marks and repeats, until it breaks.
    fn session(&mut self) -> Result<(), Ended> {
        let mut session = connect(&self.shared, self.told.number)?;
        self.send_open(&mut session)?;
        while !self.shared.finish.load(Ordering::Relaxed) {
            match self.dice.below(10) {
                0 => self.mark(&mut session)?,
                1 => self.repeat(&mut session)?,
                _ => {
                    for _ in 0..1 + self.dice.below(PIPELINE_MAX) {
                        let room = self.room();
                        self.open.push((client_id(), room));
                    }
                    self.send_open(&mut session)?;
                }
            }
        }
        Ok(())
    }

    fn room(&mut self) -> RoomId {
        self.shared.rooms[self.dice.below(self.shared.rooms.len() as u64) as usize]
    }

    /// Sends all that is open, and waits until it is answered.
    fn send_open(&mut self, session: &mut Session) -> Result<(), Ended> {
        let mut numbers = HashMap::new();
        for &(id, room) in &self.open {
            let number = session.next_request();
            numbers.insert(number, (id, room));
            session.say(&Frame::Send { request: number, room, client_id: id, text: text_of(id).into() });
        }
        session.flush()?;
        while !numbers.is_empty() {
            let frame = session.hear()?;
            let Some((id, room)) = frame.request().and_then(|number| numbers.remove(&number)) else {
                continue;
            };
            match frame {
                Frame::Ack { seq, .. } => {
                    self.acknowledged(id, room, seq)?;
                    self.open.retain(|(open, _)| *open != id);
                }
                Frame::Error { code, .. } if code.come_back() => {}
                other => return Err(Ended::Wrong(format!("a send was answered with {other:?}"))),
            }
        }
        Ok(())
    }

    fn acknowledged(&mut self, id: ClientId, room: RoomId, seq: u64) -> Result<(), Ended> {
        match self.told.acknowledged.insert(id, (room, seq)) {
            Some((_, before)) if before != seq => {
                Err(Ended::Wrong(format!("{id} had seq {before}, and has {seq} when it is repeated")))
            }
            _ => Ok(()),
        }
    }

    /// Sends something again that was acknowledged long ago, perhaps.
    fn repeat(&mut self, session: &mut Session) -> Result<(), Ended> {
        let count = self.told.acknowledged.len() as u64;
        let Some((&id, &(room, _))) =
            self.told.acknowledged.iter().nth(self.dice.below(count.max(1)) as usize)
        else {
            return Ok(());
        };
        self.told.repeated += 1;
        let number = session.next_request();
        let frame = Frame::Send { request: number, room, client_id: id, text: text_of(id).into() };
        match session.ask(&frame, number)? {
            Frame::Ack { seq, .. } => self.acknowledged(id, room, seq),
            Frame::Error { code, .. } if code.come_back() => Ok(()),
            other => Err(Ended::Wrong(format!("a repeated send was answered with {other:?}"))),
        }
    }

    fn mark(&mut self, session: &mut Session) -> Result<(), Ended> {
        let (room, seq, number) = (self.room(), self.dice.below(2_000), session.next_request());
        match session.ask(&Frame::MarkRead { request: number, room, seq }, number)? {
            Frame::Ack { .. } => Ok(()),
            Frame::Error { code, .. } if code.come_back() => Ok(()),
            other => Err(Ended::Wrong(format!("a mark was answered with {other:?}"))),
        }
    }

    /// After the last kill: what is open is sent, then everything is read.
    fn finish(&mut self) -> Result<(), Ended> {
        let mut session = connect(&self.shared, self.told.number)?;
        while !self.open.is_empty() {
            self.send_open(&mut session)?;
        }
        // Nobody sends any more when everyone has come this far; until then, read again.
        thread::sleep(Duration::from_secs(2));
        let mut session = connect(&self.shared, self.told.number)?;
        for &room in &self.shared.rooms.clone() {
            let history = session.history(room)?;
            self.told.histories.insert(room, history);
        }
        self.told.entries = session.rooms()?;
        Ok(())
    }
}

/// A text that says whose it is, so that a mixed-up one is noticed.
fn text_of(id: ClientId) -> String {
    format!("I am {id}")
}

/// Compares what all clients know. Says how many events the rooms have; or what is wrong.
pub fn compare(all: &[Told]) -> Result<u64, String> {
    let first = all.first().ok_or("nobody has anything to compare")?;
    let mut events = 0;
    for (room, history) in &first.histories {
        events += history.len() as u64;
        is_dense(*room, history)?;
        let mut seqs: HashMap<ClientId, u64> = HashMap::new();
        for event in history {
            let EventBody::Message { client_id, text } = &event.body else { continue };
            if seqs.insert(*client_id, event.seq).is_some() {
                return Err(format!("{client_id} is in room {room} twice"));
            }
            if *text != text_of(*client_id) {
                return Err(format!("event {} of room {room} has another's text", event.seq));
            }
        }
        for told in all {
            if told.histories.get(room) != Some(history) {
                return Err(format!(
                    "clients {} and {} read room {room} differently",
                    first.number, told.number
                ));
            }
            let acknowledged = told.acknowledged.iter().filter(|(_, (acknowledged, _))| acknowledged == room);
            for (id, (_, seq)) in acknowledged {
                if seqs.get(id) != Some(seq) {
                    return Err(format!(
                        "{id} was acknowledged with seq {seq} of room {room}, and is at {:?}",
                        seqs.get(id)
                    ));
                }
            }
            is_unread_exact(told, *room, history)?;
        }
    }
    let sent: HashSet<ClientId> = all.iter().flat_map(|told| told.acknowledged.keys().copied()).collect();
    let messages = first.histories.values().flatten().filter(|event| event.is_message()).count();
    // Everything that was sent was sent again until it was acknowledged.
    if messages != sent.len() {
        return Err(format!("{messages} messages are there and {} were sent", sent.len()));
    }
    Ok(events)
}

fn is_dense(room: RoomId, history: &[Event<'_>]) -> Result<(), String> {
    let mut ordinal = 0;
    for (index, event) in history.iter().enumerate() {
        ordinal += u64::from(event.is_message());
        if event.seq != index as u64 + 1 || event.ordinal != ordinal || event.room != room {
            return Err(format!("event {} of room {room} is at place {}", event.seq, index + 1));
        }
    }
    Ok(())
}

/// The list's count against one by hand: messages after the marker, the client's own last, and its beginning.
fn is_unread_exact(told: &Told, room: RoomId, history: &[Event<'_>]) -> Result<(), String> {
    let entry = told
        .entries
        .iter()
        .find(|entry| entry.room == room)
        .ok_or(format!("room {room} is not in the list"))?;
    let own = history
        .iter()
        .filter(|event| event.is_message() && event.sender.get() == told.number)
        .map(|event| event.seq);
    let read = own.max().unwrap_or(0).max(entry.read_seq).max(1);
    let unread = history.iter().filter(|event| event.is_message() && event.seq > read).count() as u64;
    if entry.unread != unread || entry.head_seq != history.len() as u64 {
        return Err(format!(
            "client {} has {} unread in room {room}, and should have {unread}",
            told.number, entry.unread
        ));
    }
    Ok(())
}

/// Why a connection's life ended.
enum Ended {
    /// It broke, as it may.
    Connection(io::Error),
    /// Something came that may not.
    Wrong(String),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        Self::Connection(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> ClientId {
        ClientId::from_bytes([number; 16])
    }

    fn the_room() -> RoomId {
        RoomId::from_bytes([7; 16])
    }

    /// What a client of a room with three messages of client 2 knows, when all is well.
    fn told(number: u64) -> Told {
        let event = |seq: u64| {
            let text = text_of(id(seq as u8)).into();
            let body = EventBody::Message { client_id: id(seq as u8), text };
            Event { room: the_room(), seq, ordinal: seq, at_ms: 0, sender: user(2).unwrap(), body }
        };
        let acknowledged =
            (1..=3).filter(|_| number == 2).map(|seq| (id(seq as u8), (the_room(), seq))).collect();
        let entry = RoomEntry {
            room: the_room(),
            name: "".into(),
            active_ms: 0,
            head_seq: 3,
            head_ordinal: 3,
            read_seq: 1,
            unread: if number == 2 { 0 } else { 2 },
            member_count: 2,
            preview_sender: None,
            preview: "".into(),
        };
        let histories = HashMap::from([(the_room(), (1..=3).map(event).collect())]);
        Told { number, acknowledged, histories, entries: vec![entry], repeated: 0, reconnects: 0 }
    }

    fn fault(spoil: impl Fn(&mut Told)) -> String {
        let mut all = [told(1), told(2)];
        all.iter_mut().for_each(&spoil);
        compare(&all).unwrap_err()
    }

    #[test]
    fn what_is_well_passes() {
        assert_eq!(compare(&[told(1), told(2)]), Ok(3));
    }

    #[test]
    fn every_broken_promise_is_noticed() {
        let history = |told: &mut Told, spoil: fn(&mut Vec<Event<'static>>)| {
            spoil(told.histories.get_mut(&the_room()).unwrap());
        };
        let lost = fault(|told| history(told, |events| drop(events.pop())));
        assert!(lost.contains("acknowledged") || lost.contains("unread"), "{lost}");
        assert!(fault(|told| history(told, |events| drop(events.remove(0)))).contains("at place"));
        assert!(fault(|told| history(told, |events| events.swap(0, 1))).contains("at place"));
        let twice = |events: &mut Vec<Event<'static>>| {
            let again = Event { seq: 4, ordinal: 4, ..events[2].clone() };
            events.push(again);
        };
        assert!(fault(|told| history(told, twice)).contains("twice"));
        assert!(fault(|told| told.entries[0].unread += 1).contains("unread"));
        let more = fault(|told| told.acknowledged.extend([(id(9), (the_room(), 9))]));
        assert!(more.contains("acknowledged"), "{more}");
        let mut all = [told(1), told(2)];
        history(&mut all[0], |events| events[0].at_ms = 5);
        assert!(compare(&all).unwrap_err().contains("differently"));
    }
}
