//! What clients were acknowledged and heard, against what every gateway has.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use carillon_protocol::frame::RoomEntry;
use carillon_protocol::{ClientId, Event, EventBody, RoomId};

use super::crowd::{Told, digest, text_of};
use super::plan::{Kind, Round};
use super::{Place, Shared, user_of};
use crate::session::Session;

/// How long a gateway may take until it gives all it has, once nothing is done to it any more.
const PATIENCE: Duration = Duration::from_secs(120);

/// A promise that can be broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Broken {
    Lost,
    Duplicate,
    Order,
    Unread,
    Unheard,
    Unanswered,
    Refused,
    Panic,
}

impl Broken {
    pub(super) const ALL: [Self; 8] = [
        Self::Lost,
        Self::Duplicate,
        Self::Order,
        Self::Unread,
        Self::Unheard,
        Self::Unanswered,
        Self::Refused,
        Self::Panic,
    ];

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Lost => "acknowledged sends lost",
            Self::Duplicate => "duplicates",
            Self::Order => "order faults",
            Self::Unread => "unread counts wrong",
            Self::Unheard => "last events that never reached a client",
            Self::Unanswered => "sends never acknowledged",
            Self::Refused => "requests refused for good",
            Self::Panic => "gateways that panicked",
        }
    }
}

/// How often each promise was broken, and how the first time.
#[derive(Clone, Default, Debug)]
pub(super) struct Faults {
    counts: [u64; Broken::ALL.len()],
    /// The first, with all that is known of it.
    pub(super) first: Option<String>,
    /// Events in all rooms.
    pub(super) events: u64,
}

impl Faults {
    pub(super) fn add(&mut self, broken: Broken, what: String) {
        self.counts[broken as usize] += 1;
        if self.counts[broken as usize] <= 3 {
            eprintln!("{}: {what}", broken.words());
        }
        self.first.get_or_insert_with(|| format!("{}: {what}", broken.words()));
    }

    pub(super) fn count(&self, broken: Broken) -> u64 {
        self.counts[broken as usize]
    }
}

/// An event of a history, as far as it is compared.
struct Entry {
    digest: u64,
    sender: u64,
    /// Of a message.
    client_id: Option<ClientId>,
}

/// Reads everything from every gateway, and compares.
pub(super) fn judge(shared: &Shared, told: &Told) -> anyhow::Result<Faults> {
    let mut faults = told.faults.clone();
    let read: Vec<_> = thread::scope(|scope| {
        let readers: Vec<_> = shared
            .gateways
            .iter()
            .map(|&gateway| scope.spawn(move || read_everything(shared, gateway)))
            .collect();
        readers.into_iter().map(|reader| reader.join()).collect()
    });
    let mut gateways = Vec::new();
    for (number, read) in read.into_iter().enumerate() {
        let (everything, wrong) = read
            .map_err(|_| anyhow::anyhow!("a reader panicked"))?
            .with_context(|| format!("gateway {} does not give what it has", number + 1))?;
        wrong
            .into_iter()
            .for_each(|what| faults.add(Broken::Order, format!("gateway {}: {what}", number + 1)));
        gateways.push(everything);
    }
    let mut acknowledged: Vec<Vec<(ClientId, u64)>> = shared.rooms.iter().map(|_| Vec::new()).collect();
    for (&id, &(room, seq)) in &told.acknowledged {
        acknowledged[room].push((id, seq));
    }
    for (room, place) in shared.rooms.iter().enumerate() {
        let first = &gateways[0].histories[room];
        faults.events += first.len() as u64;
        for (number, other) in gateways.iter().enumerate().skip(1) {
            same_everywhere(place, first, number, &other.histories[room], &mut faults);
        }
        as_heard(place, first, &told.heard[room], &mut faults);
        as_acknowledged(place, first, &acknowledged[room], &mut faults);
    }
    for (number, gateway) in gateways.iter().enumerate() {
        for (client, entries) in gateway.lists.iter().enumerate() {
            for (room, place) in shared.rooms.iter().enumerate() {
                if place.members.contains(&client) {
                    let history = &gateways[0].histories[room];
                    let mark = told.marks[client].get(&room).copied().unwrap_or(0);
                    if let Err(what) = is_unread_exact(client, place, entries, history, mark) {
                        faults.add(Broken::Unread, format!("gateway {}: {what}", number + 1));
                    }
                }
            }
        }
    }
    Ok(faults)
}

/// What one gateway has.
struct Everything {
    histories: Vec<Vec<Entry>>,
    /// Each client's list of rooms.
    lists: Vec<HashMap<RoomId, RoomEntry<'static>>>,
}

/// Also what is wrong with it by itself.
fn read_everything(shared: &Shared, gateway: SocketAddr) -> anyhow::Result<(Everything, Vec<String>)> {
    let (mut histories, mut wrong) = (Vec::new(), Vec::new());
    let deadline = Instant::now() + PATIENCE;
    for place in &shared.rooms {
        let owner = user_of(place.members[0]);
        let history = patiently(shared, gateway, owner, deadline, |session| session.history(place.id));
        let history = history.unwrap_or_else(|error| {
            wrong.push(format!("room {} cannot be read: {error}", place.id));
            Vec::new()
        });
        wrong.extend(is_dense(place.id, &history).err());
        histories.push(history.iter().map(entry).collect());
    }
    let mut lists = Vec::new();
    for client in 0..shared.clients {
        let rooms = patiently(shared, gateway, user_of(client), deadline, Session::rooms)?;
        lists.push(rooms.into_iter().map(|entry| (entry.room, entry)).collect());
    }
    Ok((Everything { histories, lists }, wrong))
}

fn patiently<T>(
    shared: &Shared,
    gateway: SocketAddr,
    user: u64,
    deadline: Instant,
    mut read: impl FnMut(&mut Session) -> io::Result<T>,
) -> anyhow::Result<T> {
    loop {
        let got = Session::open(gateway, &shared.signer, user, "reader").and_then(|mut it| read(&mut it));
        match got {
            Ok(got) => return Ok(got),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn entry(event: &Event<'_>) -> Entry {
    let client_id = match &event.body {
        EventBody::Message { client_id, .. } => Some(*client_id),
        _ => None,
    };
    Entry { digest: digest(event), sender: event.sender.get(), client_id }
}

fn is_dense(room: RoomId, history: &[Event<'_>]) -> Result<(), String> {
    let mut ordinal = 0;
    for (index, event) in history.iter().enumerate() {
        ordinal += u64::from(event.is_message());
        if event.seq != index as u64 + 1 || event.ordinal != ordinal || event.room != room {
            return Err(format!(
                "seq {} (ordinal {}) of room {room} is at place {} (ordinal {ordinal})",
                event.seq,
                event.ordinal,
                index + 1
            ));
        }
        if let EventBody::Message { client_id, text } = &event.body
            && *text != text_of(*client_id)
        {
            return Err(format!("seq {} of room {room} has another's text", event.seq));
        }
    }
    Ok(())
}

fn same_everywhere(place: &Place, first: &[Entry], number: usize, other: &[Entry], faults: &mut Faults) {
    if first.len() != other.len() {
        let (one, other) = (first.len(), other.len());
        let room = place.id;
        let what = format!("room {room} has {one} events on gateway 1 and {other} on gateway {}", number + 1);
        faults.add(Broken::Order, what);
    }
    let differs = |(one, other): (&Entry, &Entry)| one.digest != other.digest;
    for index in
        first.iter().zip(other).enumerate().filter(|(_, both)| differs(*both)).map(|(index, _)| index)
    {
        let what = format!(
            "seq {} of room {} is {:?} of user {} on gateway 1 and {:?} of user {} on gateway {}",
            index + 1,
            place.id,
            first[index].client_id,
            first[index].sender,
            other[index].client_id,
            other[index].sender,
            number + 1
        );
        faults.add(Broken::Order, what);
    }
}

/// Nothing may have been heard that is not in the history.
fn as_heard(place: &Place, history: &[Entry], heard: &[u64], faults: &mut Faults) {
    for (index, &digest) in heard.iter().enumerate().filter(|(_, digest)| **digest != 0) {
        let entry = history.get(index);
        if entry.is_none_or(|entry| entry.digest != digest) {
            let what = format!(
                "seq {} of room {} was heard as something else than what the history has there ({:?})",
                index + 1,
                place.id,
                entry.map(|entry| entry.client_id)
            );
            faults.add(Broken::Order, what);
        }
    }
}

fn as_acknowledged(place: &Place, history: &[Entry], acknowledged: &[(ClientId, u64)], faults: &mut Faults) {
    let mut seqs = HashMap::new();
    for (seq, entry) in (1..).zip(history) {
        let Some(id) = entry.client_id else { continue };
        if let Some(before) = seqs.insert(id, seq) {
            let what = format!("{id} is in room {} at seq {before} and at seq {seq}", place.id);
            faults.add(Broken::Duplicate, what);
        }
    }
    for (id, seq) in acknowledged {
        match seqs.get(id) {
            Some(found) if found == seq => {}
            Some(found) => {
                let room = place.id;
                let what =
                    format!("{id} was acknowledged with seq {seq} of room {room}, and is at seq {found}");
                faults.add(Broken::Order, what);
            }
            None => {
                let there = history.get(*seq as usize - 1).map(|entry| entry.client_id);
                let what = format!(
                    "{id} was acknowledged with seq {seq} of room {}, and is not in its {} events; there is {there:?}",
                    place.id,
                    history.len()
                );
                faults.add(Broken::Lost, what);
            }
        }
    }
}

/// The list's count against one by hand: messages after the marker, the client's own last, and its beginning.
fn is_unread_exact(
    client: usize,
    place: &Place,
    entries: &HashMap<RoomId, RoomEntry<'static>>,
    history: &[Entry],
    mark: u64,
) -> Result<(), String> {
    let (user, room) = (user_of(client), place.id);
    let entry = entries.get(&room).ok_or_else(|| format!("room {room} is not in the list of user {user}"))?;
    if entry.read_seq < mark {
        return Err(format!(
            "user {user} was acknowledged a marker at seq {mark} of room {room}, and it is at {}",
            entry.read_seq
        ));
    }
    let messages = || (1..).zip(history).filter(|(_, entry)| entry.client_id.is_some());
    let own = messages().filter(|(_, entry)| entry.sender == user).map(|(seq, _)| seq).last();
    let read = own.unwrap_or(0).max(entry.read_seq).max(1);
    let unread = messages().filter(|(seq, _)| *seq > read).count() as u64;
    if entry.unread != unread || entry.head_seq != history.len() as u64 {
        return Err(format!(
            "user {user} has {} unread up to seq {} in room {room}, and should have {unread} up to seq {}",
            entry.unread,
            entry.head_seq,
            history.len()
        ));
    }
    Ok(())
}

/// For how long clients had to wait.
pub(super) struct Pauses {
    pub(super) longest_s: f64,
    pub(super) median_s: f64,
    pub(super) killed_median_s: f64,
    pub(super) killed_longest_s: f64,
    /// The longest of each round.
    pub(super) by_round_s: Vec<f64>,
}

impl Pauses {
    /// A round's pause is the longest that a send waited in it, from when the first fault began or, later, from when it was due.
    pub(super) fn of(rounds: &[Round], told: &Told) -> Self {
        let (mut by_client, mut killed, mut by_round_s) = (Vec::new(), Vec::new(), Vec::new());
        for (number, round) in rounds.iter().enumerate() {
            let next = rounds.get(number + 1).map(|next| next.began);
            let mut longest: HashMap<usize, f64> = HashMap::new();
            for wait in &told.waits {
                let began = wait.began.max(round.began);
                if wait.ended > began && next.is_none_or(|next| began < next) {
                    let waited = wait.ended.duration_since(began).as_secs_f64();
                    let before = longest.entry(wait.client).or_default();
                    *before = before.max(waited);
                }
            }
            by_round_s.push(longest.values().copied().fold(0.0, f64::max));
            if round.kinds == [Kind::GatewayKilled] {
                killed.extend(by_round_s.last().copied());
            }
            by_client.extend(longest.into_values());
        }
        let median = |values: &mut Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(0.0)
        };
        Self {
            longest_s: by_client.iter().copied().fold(0.0, f64::max),
            median_s: median(&mut by_client),
            killed_longest_s: killed.iter().copied().fold(0.0, f64::max),
            killed_median_s: median(&mut killed),
            by_round_s,
        }
    }
}
