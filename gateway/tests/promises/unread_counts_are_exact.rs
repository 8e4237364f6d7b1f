//! P6: after any sequence of sends, reads, joins, leaves and restarts, every device of every user sees what a plain model of the
//! room says.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use carillon_gateway::config::Config;
use carillon_protocol::{EventBody, Frame, RoomId};
use proptest::prelude::*;

use crate::harness::{Client, Node, forgets_soon, user};

const USERS: u64 = 4;
const ROOMS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Send {
        user: u64,
        room: usize,
    },
    /// Up to a seq that may be old, or not there yet.
    Read {
        user: u64,
        room: usize,
        seq: u64,
    },
    Add {
        user: u64,
        room: usize,
    },
    Leave {
        user: u64,
        room: usize,
    },
    Restart,
    /// Time for rooms to leave memory.
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let user = || 1..=USERS;
    let room = || 0..ROOMS;
    prop_oneof![
        8 => (user(), room()).prop_map(|(user, room)| Step::Send { user, room }),
        6 => (user(), room(), 0..40_u64).prop_map(|(user, room, seq)| Step::Read { user, room, seq }),
        2 => (user(), room()).prop_map(|(user, room)| Step::Add { user, room }),
        1 => (2..=USERS, room()).prop_map(|(user, room)| Step::Leave { user, room }),
        1 => Just(Step::Restart),
        1 => Just(Step::Forget),
    ]
}

/// A room as plainly as can be: who caused each event, and how far each member has read.
#[derive(Default)]
struct Model {
    /// The sender of each event that is a message; nothing for other events.
    events: Vec<Option<u64>>,
    read: BTreeMap<u64, usize>,
}

impl Model {
    fn happens(&mut self, message_of: Option<u64>) {
        self.events.push(message_of);
    }

    fn joins(&mut self, user: u64) {
        self.read.insert(user, self.events.len());
    }

    /// Messages after what they have read, and after their own last one since they joined.
    fn unread(&self, user: u64, joined: usize) -> u64 {
        let own = self.events.iter().rposition(|sender| *sender == Some(user)).map_or(0, |place| place + 1);
        let from = self.read[&user].max(if own > joined { own } else { 0 });
        self.events[from..].iter().flatten().count() as u64
    }
}

fn config(config: &mut Config) {
    config.room_events_kept = 2;
    forgets_soon(config);
    config.inbox_limit = 2;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 30, ..ProptestConfig::default() })]

    #[test]
    fn on_every_device_whatever_happens(steps in prop::collection::vec(step(), 1..60)) {
        let mut node = Node::start_with(config);
        let mut clients: Vec<Client> = (1..=USERS).map(|number| node.client(number)).collect();
        let mut models: Vec<(RoomId, Model, BTreeMap<u64, usize>)> = (0..ROOMS)
            .map(|_| {
                let room = clients[0].create_room(&[2]);
                let mut model = Model::default();
                model.happens(None);
                [1, 2].into_iter().for_each(|number| model.joins(number));
                (room, model, BTreeMap::from([(1, 1), (2, 1)]))
            })
            .collect();
        for step in steps {
            match step {
                Step::Send { user, room } => {
                    let (room, model, joined) = &mut models[room];
                    let client = &mut clients[user as usize - 1];
                    if joined.contains_key(&user) {
                        model.happens(Some(user));
                        prop_assert_eq!(client.send(*room, "hello"), model.events.len() as u64);
                    }
                }
                Step::Read { user: number, room, seq } => {
                    let (room, model, joined) = &mut models[room];
                    if joined.contains_key(&number) {
                        let marker = model.read.get_mut(&number).unwrap();
                        let moves = (seq as usize).min(model.events.len()) > *marker;
                        *marker = (*marker).max((seq as usize).min(model.events.len()));
                        let marker = *marker as u64;
                        let mut device = node.client(number);
                        prop_assert_eq!(clients[number as usize - 1].mark_read(*room, seq), marker);
                        if moves {
                            let unread = Some(model.unread(number, joined[&number]));
                            let told = std::iter::repeat_with(|| device.hear()).find(|frame| {
                                matches!(frame, Frame::Read { user: reader, .. } if *reader == user(number))
                            });
                            prop_assert_eq!(told, Some(Frame::Read { room: *room, user: user(number), seq: marker, unread }));
                        }
                    }
                }
                Step::Add { user, room } => {
                    let (room, model, joined) = &mut models[room];
                    if let Entry::Vacant(entry) = joined.entry(user) {
                        model.happens(None);
                        model.joins(user);
                        entry.insert(model.events.len());
                        prop_assert_eq!(clients[0].add(*room, user), model.events.len() as u64);
                    }
                }
                Step::Leave { user, room } => {
                    let (room, model, joined) = &mut models[room];
                    if joined.remove(&user).is_some() {
                        model.happens(None);
                        prop_assert_eq!(clients[user as usize - 1].leave(*room), model.events.len() as u64);
                    }
                }
                Step::Restart => {
                    node.restart();
                    clients = (1..=USERS).map(|number| node.client(number)).collect();
                }
                Step::Forget => node.forget_rooms(),
            }
        }
        for number in 1..=USERS {
            let expected: BTreeMap<RoomId, (u64, u64, u64)> = models
                .iter()
                .filter_map(|(room, model, joined)| {
                    let unread = model.unread(number, *joined.get(&number)?);
                    Some((*room, (model.events.len() as u64, model.read[&number] as u64, unread)))
                })
                .collect();
            let mut device = node.client(number);
            for client in [&mut clients[number as usize - 1], &mut device] {
                let seen: BTreeMap<RoomId, _> = client
                    .rooms()
                    .into_iter()
                    .map(|entry| (entry.room, (entry.head_seq, entry.read_seq, entry.unread)))
                    .collect();
                prop_assert_eq!(&seen, &expected, "user {}", number);
            }
        }
        // The history is the model's.
        for (room, model, _) in &models {
            let messages = clients[0].history(*room, 0).into_iter().map(|event| match event.body {
                EventBody::Message { .. } => Some(event.sender.get()),
                _ => None,
            });
            prop_assert_eq!(messages.collect::<Vec<_>>(), model.events.clone());
        }
    }
}

#[test]
fn markers_that_move_at_the_same_moment_end_at_the_further_one() {
    let mut node = Node::start();
    let mut client = node.client(1);
    let room = client.create_room(&[2]);
    let mut sender = node.client(2);
    for _ in 0..20 {
        sender.send(room, "hello");
    }
    let asked = [15, 9, 12, 4].map(|seq| client.start(|request| Frame::MarkRead { request, room, seq }));
    for request in asked {
        assert!(matches!(client.answer(request), Frame::Ack { .. }));
    }
    for _ in 0..2 {
        let entry = node.client(1).entry(room).unwrap();
        assert_eq!((entry.read_seq, entry.unread), (15, 6));
        node.restart();
    }
}
