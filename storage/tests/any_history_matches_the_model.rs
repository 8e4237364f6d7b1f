//! Whatever is written in whatever order, with crashes between: a store shows what a plain reading of the
//! history gives, a crash leaves a history that ends between what was persisted and what was applied, and
//! writing any suffix of the history again changes nothing; to some stores neither does any part of it, in any order.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::collections::{BTreeMap, BTreeSet};

use carillon_protocol::frame::Role;
use carillon_protocol::{ClientId, RoomId, UserId};
use carillon_storage::{Change, MemberRow, Partition, RoomRow, SentRow, Store, StoredEvent};
use harness::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseResult};

const ROOMS: [u8; 2] = [1, 2];
const USERS: [u64; 2] = [1, 2];
const CLIENTS: [u8; 2] = [1, 2];
const PARTITIONS: Partition = 2;

proptest! {
    #![proptest_config(Config { cases: 200, failure_persistence: None, ..Config::default() })]
    #[test]
    fn in_memory(steps in vec(step(), 1..40), from in any::<prop::sample::Index>()) {
        run::<Memory>(&steps, from)?;
    }
}

proptest! {
    #![proptest_config(Config { cases: 20, failure_persistence: None, ..Config::default() })]
    #[test]
    fn embedded(steps in vec(step(), 1..40), from in any::<prop::sample::Index>()) {
        run::<Embedded>(&steps, from)?;
    }
}

/// Few, for each makes its tables anew.
#[test]
fn cql() {
    let config = Config { cases: 6, failure_persistence: None, max_shrink_iters: 20, ..Config::default() };
    let histories = (vec(step(), 10..60), any::<prop::sample::Index>());
    let run = |(steps, from): (Vec<Step>, _)| run::<Cql>(&steps, from);
    proptest::test_runner::TestRunner::new(config).run(&histories, run).unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    Apply(Vec<Change>, Vec<(Partition, u64)>),
    Expire(u64),
    Persist,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let archived = vec((0..PARTITIONS, 1..50_u64), 0..3);
    prop_oneof![
        12 => (vec(change(), 0..8), archived).prop_map(|(changes, archived)| Step::Apply(changes, archived)),
        1 => (0..30_u64).prop_map(Step::Expire),
        3 => Just(Step::Persist),
        1 => Just(Step::Crash),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let room = || prop::sample::select(&ROOMS[..]).prop_map(room);
    let user = || prop::sample::select(&USERS[..]).prop_map(user);
    let role = prop::sample::select(&[Role::Member, Role::Owner][..]);
    let client = prop::sample::select(&CLIENTS[..]);
    let seq = || 0..30_u64;
    prop_oneof![
        (room(), "[a-z]{0,3}").prop_map(|(room, name)| Change::Room { room, name, seq: 0 }),
        (room(), seq(), 0..3_u64).prop_map(|(room, seq, member_count)| Change::Head {
            room,
            seq,
            ordinal: seq / 2,
            active_ms: seq,
            member_count
        }),
        (room(), user(), "[a-z]{0,3}").prop_map(|(room, sender, text)| Change::Preview {
            room,
            sender,
            text,
            seq: 0
        }),
        (room(), seq(), vec(any::<u8>(), 0..4)).prop_map(|(room, seq, bytes)| Change::Event {
            room,
            seq,
            bytes,
            changed_seq: 0
        }),
        (room(), user(), role, seq()).prop_map(|(room, user, role, seq)| Change::MemberJoined {
            room,
            user,
            role,
            seq,
            ordinal: seq / 2
        }),
        (room(), user()).prop_map(|(room, user)| gone(room, user, 0)),
        (room(), user(), seq()).prop_map(|(room, user, seq)| Change::ReadMarker {
            room,
            user,
            seq,
            ordinal: seq / 2,
            at_ms: 100 + seq
        }),
        (room(), user(), seq()).prop_map(|(room, user, ordinal)| own_send(room, user, ordinal)),
        (room(), user(), client, seq())
            .prop_map(|(room, user, client, at_ms)| sent(room, user, client, at_ms)),
    ]
}

/// The same as a log has it: every event takes the next place in its room, a marker is set where the room stands, and what is
/// sent under an id that was used before is sent later.
fn in_order(steps: &[Step]) -> Vec<Step> {
    let mut steps = steps.to_vec();
    let mut heads: BTreeMap<RoomId, u64> = BTreeMap::new();
    let mut sent_ms: BTreeMap<(RoomId, UserId, ClientId), u64> = BTreeMap::new();
    let changes = steps.iter_mut().filter_map(|step| match step {
        Step::Apply(changes, _) => Some(changes),
        _ => None,
    });
    for change in changes.flatten() {
        let mut next = |room: &RoomId| {
            let head = heads.entry(*room).or_default();
            *head += 1;
            *head
        };
        match change {
            Change::Room { room, seq, .. }
            | Change::Preview { room, seq, .. }
            | Change::MemberGone { room, seq, .. } => *seq = next(room),
            Change::Event { room, changed_seq, .. } => *changed_seq = next(room),
            Change::Head { room, seq, ordinal, active_ms, .. } => {
                *seq = next(room);
                (*ordinal, *active_ms) = (*seq / 2, *seq);
            }
            Change::MemberJoined { room, seq, ordinal, .. } | Change::OwnSend { room, seq, ordinal, .. } => {
                *seq = next(room);
                *ordinal = *seq / 2;
            }
            Change::ReadMarker { room, seq, ordinal, at_ms, .. } => {
                *seq = next(room);
                (*ordinal, *at_ms) = (*seq / 2, 100 + *seq);
            }
            Change::Sent { room, sender, client_id, row } => {
                let before = sent_ms.entry((*room, *sender, *client_id)).or_default();
                *before = row.at_ms.max(*before);
                *row = sent_row(*before);
            }
        }
    }
    steps
}

fn run<H: Harness>(steps: &[Step], from: prop::sample::Index) -> TestCaseResult {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(run_steps(H::open(), &in_order(steps), from))
}

/// A history that the store may have, by all that was seen of it, and how many of its steps were persisted.
///
/// After a crash there can be several: what was applied last may show only later, such as the marker of somebody who is
/// no member yet.
#[derive(Clone)]
struct Possible {
    written: Vec<Step>,
    persisted: usize,
}

impl Possible {
    /// What a crash may have left of it.
    fn after_a_crash(&self) -> impl Iterator<Item = Possible> {
        let kept = self.persisted..=self.written.len();
        kept.map(|kept| Possible { written: self.written[..kept].to_vec(), persisted: self.persisted })
    }
}

async fn run_steps<H: Harness>(mut h: H, steps: &[Step], from: prop::sample::Index) -> TestCaseResult {
    let mut possible = vec![Possible { written: Vec::new(), persisted: 0 }];
    for step in steps {
        match step {
            Step::Apply(..) | Step::Expire(_) => {
                write(h.store(), step).await;
                possible.iter_mut().for_each(|history| history.written.push(step.clone()));
            }
            Step::Persist => {
                h.store().persist().await.unwrap();
                possible.iter_mut().for_each(|history| history.persisted = history.written.len());
            }
            Step::Crash => {
                h = h.crash_and_reopen();
                possible = possible.iter().flat_map(Possible::after_a_crash).collect();
            }
        }
        let found = look(h.store()).await;
        let nearest = expect(&possible[possible.len() - 1].written);
        possible.retain(|history| expect(&history.written) == found);
        prop_assert!(
            !possible.is_empty(),
            "after {step:?}\nfound {found:#?}\nnot, for instance, {nearest:#?}"
        );
    }
    let [Possible { written, .. }] = &possible[..] else { return Ok(()) };
    let before = look(h.store()).await;
    let from = if written.is_empty() { 0 } else { from.index(written.len()) };
    for step in &written[from..] {
        write(h.store(), step).await;
    }
    prop_assert_eq!(&look(h.store()).await, &before, "after writing again from {} on", from);
    if H::ANY_ORDER {
        for step in written.iter().rev() {
            write(h.store(), step).await;
            prop_assert_eq!(&look(h.store()).await, &before, "after writing {:?} again", step);
        }
    }
    Ok(())
}

async fn write(store: &impl Store, step: &Step) {
    match step {
        Step::Apply(changes, archived) => store.apply(changes.clone(), archived.clone()).await.unwrap(),
        Step::Expire(before_ms) => store.expire_sent(*before_ms).await.unwrap(),
        Step::Persist | Step::Crash => unreachable!("not a write"),
    }
}

/// All that can be seen of a store.
#[derive(PartialEq, Debug, Default)]
struct Seen {
    archived: Vec<u64>,
    rooms: Vec<Option<RoomRow>>,
    members: Vec<Vec<MemberRow>>,
    events: Vec<Vec<StoredEvent>>,
    user_rooms: Vec<Vec<u8>>,
    heads: Vec<Vec<Option<(RoomRow, MemberRow)>>>,
    sent: Vec<Option<SentRow>>,
}

async fn look(store: &impl Store) -> Seen {
    let mut seen = Seen { archived: store.archived(PARTITIONS).await.unwrap(), ..Seen::default() };
    for number in ROOMS {
        seen.rooms.push(store.room(room(number)).await.unwrap());
        seen.members.push(store.members(room(number), 0, 100).await.unwrap());
        seen.events.push(store.events(room(number), 0, 100, 10_000).await.unwrap());
    }
    for id in USERS {
        let rooms = store.user_rooms(user(id), None, 100).await.unwrap();
        seen.user_rooms.push(rooms.iter().map(|room| room.as_bytes()[0]).collect());
        seen.heads.push(store.room_heads(user(id), ROOMS.map(room).to_vec()).await.unwrap());
    }
    seen.sent =
        store.sent(sent_keys().map(|(r, u, c)| (room(r), user(u), client_id(c))).collect()).await.unwrap();
    seen
}

fn sent_keys() -> impl Iterator<Item = (u8, u64, u8)> {
    ROOMS.into_iter().flat_map(|r| USERS.into_iter().flat_map(move |u| CLIENTS.map(|c| (r, u, c))))
}

/// The same, by reading the history from its start for every question.
fn expect(written: &[Step]) -> Seen {
    let history = History::of(written);
    let rooms: Vec<_> = ROOMS.iter().map(|&number| history.room(number)).collect();
    let member = |number: u8, id: u64| history.member(number, id);
    let members = |number: u8| USERS.iter().filter_map(|&id| member(number, id)).collect();
    let head = |id: u64, at: usize| Some((rooms[at].clone()?, member(ROOMS[at], id)?));
    Seen {
        archived: (0..PARTITIONS).map(|partition| history.archived(partition)).collect(),
        members: ROOMS.iter().map(|&number| members(number)).collect(),
        events: ROOMS.iter().map(|&number| history.events(number)).collect(),
        user_rooms: USERS
            .iter()
            .map(|&id| ROOMS.into_iter().filter(|&number| member(number, id).is_some()).collect())
            .collect(),
        heads: USERS.iter().map(|&id| (0..ROOMS.len()).map(|at| head(id, at)).collect()).collect(),
        sent: sent_keys().map(|key| history.sent(key)).collect(),
        rooms,
    }
}

struct History {
    changes: Vec<Change>,
    positions: Vec<(Partition, u64)>,
    sent_from_ms: u64,
}

impl History {
    fn of(written: &[Step]) -> Self {
        let mut history = Self { changes: vec![], positions: vec![], sent_from_ms: 0 };
        for step in written {
            match step {
                Step::Apply(changes, positions) => {
                    history.changes.extend(changes.iter().cloned());
                    history.positions.extend(positions);
                }
                Step::Expire(before_ms) => history.sent_from_ms = history.sent_from_ms.max(*before_ms),
                Step::Persist | Step::Crash => {}
            }
        }
        history
    }

    fn archived(&self, partition: Partition) -> u64 {
        self.positions.iter().filter(|(of, _)| *of == partition).map(|(_, at)| *at).max().unwrap_or(0)
    }

    fn room(&self, number: u8) -> Option<RoomRow> {
        let mut row = None;
        let last =
            |row: &mut Option<RoomRow>, change: &dyn Fn(&mut RoomRow)| change(row.get_or_insert_default());
        for change in &self.changes {
            match change {
                Change::Room { room: of, name, .. } if *of == room(number) => {
                    last(&mut row, &|row| row.name.clone_from(name));
                }
                Change::Preview { room: of, sender, text, .. } if *of == room(number) => {
                    last(&mut row, &|row| (row.preview_sender, row.preview) = (Some(*sender), text.clone()));
                }
                _ => {}
            }
        }
        let heads = self.changes.iter().filter_map(|change| match change {
            Change::Head { room: of, seq, ordinal, active_ms, member_count } if *of == room(number) => {
                Some((*seq, *ordinal, *active_ms, *member_count))
            }
            _ => None,
        });
        if let Some((seq, ordinal, active_ms, members)) = heads.max_by_key(|head| head.0) {
            let row = row.get_or_insert_default();
            (row.head_seq, row.head_ordinal, row.active_ms, row.member_count) =
                (seq, ordinal, active_ms, members);
        }
        row
    }

    /// What happened to somebody in a room since they last left it.
    fn member(&self, number: u8, id: u64) -> Option<MemberRow> {
        let is_gone = |change: &Change| matches!(change, Change::MemberGone { room: of, user: who, .. } if (*of, *who) == (room(number), user(id)));
        let last_gone = self.changes.iter().rposition(is_gone);
        let since = &self.changes[last_gone.map_or(0, |at| at + 1)..];
        let (mut joins, mut reads, mut read_ms, mut own_ordinal) = (Vec::new(), BTreeSet::from([0]), 0, 0);
        for change in since {
            match *change {
                Change::MemberJoined { room: of, user: who, role, seq, .. }
                    if (of, who) == (room(number), user(id)) =>
                {
                    joins.push((seq, role));
                    reads.insert(seq);
                }
                Change::ReadMarker { room: of, user: who, seq, at_ms, .. }
                    if (of, who) == (room(number), user(id)) =>
                {
                    reads.insert(seq);
                    read_ms = read_ms.max(at_ms);
                }
                Change::OwnSend { room: of, user: who, ordinal, .. }
                    if (of, who) == (room(number), user(id)) =>
                {
                    own_ordinal = own_ordinal.max(ordinal);
                }
                _ => {}
            }
        }
        let (joined_seq, role) = joins.into_iter().max_by_key(|join| join.0)?;
        let read_seq = reads.last().copied()?;
        let (joined_ordinal, read_ordinal) = (joined_seq / 2, read_seq / 2);
        Some(MemberRow {
            user: user(id),
            role,
            joined_seq,
            joined_ordinal,
            read_seq,
            read_ordinal,
            read_ms,
            own_ordinal,
        })
    }

    fn events(&self, number: u8) -> Vec<StoredEvent> {
        let bytes_of = |wanted: u64| {
            self.changes.iter().rev().find_map(|change| match change {
                Change::Event { room: of, seq, bytes, .. } if *of == room(number) && *seq == wanted => {
                    Some(StoredEvent { seq: wanted, bytes: bytes.clone() })
                }
                _ => None,
            })
        };
        (0..30).filter_map(bytes_of).collect()
    }

    fn sent(&self, (number, id, client): (u8, u64, u8)) -> Option<SentRow> {
        let row = self.changes.iter().rev().find_map(|change| match change {
            Change::Sent { room: of, sender, client_id: as_id, row }
                if (*of, *sender, *as_id) == (room(number), user(id), client_id(client)) =>
            {
                Some(*row)
            }
            _ => None,
        });
        row.filter(|row| row.at_ms >= self.sent_from_ms)
    }
}
