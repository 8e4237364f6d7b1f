//! Every text of every frame, broken: MALFORMED with the field's name, and the end with 4501. In a JSON text message, the
//! end with 1007, as RFC 6455 asks.

use carillon_protocol::{CloseCode, ErrorCode, Frame};
use tungstenite::protocol::frame::coding::CloseCode as WebSocketCode;
use tungstenite::protocol::frame::{
    Frame as WebSocketFrame,
    coding::{Data, OpCode},
};

use crate::harness::{client_id, room};
use crate::victims::{
    Victims, assert_ended, bytes_of, close_code, connect, quick_node, say_last, session, websocket,
};

/// Stands in a text where the broken bytes go.
const MARK: &str = "UTF8";

#[test]
fn in_binary() {
    let node = quick_node(|_| {});
    let mut victims = Victims::on(&node);
    let token = node.token(66);
    let hello = |token: &str, device: &str, agent: Option<&str>| Frame::Hello {
        token: token.to_owned().into(),
        device: device.to_owned().into(),
        agent: agent.map(|agent| agent.to_owned().into()),
    };
    let strange = [
        ("token", hello(MARK, "phone", None)),
        ("device", hello(&token, MARK, None)),
        ("agent", hello(&token, "phone", Some(MARK))),
    ];
    let known = [
        ("token", Frame::Refresh { request: 1, token: MARK.into() }),
        ("name", Frame::CreateRoom { request: 1, room: room(), name: MARK.into(), members: vec![] }),
        ("text", Frame::Send { request: 1, room: room(), client_id: client_id(), text: MARK.into() }),
    ];
    for broken in [b"\xff\xfe\xfd\xfc", b"\xf0\x9f\x94a", b"\xed\xa0\x80a", b"\xc0\xafab"] {
        let strangers = strange.iter().map(|(field, frame)| (field, frame, connect(&node)));
        let sessions = known.iter().map(|(field, frame)| (field, frame, session(&node, 66)));
        for (field, frame, mut stream) in strangers.chain(sessions) {
            let heard = say_last(&mut stream, &with_mark_as(&bytes_of(frame), broken));
            assert_ended(&heard, ErrorCode::MALFORMED, CloseCode::MALFORMED);
            let says_where = |frame: &Frame<'_>| matches!(frame, Frame::Error { message, .. } if *message == format!("`{field}` is not UTF-8"));
            assert!(heard.iter().any(says_where), "{heard:?}");
        }
    }
    victims.are_alone_and_well(&node);
}

#[test]
fn in_json() {
    let node = quick_node(|_| {});
    let mut victims = Victims::on(&node);
    let mut socket = websocket(&node, "carillon.v1.json");
    let text = format!(r#"{{"kind":"hello","token":"{}","device":"{MARK}"}}"#, node.token(66));
    let broken = with_mark_as(text.as_bytes(), b"\xff\xfe\xfd\xfc");
    let frame = WebSocketFrame::message(broken, OpCode::Data(Data::Text), true);
    socket.send(tungstenite::Message::Frame(frame)).unwrap();
    assert_eq!(close_code(&mut socket), WebSocketCode::Invalid);
    victims.are_alone_and_well(&node);
}

fn with_mark_as(bytes: &[u8], broken: &[u8; 4]) -> Vec<u8> {
    let at = bytes.windows(4).position(|window| window == MARK.as_bytes()).unwrap();
    [&bytes[..at], broken, &bytes[at + 4..]].concat()
}
