//! SIGTERM: sessions are told to go, what was acknowledged is there afterwards, and what was not can be sent again.

use carillon_gateway::auth::Keys;
use carillon_gateway::config::Config;
use carillon_protocol::{CloseCode, ErrorCode, Frame};

use crate::harness::{Client, client_id, create, now_s, room, user};
use crate::process::Gateway;

#[test]
fn and_loses_nothing() {
    let data = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(&data);
    let keys = Keys::open(&Config { data: data.path().to_owned(), ..Config::default() }).unwrap();
    let connect = |gateway: &Gateway, number| {
        let mut client = Client::connect(gateway.address()).unwrap();
        client.hello(&keys.mint(user(number), 3600, now_s()).unwrap(), "device");
        client
    };
    let (mut sender, mut idle) = (connect(&gateway, 1), connect(&gateway, 2));
    let room = room();
    sender.done(|request| create(request, room, &[2]));
    // As many as there is time for, with many under way when the signal comes.
    let (mut acknowledged, mut repeatable) = (Vec::new(), Vec::new());
    for turn in 0.. {
        let sends: Vec<_> = (0..50).map(|number| (client_id(), format!("message {turn}.{number}"))).collect();
        let asks = sends.iter().cloned().map(|(client_id, text)| {
            move |request| Frame::Send { request, room, client_id, text: text.into() }
        });
        let answers = sender.try_ask_all(asks.collect());
        let is_over =
            answers.len() < sends.len() || answers.iter().any(|answer| matches!(answer, Frame::Error { .. }));
        let mut answers = answers.into_iter();
        for send in sends {
            match answers.next() {
                Some(Frame::Ack { seq, .. }) => acknowledged.push((send, seq)),
                Some(Frame::Error { code, .. }) => {
                    assert_eq!(code, ErrorCode::DRAINING);
                    repeatable.push(send);
                }
                Some(other) => panic!("{other:?}"),
                None => repeatable.push(send),
            }
        }
        if turn == 5 {
            gateway.terminate();
        }
        if is_over {
            break;
        }
    }
    let heard = idle.hear_out();
    assert!(heard.iter().any(|frame| matches!(frame, Frame::GoAway { .. })), "{:?}", heard.last());
    let last = heard.last().unwrap();
    assert!(
        matches!(last, Frame::Error { request: 0, code, .. } if code.0 == CloseCode::GO_AWAY.0),
        "{last:?}"
    );
    assert_eq!(gateway.stop(), Some(0));

    let gateway = Gateway::start(&data);
    let mut client = connect(&gateway, 1);
    let send = |client: &mut Client, (id, text): &(_, String)| client.send_as(room, *id, text);
    for (sent, seq) in &acknowledged {
        assert_eq!(send(&mut client, sent), *seq);
    }
    for sent in &repeatable {
        send(&mut client, sent);
    }
    assert_eq!(client.history(room, 0).len(), 1 + acknowledged.len() + repeatable.len());
}
