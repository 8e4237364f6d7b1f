//! Whatever shards say to each other is on the other node what it was on the first; what is unknown there is passed over, and
//! wrong bytes are errors.

use carillon_gateway::cluster::Target;
use carillon_gateway::cluster::view::NodeId;
use carillon_gateway::cluster::wire::{Malformed, append, messages};
use carillon_gateway::connections::Key;
use carillon_gateway::delivery::{Audience, Delivery};
use carillon_gateway::directory::ShardSet;
use carillon_gateway::encoded::{Class, Encoded};
use carillon_gateway::home::Standing;
use carillon_gateway::route::Place;
use carillon_gateway::shard::message::{
    Answer, Membership, Message, Origin, Question, Reply, Request, RollCall,
};
use carillon_protocol::UserId;
use carillon_protocol::frame::{Head, RoomEntry};
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use crate::common::{encoded, events, frames, ints, rooms, texts, users};

fn nodes() -> impl Strategy<Value = NodeId> {
    (1..u64::MAX).prop_map(|id| NodeId::new(id).unwrap())
}

fn places() -> impl Strategy<Value = Place> {
    (nodes(), any::<u16>()).prop_map(|(node, shard)| Place { node, shard })
}

fn targets() -> impl Strategy<Value = Target> {
    prop_oneof![
        Just(Target::Users),
        (0..u16::MAX - 2).prop_map(Target::Shard),
        any::<u128>().prop_map(|bits| Target::Shards(ShardSet::from_bits(bits))),
    ]
}

fn origins() -> impl Strategy<Value = Origin> {
    (places(), ints(), any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
        |(place, ticket, index, generation, owed_bytes)| Origin {
            place,
            ticket,
            connection: Key { index, generation },
            owed_bytes,
        },
    )
}

fn deliveries() -> impl Strategy<Value = Delivery> {
    let audience = of(vec(users(), 0..70)).prop_map(|users| match users {
        Some(users) => Audience::Users(users.into()),
        None => Audience::Subscribers,
    });
    let class = of(1..1_000_000_u64).prop_map(|seq| match seq {
        Some(seq) => Class::Events { seq },
        None => Class::Ephemeral,
    });
    let frames = vec(frames(), 0..3).prop_map(|frames| frames.iter().flat_map(encoded).collect::<Vec<u8>>());
    (rooms(), class, frames, audience).prop_map(|(room, class, frames, audience)| Delivery {
        room,
        class,
        encoded: Encoded::new(&frames),
        audience,
    })
}

fn memberships() -> impl Strategy<Value = Membership> {
    (users(), rooms(), any::<bool>(), of(ints()), any::<u16>(), ints()).prop_map(
        |(user, room, joined, large_seq, partition, position)| Membership {
            user,
            room,
            joined,
            large_seq,
            partition,
            position,
        },
    )
}

fn heads() -> impl Strategy<Value = Head> {
    (rooms(), ints()).prop_map(|(room, seq)| Head { room, seq })
}

fn standings() -> impl Strategy<Value = Standing> {
    (rooms(), texts(), ints(), ints(), of(users()), ints()).prop_map(
        |(room, text, one, other, preview_sender, changed_ms)| Standing {
            entry: RoomEntry {
                room,
                name: text.clone(),
                active_ms: one,
                head_seq: other,
                head_ordinal: one,
                read_seq: other,
                unread: one,
                member_count: other,
                preview: text,
                preview_sender,
            },
            changed_ms,
        },
    )
}

fn questions() -> impl Strategy<Value = Question> {
    prop_oneof![
        (users(), of(rooms()), any::<u32>()).prop_map(|(user, after, limit)| Question::UserRooms {
            user,
            after,
            limit: limit as usize
        }),
        (users(), vec(rooms(), 0..5)).prop_map(|(user, rooms)| Question::Heads { user, rooms }),
        (vec(users(), 0..5), any::<u32>())
            .prop_map(|(users, max)| Question::Full { users, max: max as usize }),
        (users(), vec(rooms(), 0..5)).prop_map(|(user, rooms)| Question::Large { user, rooms }),
        users().prop_map(|user| Question::Announce { user }),
        (users(), nodes()).prop_map(|(user, node)| Question::Present { user, node }),
    ]
}

fn answers() -> impl Strategy<Value = Answer> {
    prop_oneof![
        vec(rooms(), 0..5).prop_map(Answer::Rooms),
        vec(heads(), 0..5).prop_map(Answer::Large),
        vec(of(standings()), 0..5).prop_map(Answer::Heads),
        vec(users(), 0..5).prop_map(Answer::Full),
        texts().prop_map(|why| Answer::Failed(why.into())),
        Just(Answer::Known),
        Just(Answer::Moved),
    ]
}

/// Every kind that crosses.
fn some_message() -> impl Strategy<Value = Message> {
    prop_oneof![
        (origins(), users(), frames()).prop_map(|(from, user, frame)| Message::Request(Request {
            from,
            user,
            frame
        })),
        (origins(), frames()).prop_map(|(to, frame)| Message::Reply(to, Reply::Frame(frame))),
        (origins(), vec(any::<u8>(), 0..99)).prop_map(|(to, it)| Message::Reply(to, Reply::Bytes(it))),
        deliveries().prop_map(Message::Deliver),
        memberships().prop_map(Message::Membership),
        (rooms(), vec(users(), 0..9), of(ints())).prop_map(|(room, users, head_seq)| Message::Subscribe {
            room,
            users: users.into(),
            head_seq
        }),
        (rooms(), users()).prop_map(|(room, user)| Message::Unsubscribe { room, user }),
        (rooms(), places(), any::<bool>()).prop_map(|(room, place, wanted)| Message::Interest {
            room,
            place,
            wanted
        }),
        heads().prop_map(Message::Interesting),
        (users(), texts(), ints()).prop_map(|(user, device, at_ms)| Message::Replaced {
            user,
            device: (*device).into(),
            at_ms
        }),
        (places(), ints(), questions()).prop_map(|(place, number, it)| Message::Ask(place, number, it)),
        origins().prop_map(Message::MovedAway),
        (nodes(), 0..9_u8, deliveries()).prop_map(|(from, hops, delivery)| Message::Forward {
            from,
            hops,
            message: Box::new(Message::Deliver(delivery))
        }),
        (users(), nodes(), any::<bool>()).prop_map(|(user, node, here)| Message::Presence {
            user,
            node,
            here
        }),
        (nodes(), any::<u16>(), ints())
            .prop_map(|(node, partition, number)| Message::Announced(node, partition, number)),
        (nodes(), any::<u16>(), ints(), vec(any::<u16>(), 0..9)).prop_map(
            |(home, shards, number, partitions)| {
                let partitions = partitions.into();
                Message::RollCall(RollCall { home, shards, number, partitions })
            }
        ),
        (nodes(), any::<u16>()).prop_map(|(node, partition)| Message::Released(node, partition)),
        (ints(), answers()).prop_map(|(number, answer)| Message::Tell(number, answer)),
    ]
}

fn batch(messages: &[(Target, Message)]) -> Vec<u8> {
    let mut batch = Vec::new();
    for (to, message) in messages {
        assert!(append(&mut batch, *to, message));
    }
    batch
}

fn read(batch: &[u8]) -> Vec<Result<(Target, Message), Malformed>> {
    messages(batch).collect()
}

proptest! {
    #[test]
    fn every_kind(sent in vec((targets(), some_message()), 0..6)) {
        let got: Vec<_> = read(&batch(&sent)).into_iter().map(Result::unwrap).collect();
        prop_assert_eq!(format!("{got:?}"), format!("{sent:?}"));
    }

    #[test]
    fn cut_bytes_are_an_error(message in some_message(), at: proptest::sample::Index) {
        let whole = batch(&[(Target::Shard(1), message)]);
        let len = 2 + at.index(whole.len() - 2);
        prop_assert_eq!(read(&whole[..len]).pop().map(Result::err), Some(Some(Malformed::Cut)));
    }

    #[test]
    fn changed_bytes_end(message in some_message(), at: proptest::sample::Index, to: u8) {
        let mut changed = batch(&[(Target::Users, message)]);
        let index = at.index(changed.len());
        changed[index] = to;
        read(&changed);
    }

    #[test]
    fn any_bytes_end(bytes in vec(any::<u8>(), 0..300)) {
        read(&[&[1], &bytes[..]].concat());
    }

    #[test]
    fn of_any_length(text in "[a-z]{0,3}", times in 0..20_000_usize, event in events()) {
        let sent = [
            (Target::Users, Message::Tell(1, Answer::Failed(text.repeat(times)))),
            (Target::Shard(3), Message::Reply(
                Origin { place: Place { node: NodeId::ALONE, shard: 1 }, ticket: 0, connection: Key { index: 2, generation: 3 }, owed_bytes: 4 },
                Reply::Frame(carillon_protocol::Frame::Event(event)),
            )),
        ];
        let got: Vec<_> = read(&batch(&sent)).into_iter().map(Result::unwrap).collect();
        prop_assert_eq!(format!("{got:?}"), format!("{sent:?}"));
    }
}

#[test]
fn what_is_unknown_is_passed_over_and_what_is_appended_too() {
    let mut batch = batch(&[]);
    let user = UserId::new(5).unwrap();
    append(&mut batch, Target::Users, &Message::Replaced { user, device: "phone".into(), at_ms: 0 });
    // Kind 99 with one field, then a known kind with a field more: length, kind, shard, user, device, more.
    batch.extend_from_slice(&[3, 99, 0, 1]);
    batch.extend_from_slice(&[9, 10, 0, 5, 3, b't', b'a', b'b', 0, 77]);
    // A question of a later version: an error in its place.
    batch.extend_from_slice(&[13, 11, 0, 0, 0, 0, 0, 0, 0, 0, 9, 1, 1, 99]);
    append(&mut batch, Target::Users, &Message::Replaced { user, device: "watch".into(), at_ms: 0 });
    let got = read(&batch);
    let device = |it: &Result<(Target, Message), Malformed>| match it {
        Ok((_, Message::Replaced { device, .. })) => device.to_string(),
        Ok(other) => panic!("{other:?}"),
        Err(malformed) => malformed.to_string(),
    };
    let got: Vec<String> = got.iter().map(device).collect();
    assert_eq!(got, ["phone", "tab", "`question` has a value it cannot have", "watch"]);
}

#[test]
fn a_batch_of_another_version_is_refused_and_an_empty_one_is_nothing() {
    assert!(matches!(read(&[2, 1, 2]).pop(), Some(Err(Malformed::Version(2)))));
    assert!(read(&[]).is_empty());
    let mut batch = Vec::new();
    assert!(!append(&mut batch, Target::Users, &Message::Drain));
    assert!(batch.is_empty());
}

#[test]
fn nothing_is_reserved_for_a_length_that_is_claimed() {
    // Subscribe: kind, shard, room, and 2^61 users.
    let mut body = vec![6, 0];
    body.extend_from_slice(&[0; 16]);
    body.extend_from_slice(&(0xe000_0000_0000_0000_u64).to_be_bytes());
    let batch = [&[1, body.len() as u8], &body[..]].concat();
    assert!(matches!(read(&batch)[..], [Err(Malformed::Cut)]));
}
