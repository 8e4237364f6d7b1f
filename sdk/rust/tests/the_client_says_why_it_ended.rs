//! Ends are told: to whoever connects, to whoever waits for an answer, and as the connection's state.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::time::Duration;

use carillon_sdk::{Client, CloseCode, ConnectionState, Error, ErrorCode};
use common::Gateway;

#[tokio::test]
async fn a_refused_token_ends_connecting_at_once() {
    let gateway = Gateway::start().await;
    gateway.state().await.faults.refusal = Some((ErrorCode::TOKEN_INVALID, CloseCode::UNAUTHORIZED));
    let error = Client::builder(&gateway.websocket_url).token("1").connect().await.unwrap_err();
    assert!(matches!(error, Error::Ended { code: CloseCode::UNAUTHORIZED, .. }), "{error}");
    assert!(!error.come_back());
    let error = Client::builder(&gateway.tcp_url).token("1").connect().await.unwrap_err();
    assert!(matches!(error, Error::Refused { code: ErrorCode::TOKEN_INVALID, .. }), "{error}");
    assert_eq!(gateway.state().await.hellos, 2);
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_unreachable() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = Client::builder(format!("tcp://{nobody}")).connect_timeout(Duration::from_millis(300));
    let error = client.token("1").connect().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }) && error.come_back(), "{error}");
}

#[tokio::test]
async fn an_address_that_is_none_is_said_to_be_none() {
    for url in ["http://127.0.0.1", "tcp://127.0.0.1", "tls://127.0.0.1", "hello"] {
        let error = Client::builder(url).token("1").connect().await.unwrap_err();
        assert!(matches!(error, Error::Address { .. }), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_send_that_is_never_answered_is_given_up() {
    let gateway = Gateway::start().await;
    let client = Client::builder(&gateway.websocket_url).token("1").give_up_after(Duration::from_millis(200));
    let (client, _updates) = client.connect().await.unwrap();
    let room = client.create_room("", []).await.unwrap();
    gateway.state().await.faults.is_deaf = true;
    let error = room.send("hello?").await.unwrap_err();
    assert!(matches!(error, Error::GaveUp { .. }), "{error}");
}

#[tokio::test]
async fn a_session_that_was_replaced_does_not_come_back() {
    let gateway = Gateway::start().await;
    let (client, mut updates) = gateway.connect(1).await;
    gateway.cut(CloseCode::REPLACED).await;
    assert!(updates.next().await.is_none());
    let state = client.state().borrow().clone();
    assert!(matches!(state, ConnectionState::Closed(Error::Ended { code: CloseCode::REPLACED, .. })));
    assert!(matches!(client.rooms().await, Err(Error::Ended { .. })));
}

#[tokio::test]
async fn closing_lets_sends_finish() {
    let gateway = Gateway::start().await;
    let (client, _updates) = gateway.connect(1).await;
    let room = client.create_room("", []).await.unwrap();
    let send = |number: u32| {
        let room = room.clone();
        tokio::spawn(async move { room.send(number.to_string()).await })
    };
    let sends: Vec<_> = (0..100).map(send).collect();
    tokio::task::yield_now().await;
    client.close().await;
    let mut outcomes = Vec::new();
    for send in sends {
        outcomes.push(send.await.unwrap());
    }
    let sent = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Error::Closed))), "{outcomes:?}");
    assert_eq!(gateway.state().await.events[&room.id()].len(), 1 + sent);
}
