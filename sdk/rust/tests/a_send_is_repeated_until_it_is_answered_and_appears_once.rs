//! A send whose answer is lost with the connection, or that finds the room busy, is repeated under its client id: the
//! app sees one success, the room one message.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use common::{Gateway, next_message};

#[tokio::test]
async fn over_websocket() {
    let gateway = Gateway::start().await;
    appears_once(&gateway, &gateway.websocket_url).await;
}

#[tokio::test]
async fn over_tcp() {
    let gateway = Gateway::start().await;
    appears_once(&gateway, &gateway.tcp_url).await;
}

async fn appears_once(gateway: &Gateway, url: &str) {
    let client = carillon_sdk::Client::builder(url).token("1");
    let (client, mut updates) = client.connect().await.unwrap();
    let room = client.create_room("", []).await.unwrap();
    gateway.state().await.faults.lost_acks = 2;
    gateway.state().await.faults.busy = 1;
    let sent = room.send("once").await.unwrap();
    assert_eq!(sent.seq, 2);
    assert_eq!(gateway.state().await.events[&room.id()].len(), 2);
    assert_eq!(gateway.state().await.hellos, 3);
    assert_eq!(next_message(&mut updates).await, (2, "once".into()));
    assert_eq!(room.send("twice").await.unwrap().seq, 3);
    assert_eq!(next_message(&mut updates).await, (3, "twice".into()));
}
