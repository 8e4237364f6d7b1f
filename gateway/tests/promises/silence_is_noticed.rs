//! Pings: they carry what may have been missed, and who answers none is gone.

use carillon_protocol::{CloseCode, ErrorCode, Frame};

use crate::harness::{Client, Node};

fn last_words(client: &mut Client) -> Frame<'static> {
    client.hear_out().pop().unwrap()
}

#[test]
fn a_ping_names_the_rooms_that_moved() {
    for inbox_limit in [64, 1] {
        let node = Node::start_with(|config| {
            config.ping_interval_ms = 100;
            config.inbox_limit = inbox_limit;
        });
        let mut client = node.client(1);
        let room = client.create_room(&[2]);
        let seq = client.send(room, "hello");
        loop {
            if let Frame::Ping { heads, .. } = client.hear()
                && heads.iter().any(|head| head.room == room && head.seq == seq)
            {
                break;
            }
        }
    }
}

#[test]
fn who_answers_stays_and_who_does_not_is_closed() {
    let node = Node::start_with(|config| {
        config.ping_interval_ms = 100;
        config.idle_timeout_ms = 500;
    });
    let (mut silent, mut answering) = (node.client(1), node.client(2));
    silent.answers_pings = false;
    std::thread::scope(|threads| {
        let gone = threads.spawn(|| last_words(&mut silent));
        while !gone.is_finished() {
            answering.so_far();
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let last = gone.join().unwrap();
        assert!(
            matches!(last, Frame::Error { request: 0, code, .. } if code.0 == CloseCode::IDLE.0),
            "{last:?}"
        );
    });
    answering.so_far();
    assert_eq!(node.closed("idle"), 1);
}

#[test]
fn a_session_ends_with_its_token_unless_it_is_refreshed() {
    let node = Node::start_with(|config| {
        config.ping_interval_ms = 100;
        config.token_leeway_s = 0;
    });
    let (mut expires, mut refreshed) = (node.stranger(), node.stranger());
    expires.hello(&node.token_for(1, 1), "expires");
    refreshed.hello(&node.token_for(2, 1), "refreshed");
    let token = node.token_for(2, 3600);
    let another = node.token_for(3, 3600);
    assert_eq!(
        refreshed.refused(|request| Frame::Refresh { request, token: another.into() }),
        ErrorCode::TOKEN_INVALID
    );
    refreshed.done(|request| Frame::Refresh { request, token: token.into() });
    let heard = expires.hear_out();
    let errors: Vec<_> = heard
        .iter()
        .filter_map(|frame| match frame {
            Frame::Error { request: 0, code, .. } => Some(code.0),
            _ => None,
        })
        .collect();
    assert_eq!(errors, [ErrorCode::TOKEN_EXPIRED.0, CloseCode::TOKEN_EXPIRED.0]);
    refreshed.so_far();
}
