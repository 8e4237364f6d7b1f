//! A token that will not do is refused with its code and the connection ended with 4502, or 4503 where it has expired; over
//! raw TCP and over WebSocket alike. So is whoever says hello twice, or something else first: 4505.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carillon_gateway::auth::Keys;
use carillon_gateway::config::Config;
use carillon_protocol::{CloseCode, ErrorCode, Frame};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tungstenite::Message;

use crate::harness::{Node, now_s};
use crate::victims::{Victims, assert_ended, bytes_of, close_code, connect, quick_node, say_last, websocket};

/// Codes of a token that is no good, and of one that was.
const NO_GOOD: (ErrorCode, CloseCode) = (ErrorCode::TOKEN_INVALID, CloseCode::UNAUTHORIZED);
const EXPIRED: (ErrorCode, CloseCode) = (ErrorCode::TOKEN_EXPIRED, CloseCode::TOKEN_EXPIRED);

/// A node with a secret of the tests, and an audience; and the secret.
fn node_with_audience() -> (Node, EncodingKey) {
    let secret = [7; 32];
    let node = quick_node(|config| {
        let path = config.data.parent().unwrap().join("test.hs256");
        std::fs::write(&path, secret).unwrap();
        config.token_keys = vec![path];
        config.token_audience = Some("chat".into());
    });
    (node, EncodingKey::from_secret(&secret))
}

fn token(claims: &Value, key: &EncodingKey) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, key).unwrap()
}

fn unsigned(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(&json!({"alg": "none"})), part(claims))
}

/// Each with the codes it is refused with.
fn bad_tokens(key: &EncodingKey) -> Vec<(String, (ErrorCode, CloseCode))> {
    let good = json!({"sub": "66", "exp": now_s() + 600, "aud": "chat"});
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let other_key = EncodingKey::from_secret(&[8; 32]);
    let mut cut = token(&good, key);
    cut.truncate(cut.len() - 5);
    vec![
        (String::new(), NO_GOOD),
        ("a.b.c".into(), NO_GOOD),
        ("🔔".into(), NO_GOOD),
        (cut, NO_GOOD),
        (unsigned(&good), NO_GOOD),
        (token(&good, &other_key), NO_GOOD),
        (token(&with("aud", json!("mail")), key), NO_GOOD),
        (token(&with("sub", json!("0")), key), NO_GOOD),
        (token(&with("sub", json!("root")), key), NO_GOOD),
        (token(&with("exp", json!("never")), key), NO_GOOD),
        ("x".repeat(60_000), NO_GOOD),
        (token(&with("padding", json!("x".repeat(30_000))), key), NO_GOOD),
        (token(&with("exp", json!(now_s() - 600)), key), EXPIRED),
    ]
}

fn hello(token: &str) -> Frame<'_> {
    Frame::Hello { token: token.into(), device: "phone".into(), agent: None }
}

#[test]
fn over_raw_tcp() {
    let (node, key) = node_with_audience();
    for (token, (error, close)) in bad_tokens(&key) {
        assert_ended(&say_last(&mut connect(&node), &bytes_of(&hello(&token))), error, close);
    }
}

#[test]
fn over_websocket() {
    let (node, key) = node_with_audience();
    for (token, (_, close)) in bad_tokens(&key) {
        let mut socket = websocket(&node, "carillon.v1");
        socket.send(Message::binary(bytes_of(&hello(&token)))).unwrap();
        assert_eq!(u16::from(close_code(&mut socket)), close.0);
        let mut socket = websocket(&node, "carillon.v1.json");
        socket.send(Message::text(carillon_protocol::json::encode(&hello(&token)))).unwrap();
        assert_eq!(u16::from(close_code(&mut socket)), close.0);
    }
}

/// A session whose fresh token is no good goes on with the one it has.
#[test]
fn in_a_session() {
    let node = quick_node(|_| {});
    let mut victims = Victims::on(&node);
    let mut client = node.client(66);
    let another =
        Keys::open(&Config { data: tempfile::tempdir().unwrap().path().into(), ..Config::default() });
    let foreign = another.unwrap().mint(crate::harness::user(66), 60, now_s()).unwrap();
    for token in [String::new(), foreign, node.token(67)] {
        let refused = client.refused(|request| Frame::Refresh { request, token: token.into() });
        assert_eq!(refused, ErrorCode::TOKEN_INVALID);
    }
    client.create_room(&[]);
    drop(client);
    victims.are_alone_and_well(&node);
}

#[test]
fn a_second_hello_and_none_at_all() {
    let node = quick_node(|_| {});
    let mut victims = Victims::on(&node);
    let token = node.token(66);
    let hello = bytes_of(&hello(&token));
    let twice = say_last(&mut connect(&node), &[hello.clone(), hello].concat());
    assert_ended(&twice, ErrorCode::UNEXPECTED, CloseCode::UNEXPECTED);
    let mut socket = websocket(&node, "carillon.v1");
    socket.send(Message::binary(bytes_of(&Frame::Pong { stamp: 1 }))).unwrap();
    assert_eq!(u16::from(close_code(&mut socket)), CloseCode::UNEXPECTED.0);
    victims.are_alone_and_well(&node);
}
