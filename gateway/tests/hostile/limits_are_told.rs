//! What is well-formed and still makes no sense, or is too much, is refused with the documented code, and the session goes
//! on. A room one is not in looks the same as one that is not there.

use carillon_protocol::id::INT_MAX;
use carillon_protocol::{ClientId, CloseCode, ErrorCode, Frame, RoomId, UserId};

use crate::harness::{Client, client_id, create, room, user};
use crate::victims::{Victims, assert_ended, bytes_of, connect, quick_node, say_last, session};

#[test]
fn of_a_request_and_its_room() {
    let node = quick_node(|_| {});
    let mut victims = Victims::on(&node);
    let leave = |request, room| Frame::Leave { request, room };
    let heard = say_last(&mut session(&node, 66), &bytes_of(&leave(0, room())));
    assert_ended(&heard, ErrorCode::INVALID, CloseCode::UNEXPECTED);
    let mut client = node.client(66);
    assert_eq!(client.refused(|request| leave(request, RoomId::NIL)), ErrorCode::INVALID);
    client.say(&leave(INT_MAX, room()));
    assert!(matches!(client.answer(INT_MAX), Frame::Error { code: ErrorCode::NOT_A_MEMBER, .. }));
    drop(client);
    victims.are_alone_and_well(&node);
}

#[test]
fn of_a_device() {
    let node = quick_node(|_| {});
    for device in [String::new(), "d".repeat(65)] {
        let hello = Frame::Hello { token: node.token(66).into(), device: device.into(), agent: None };
        assert_ended(
            &say_last(&mut connect(&node), &bytes_of(&hello)),
            ErrorCode::INVALID,
            CloseCode::UNEXPECTED,
        );
    }
    node.client_on(66, &"d".repeat(64)).create_room(&[]);
}

#[test]
fn of_requests_in_a_second() {
    let node = quick_node(|config| config.requests_per_second_max = 20);
    let mut client = node.client(66);
    let room = client.create_room(&[67]);
    // However the seconds fall, one has more than twenty of them.
    let requests = 1_000..1_060;
    requests.clone().for_each(|request| client.say(&Frame::MarkRead { request, room, seq: 1 }));
    let answers: Vec<_> = requests.map(|request| client.answer(request)).collect();
    let wait_ms = answers.iter().filter_map(|answer| match answer {
        Frame::Error { code: ErrorCode::RATE_LIMITED, retry_after_ms, .. } => *retry_after_ms,
        _ => None,
    });
    let wait_ms: Vec<u64> = wait_ms.collect();
    assert!(wait_ms.len() >= 20, "{answers:?}");
    assert!(wait_ms.iter().all(|wait_ms| (1..=1_000).contains(wait_ms)), "{answers:?}");
    std::thread::sleep(std::time::Duration::from_millis(wait_ms[wait_ms.len() - 1]));
    assert_eq!(client.done(|request| Frame::MarkRead { request, room, seq: 1 }), 1);
}

#[test]
fn of_a_place_in_a_room() {
    let node = quick_node(|_| {});
    let mut client = node.client(66);
    let room = client.create_room(&[67]);
    assert_eq!(client.done(|request| Frame::MarkRead { request, room, seq: INT_MAX }), 1, "the head");
    for after_seq in [1, 2, INT_MAX] {
        let answer = client.ask(|request| Frame::Sync { request, room, after_seq, limit: INT_MAX });
        assert!(
            matches!(answer, Frame::Events { head_seq: 1, ref events, .. } if events.is_empty()),
            "{answer:?}"
        );
    }
    let members = client.ask(|request| Frame::Members { request, room, after_user: INT_MAX, limit: INT_MAX });
    assert!(matches!(members, Frame::MemberList { ref members, more: false, .. } if members.is_empty()));
    let changed_since = INT_MAX;
    let page = carillon_protocol::frame::RoomPage { active_ms: INT_MAX, room: RoomId::NIL };
    let rooms =
        client.ask(|request| Frame::Rooms { request, changed_since, limit: INT_MAX, page: Some(page) });
    assert!(matches!(rooms, Frame::RoomList { ref rooms, .. } if rooms.is_empty()));
}

#[test]
fn of_a_message() {
    let node = quick_node(|config| config.text_bytes_max = 100);
    let mut client = node.client(66);
    let room = client.create_room(&[]);
    let mut refused = |client_id: ClientId, text: String| {
        client.refused(|request| Frame::Send { request, room, client_id, text: text.into() })
    };
    assert_eq!(refused(client_id(), String::new()), ErrorCode::INVALID);
    assert_eq!(refused(client_id(), "x".repeat(101)), ErrorCode::TOO_LARGE);
    assert_eq!(refused(client_id(), "é".repeat(51)), ErrorCode::TOO_LARGE, "bytes count, not characters");
    let id = client_id();
    let seq = client.send_as(room, id, &"x".repeat(100));
    let other_text = |request| Frame::Send { request, room, client_id: id, text: "something else".into() };
    assert_eq!(client.refused(other_text), ErrorCode::CONFLICT);
    assert_eq!(client.send_as(room, id, &"x".repeat(100)), seq);
    assert_eq!(client.history(room, 0).len(), 2);
}

#[test]
fn of_a_room() {
    let node = quick_node(|config| {
        config.name_bytes_max = 20;
        config.members_per_request_max = 3;
        config.members_per_room_max = 5;
    });
    let mut client = node.client(66);
    let named = |request, bytes: usize| Frame::CreateRoom {
        request,
        room: room(),
        name: "n".repeat(bytes).into(),
        members: vec![],
    };
    assert_eq!(client.refused(|request| named(request, 21)), ErrorCode::TOO_LARGE);
    client.done(|request| named(request, 20));
    assert_eq!(client.refused(|request| create(request, room(), &[1, 2, 3, 4])), ErrorCode::LIMIT);
    let room = client.create_room(&[1, 2, 3]);
    assert_eq!(add(&mut client, room, &[]), Err(ErrorCode::INVALID));
    assert_eq!(add(&mut client, room, &[4, 5, 6, 7]), Err(ErrorCode::LIMIT), "too many at once");
    assert_eq!(add(&mut client, room, &[4, 5]), Err(ErrorCode::LIMIT), "one more than the room takes");
    assert_eq!(add(&mut client, room, &[4, 4, 66]), Ok(2), "oneself and others twice are passed over");
    assert_eq!(add(&mut client, room, &[66, 1]), Ok(2), "nothing new");
    assert_eq!(remove(&mut client, room, 99), Ok(2), "who is not there cannot be taken out");
    assert_eq!(remove(&mut client, room, 66), Err(ErrorCode::INVALID));
    assert_eq!(add(&mut node.client(1), room, &[9]), Err(ErrorCode::FORBIDDEN));
    assert_eq!(remove(&mut node.client(1), room, 2), Err(ErrorCode::FORBIDDEN));
}

#[test]
fn of_a_user() {
    let node = quick_node(|config| config.rooms_per_user_max = 3);
    let mut client = node.client(66);
    client.create_room(&[]);
    client.create_room(&[]);
    let last = client.create_room(&[67]);
    assert_eq!(client.refused(|request| create(request, room(), &[])), ErrorCode::LIMIT);
    let mut other = node.client(68);
    assert_eq!(other.refused(|request| create(request, room(), &[66])), ErrorCode::LIMIT);
    assert_eq!(client.done(|request| create(request, last, &[67])), 1, "a retry of the last one");
    assert_eq!(add(&mut client, last, &[66, 67]), Ok(1), "members already");
}

#[test]
fn of_a_room_one_is_not_in() {
    let node = quick_node(|_| {});
    let mut victims = Victims::on(&node);
    let mut owner = node.client(1);
    let secret = owner.create_room(&[2]);
    owner.send(secret, "between us");
    let mut client = node.client(66);
    let taken = client.ask(|request| create(request, secret, &[66]));
    let free = client.ask(|request| create(request, room(), &[]));
    assert!(
        matches!(taken, Frame::Error { code: ErrorCode::CONFLICT, ref message, .. } if !message.contains("room,"))
    );
    assert!(matches!(free, Frame::Ack { seq: 1, .. }));
    let there = what_a_stranger_hears(&mut client, secret);
    let nowhere = what_a_stranger_hears(&mut client, room());
    assert_eq!(there, nowhere, "whether the room is there does not show");
    client.say(&Frame::Typing { room: secret, active: true, user: None });
    assert_eq!(client.rooms().len(), 1, "only their own");
    assert_eq!(owner.history(secret, 0).len(), 2, "nothing came of any of it");
    assert!(!owner.aside.iter().any(|frame| matches!(frame, Frame::Typing { .. } | Frame::Read { .. })));
    drop((client, owner));
    victims.are_alone_and_well(&node);
}

/// The answers to all that can be asked of a room, but for their request numbers.
fn what_a_stranger_hears(client: &mut Client, room: RoomId) -> Vec<(ErrorCode, String)> {
    let asks: [fn(u64, RoomId) -> Frame<'static>; 10] = [
        |request, room| Frame::Send { request, room, client_id: client_id(), text: "hello?".into() },
        |request, room| Frame::Sync { request, room, after_seq: 0, limit: 0 },
        |request, room| Frame::History { request, room, from_seq: 0, limit: 0, at_ms: None },
        |request, room| Frame::History { request, room, from_seq: 0, limit: INT_MAX, at_ms: Some(INT_MAX) },
        |request, room| Frame::MarkRead { request, room, seq: 1 },
        |request, room| Frame::MarkRead { request, room, seq: INT_MAX },
        |request, room| Frame::Members { request, room, after_user: 0, limit: 0 },
        |request, room| Frame::AddMembers { request, room, members: vec![user(66)] },
        |request, room| Frame::RemoveMember { request, room, user: user(2) },
        |request, room| Frame::Leave { request, room },
    ];
    let mut heard = Vec::new();
    for ask in asks {
        match client.ask(|request| ask(request, room)) {
            Frame::Error { code, message, .. } => {
                assert_eq!(code, ErrorCode::NOT_A_MEMBER);
                heard.push((code, message.into_owned()));
            }
            other => panic!("a stranger got {other:?}"),
        }
    }
    heard
}

fn add(client: &mut Client, room: RoomId, numbers: &[u64]) -> Result<u64, ErrorCode> {
    let members: Vec<UserId> = numbers.iter().map(|&number| user(number)).collect();
    answer(client.ask(|request| Frame::AddMembers { request, room, members }))
}

fn remove(client: &mut Client, room: RoomId, number: u64) -> Result<u64, ErrorCode> {
    answer(client.ask(|request| Frame::RemoveMember { request, room, user: user(number) }))
}

fn answer(frame: Frame<'_>) -> Result<u64, ErrorCode> {
    match frame {
        Frame::Ack { seq, .. } => Ok(seq),
        Frame::Error { code, .. } => Err(code),
        other => panic!("{other:?}"),
    }
}
