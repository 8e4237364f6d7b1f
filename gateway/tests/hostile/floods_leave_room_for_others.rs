//! One connection says as much as it can as fast as it can: every request of it gets its one answer, and others on the same
//! shard still have their messages delivered meanwhile.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use carillon_protocol::{ErrorCode, Frame};

use crate::harness::{Client, client_id, room};
use crate::victims::{Victims, bytes_of, quick_node};

/// The number of the request after the flood.
const LAST: u64 = 1_000_000;

/// Writes `count` frames while it takes the `answers`, and others talk; what the answers were.
fn flood(
    count: u64,
    answers: usize,
    ask: impl Fn(u64, carillon_protocol::RoomId) -> Frame<'static> + Sync,
) -> Vec<Frame<'static>> {
    // As if nobody had set a limit on what it may ask: `limits_are_told` has that.
    let node = quick_node(|config| {
        config.shards = 1;
        config.requests_per_second_max = 1_000_000_000;
    });
    let mut victims = Victims::on(&node);
    let mut client = node.client(66);
    let room = client.create_room(&[67]);
    let mut writer = client.stream.try_clone().unwrap();
    let is_over = AtomicBool::new(false);
    let answers = std::thread::scope(|scope| {
        scope.spawn(|| {
            let asks: Vec<u8> = (1..=count).flat_map(|request| bytes_of(&ask(request, room))).collect();
            writer.write_all(&asks).unwrap();
            writer
                .write_all(&bytes_of(&Frame::Sync { request: LAST, room, after_seq: 1, limit: 1 }))
                .unwrap();
        });
        let answers = scope.spawn(|| {
            let answers = all_answers(&mut client, answers);
            is_over.store(true, Ordering::Relaxed);
            answers
        });
        while !is_over.load(Ordering::Relaxed) {
            victims.exchange();
        }
        answers.join().unwrap()
    });
    drop((client, writer));
    victims.are_alone_and_well(&node);
    answers
}

/// So many answers, and that to the last request, wherever it comes among them.
fn all_answers(client: &mut Client, count: usize) -> Vec<Frame<'static>> {
    let (mut answers, mut has_last) = (Vec::new(), false);
    while answers.len() < count || !has_last {
        match client.hear_new().expect("the connection ended") {
            frame if frame.request() == Some(LAST) => has_last = true,
            frame if frame.request().is_some() => answers.push(frame),
            _ => {}
        }
    }
    answers
}

#[test]
fn of_sends() {
    let answers = flood(50_000, 50_000, |request, room| Frame::Send {
        request,
        room,
        client_id: client_id(),
        text: "again".into(),
    });
    assert!(
        answers.iter().all(|answer| matches!(answer, Frame::Ack { .. })),
        "it is slowed down, not refused"
    );
}

#[test]
fn of_typing() {
    assert_eq!(flood(100_000, 0, |_, room| Frame::Typing { room, active: true, user: None }).len(), 0);
}

#[test]
fn of_requests_for_nothing() {
    let answers = flood(20_000, 20_000, |request, _| Frame::Leave { request, room: room() });
    let is_refused = |answer: &Frame<'_>| {
        matches!(answer, Frame::Error { code: ErrorCode::NOT_A_MEMBER | ErrorCode::BUSY, .. })
    };
    assert!(answers.iter().all(is_refused));
}

#[test]
fn of_new_rooms() {
    let answers = flood(2_000, 2_000, |request, _| crate::harness::create(request, room(), &[67]));
    assert!(answers.iter().all(|answer| matches!(
        answer,
        Frame::Ack { .. } | Frame::Error { code: ErrorCode::LIMIT | ErrorCode::BUSY, .. }
    )));
}
