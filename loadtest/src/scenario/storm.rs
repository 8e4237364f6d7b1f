//! `storm`: all clients are cut at once and come back at once; measured until the last of them has caught up with what was
//! sent while it was away.
//!
//! Each worker has a few keepers that stay, and write into every room while the others are gone.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use anyhow::bail;
use carillon_protocol::{Frame, RoomId};
use clap::Args;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Target, client_id, create_room, room, user};
use crate::check::{Faults, Stream};
use crate::fleet::{Fleet, Place};
use crate::link::Link;
use crate::report::{Figure, Recorded, Table};
use crate::worker::{self, Order, Report, Sessions, must_be_clean};

/// Sessions of each worker that are not cut.
const KEEPERS: u64 = 16;
/// Requests of one keeper that are under way at once.
const AT_ONCE: usize = 64;
/// How long everyone may take to be back.
const PATIENCE: Duration = Duration::from_secs(180);
/// The longest resume that is told apart.
const RESUME_MAX_MS: u64 = 600_000;

/// What to drive.
#[derive(Args, Clone, Debug)]
pub struct Storm {
    #[command(flatten)]
    target: Target,
    /// Sessions that are cut
    #[arg(long, default_value_t = 19_000)]
    sessions: u64,
    /// Rooms that each of them is in
    #[arg(long, default_value_t = 2)]
    rooms: u64,
    /// Members of each room, beside the one that stays
    #[arg(long, default_value_t = 20)]
    members: u64,
    /// Messages that each room gets while they are away
    #[arg(long, default_value_t = 5)]
    missed: u64,
    /// Connections that each worker opens at once when they come back
    #[arg(long, default_value_t = 1_000)]
    opening: usize,
    /// Processes that hold the clients' ends
    #[arg(long, default_value_t = 2)]
    workers: u64,
}

/// One worker's share.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Load {
    run: Uuid,
    sessions: Sessions,
    first_room: u64,
    rooms: u64,
    members: u64,
    missed: u64,
    opening: usize,
}

/// What a worker measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// From the storm's beginning until a session had everything, in milliseconds.
    resumes_ms: Recorded,
    /// Until the last was welcome.
    welcome_ms: u64,
    /// Until the last had everything.
    last_ms: u64,
    /// Events that were caught up with.
    events: u64,
    /// Connections that ended on the way and were opened again.
    again: u64,
    /// What was wrong with the streams.
    faults: Faults,
}

/// Runs it.
pub fn run(storm: &Storm) -> anyhow::Result<Table> {
    let gateway = storm.target.gateway()?;
    let (run, share) = (Uuid::new_v4(), storm.sessions / storm.workers);
    // Each session is in so many rooms, so there are as many places in rooms as that.
    let rooms = share * storm.rooms / storm.members;
    if rooms == 0 || share < storm.members {
        bail!("{share} sessions a worker do not fill a room of {}", storm.members);
    }
    let mut workers = worker::start(storm.workers)?;
    eprintln!("{} sessions come, {} rooms are made", share * storm.workers, rooms * storm.workers);
    for (index, worker) in workers.iter_mut().enumerate() {
        let index = index as u64;
        let (address, transport, key) = (gateway.address, storm.target.transport, gateway.key());
        let tls = gateway.tls;
        let first_user = 1 + index * (KEEPERS + share);
        worker.order(&Order::Storm(Load {
            run,
            sessions: Sessions { address, others: Vec::new(), transport, tls, key, first_user, count: share },
            first_room: index * rooms,
            rooms,
            members: storm.members,
            missed: storm.missed,
            opening: storm.opening,
        }))?;
    }
    worker::wait(&mut workers)?;
    eprintln!("they are cut; {} messages are sent without them", rooms * storm.workers * storm.missed);
    workers.iter_mut().try_for_each(|worker| worker.order(&Order::Cut))?;
    worker::wait(&mut workers)?;
    eprintln!("they come back");
    let cpu = gateway.pid().map(|_| gateway.cpu()).transpose()?;
    workers.iter_mut().try_for_each(|worker| worker.order(&Order::Resume))?;
    let mut all = Measured::default();
    for worker in &mut workers {
        let Report::Storm(measured) = worker.report()? else { bail!("a report of something else") };
        all.resumes_ms.add(measured.resumes_ms);
        all.welcome_ms = all.welcome_ms.max(measured.welcome_ms);
        all.last_ms = all.last_ms.max(measured.last_ms);
        all.events += measured.events;
        all.again += measured.again;
        all.faults = all.faults.and(measured.faults);
    }
    let cpu = cpu.map(|before| anyhow::Ok(gateway.cpu()? - before)).transpose()?;
    must_be_clean(all.faults)?;
    let resumes = all.resumes_ms.histogram()?;
    let s = |ms: u64| ms as f64 / 1000.0;
    let back = resumes.len();
    let mut figures = vec![
        Figure::new("sessions cut and back", back as f64, "without a gap, a repeat or a wrong order")
            .at_least((share * storm.workers) as f64),
        Figure::new("the last was welcome after", s(all.welcome_ms), "s"),
        Figure::new("half had everything after", s(resumes.value_at_quantile(0.5)), "s"),
        Figure::new("99 % had everything after", s(resumes.value_at_quantile(0.99)), "s"),
        Figure::new("the last had everything after", s(all.last_ms), "s"),
        Figure::new("events caught up with", all.events as f64, ""),
        Figure::new("connections opened again", all.again as f64, "lost or refused on the way"),
    ];
    if let Some(cpu) = cpu {
        let each = cpu.as_secs_f64() * 1e6 / back.max(1) as f64;
        figures.push(Figure::new("the gateway's processor time", each, "µs a session"));
    }
    Ok(Table::new("storm", figures))
}

/// A worker's storm, between its orders.
pub struct Storming {
    load: Load,
    place: Place,
    rooms: Vec<RoomId>,
    /// Which rooms each of those is in that will be cut.
    rooms_of: Vec<Vec<usize>>,
    streams: Vec<Stream>,
    heads: HashMap<RoomId, u64>,
}

impl Storming {
    /// Everyone comes, the rooms are made, and everyone has heard of them.
    pub fn gather(fleet: &mut Fleet, load: Load) -> anyhow::Result<Self> {
        let (place, count) = (load.sessions.place()?, load.sessions.count);
        let first = load.sessions.first_user;
        fleet.open(&place, first..first + KEEPERS + count, |_, _, _| {})?;
        let mut rooms_of = vec![Vec::new(); count as usize];
        let mut rooms = Vec::new();
        let mut creations = Vec::new();
        for index in 0..load.rooms {
            // The next lap around the sessions takes other neighbours together.
            let lap = index * load.members / count;
            let members = (0..load.members).map(|place| (index * load.members + place * (1 + lap)) % count);
            let mut members: Vec<u64> = members.collect();
            members.sort_unstable();
            members.dedup();
            members.iter().for_each(|&member| rooms_of[member as usize].push(rooms.len()));
            let users =
                members.iter().map(|member| user(first + KEEPERS + member)).collect::<Result<_, _>>()?;
            let id = room(load.run, load.first_room + index);
            rooms.push(id);
            creations.push(create_room(1, id, users));
        }
        let streams = rooms_of.iter().map(|of| stream(of, &rooms)).collect();
        let heads = rooms.iter().map(|&room| (room, 1)).collect();
        let mut storming = Self { load, place, rooms, rooms_of, streams, heads };
        storming.keepers_say(fleet, creations.into_iter().enumerate())?;
        Ok(storming)
    }

    /// Everyone but the keepers is cut, and misses what is sent.
    pub fn cut(&mut self, fleet: &mut Fleet) -> anyhow::Result<()> {
        fleet.cut_from(KEEPERS as usize);
        let missed = self.load.missed as usize;
        let sends = self.rooms.iter().enumerate().flat_map(|(index, &room)| {
            std::iter::repeat_with(move || {
                let (client_id, text) = (client_id(), "while you were away".into());
                (index, Frame::Send { request: 1, room, client_id, text })
            })
            .take(missed)
        });
        let sends: Vec<_> = sends.collect();
        self.keepers_say(fleet, sends)
    }

    /// The keepers share these requests, each with the number of its room, and wait until all are answered.
    fn keepers_say(
        &mut self,
        fleet: &mut Fleet,
        requests: impl IntoIterator<Item = (usize, Frame<'static>)>,
    ) -> anyhow::Result<()> {
        let keepers = KEEPERS as usize;
        // One room's requests belong to one keeper: it created the room and is in it.
        let mut waiting: Vec<VecDeque<Frame<'static>>> = vec![VecDeque::new(); keepers];
        requests.into_iter().for_each(|(room, request)| waiting[room % keepers].push_back(request));
        let mut left: usize = waiting.iter().map(VecDeque::len).sum();
        for (number, of_one) in waiting.iter_mut().enumerate() {
            for request in of_one.drain(..of_one.len().min(AT_ONCE)) {
                fleet.links[number].say(&request);
            }
            fleet.flush(number)?;
        }
        let heads = &mut self.heads;
        fleet.until("the keepers are answered", |number, link, frame| {
            match frame {
                Frame::Event(event) if number < keepers => {
                    let head = heads.entry(event.room).or_default();
                    *head = event.seq.max(*head);
                }
                Frame::Ack { .. } => {
                    left -= 1;
                    if let Some(next) = waiting[number].pop_front() {
                        link.say(&next);
                    }
                }
                _ => {}
            }
            left == 0
        })
    }

    /// Everyone comes back at once, and asks for what happened meanwhile.
    pub fn resume(&mut self, fleet: &mut Fleet) -> anyhow::Result<Measured> {
        let keepers = KEEPERS as usize;
        let first_user = self.load.sessions.first_user + KEEPERS;
        let mut back = Back {
            rooms: &self.rooms,
            rooms_of: &self.rooms_of,
            streams: &mut self.streams,
            left: self.rooms_of.iter().map(Vec::len).collect(),
            resumes: Histogram::new_with_max(RESUME_MAX_MS, 3)?,
            start: Instant::now(),
            welcome: 0,
            measured: Measured::default(),
        };
        let (count, mut opened) = (self.rooms_of.len(), 0);
        while (back.resumes.len() as usize) < count {
            while opened < count && opened.saturating_sub(back.welcome) < self.load.opening {
                fleet.connect(&self.place, first_user + opened as u64)?;
                opened += 1;
            }
            fleet.turn(Duration::from_millis(20), |number, link, frame| {
                if let Some(number) = number.checked_sub(keepers) {
                    back.heard(number, link, frame);
                }
            })?;
            for number in std::mem::take(&mut fleet.lost) {
                let Some(session) = number.checked_sub(keepers) else { bail!("a keeper was cut off") };
                back.measured.again += 1;
                back.left[session] = self.rooms_of[session].len();
                back.streams[session].ends();
                fleet.connect_at(&self.place, number, first_user + session as u64)?;
            }
            if back.start.elapsed() > PATIENCE {
                back.measured.faults.missing += (count - back.resumes.len() as usize) as u64;
                break;
            }
        }
        let (mut measured, resumes) = (back.measured, back.resumes);
        self.streams.iter().for_each(|stream| stream.end(&self.heads, &mut measured.faults));
        measured.last_ms = resumes.max();
        measured.resumes_ms = Recorded::of(&resumes);
        Ok(measured)
    }
}

fn stream(rooms_of: &[usize], rooms: &[RoomId]) -> Stream {
    let mut stream = Stream::default();
    rooms_of.iter().for_each(|&room| stream.expect(rooms[room], 1));
    stream
}

/// Everyone on their way back.
struct Back<'a> {
    rooms: &'a [RoomId],
    rooms_of: &'a [Vec<usize>],
    streams: &'a mut [Stream],
    /// Rooms in which each has not caught up yet.
    left: Vec<usize>,
    resumes: Histogram<u64>,
    start: Instant,
    welcome: usize,
    measured: Measured,
}

impl Back<'_> {
    fn heard(&mut self, number: usize, link: &mut Link, frame: Frame<'_>) {
        let faults = &mut self.measured.faults;
        match frame {
            Frame::Welcome { .. } => {
                self.welcome += 1;
                self.measured.welcome_ms = self.start.elapsed().as_millis() as u64;
                for &room in &self.rooms_of[number] {
                    sync(link, self.rooms[room], &mut self.streams[number]);
                }
            }
            Frame::Events { room, head_seq, events, .. } => {
                self.measured.events += events.len() as u64;
                let stream = &mut self.streams[number];
                match stream.fetched(room, events.iter().map(|event| event.seq), head_seq, faults) {
                    true => sync(link, room, stream),
                    false => self.caught_up(number),
                }
            }
            Frame::Event(event) => self.streams[number].event(event.room, event.seq, faults),
            Frame::Error { .. } | Frame::Snapshot { .. } | Frame::Lagged { .. } => faults.refused += 1,
            _ => {}
        }
    }

    fn caught_up(&mut self, number: usize) {
        self.left[number] -= 1;
        if self.left[number] == 0 {
            self.resumes.saturating_record(self.start.elapsed().as_millis() as u64);
        }
    }
}

fn sync(link: &mut Link, room: RoomId, stream: &mut Stream) {
    link.say(&Frame::Sync { request: 1, room, after_seq: stream.asks(room), limit: 0 });
}
