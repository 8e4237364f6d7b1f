//! Whatever becomes of live events (lost, doubled, swapped, the connection cut), the app gets each once and in order.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Gateway, next_message, user};

const MESSAGES: u64 = 150;

#[tokio::test]
async fn whatever_becomes_of_live_events() {
    let gateway = Gateway::start().await;
    let (sender, _) = gateway.connect(1).await;
    let room = sender.create_room("", [user(2)]).await.unwrap();
    let (_reader, mut updates) = gateway.connect(2).await;
    gateway.state().await.faults.chaos = true;
    let sending = tokio::spawn(async move {
        for number in 0..MESSAGES {
            room.send(number.to_string()).await.unwrap();
        }
    });
    for number in 0..MESSAGES - 1 {
        assert_eq!(next_message(&mut updates).await, (number + 2, number.to_string()));
    }
    sending.await.unwrap();
    gateway.ping().await;
    assert_eq!(next_message(&mut updates).await.0, MESSAGES + 1);
    assert!(gateway.state().await.syncs > 0 && gateway.state().await.hellos > 2, "the faults happened");
}

#[tokio::test]
async fn what_happened_while_the_client_was_away_comes_after_it_is_back() {
    let gateway = Gateway::start().await;
    let (sender, _) = gateway.connect(1).await;
    let room = sender.create_room("", [user(2)]).await.unwrap();
    let (_reader, mut updates) = gateway.connect(2).await;
    gateway.cut(carillon_sdk::CloseCode::GO_AWAY).await;
    room.send("while away").await.unwrap();
    assert_eq!(next_message(&mut updates).await, (2, "while away".into()));
}

#[tokio::test]
async fn an_app_that_takes_no_updates_can_still_send_and_loses_nothing() {
    let gateway = Gateway::start().await;
    let client = carillon_sdk::Client::builder(&gateway.websocket_url).token("1").updates_max(3);
    let (client, mut updates) = client.connect().await.unwrap();
    let room = client.create_room("", []).await.unwrap();
    for number in 0..MESSAGES {
        room.send(number.to_string()).await.unwrap();
    }
    for number in 0..MESSAGES {
        assert_eq!(next_message(&mut updates).await, (number + 2, number.to_string()));
    }
}

#[tokio::test]
async fn a_position_from_an_earlier_run_is_where_updates_begin() {
    let gateway = Gateway::start().await;
    let (client, _) = gateway.connect(1).await;
    let room = client.create_room("", []).await.unwrap();
    for number in 0..10 {
        room.send(number.to_string()).await.unwrap();
    }
    client.close().await;
    let client = carillon_sdk::Client::builder(&gateway.tcp_url).token("1").position(room.id(), 4);
    let (_client, mut updates) = client.connect().await.unwrap();
    assert_eq!(next_message(&mut updates).await, (5, "3".into()));
}
