//! Rooms, members, history, read markers and typing, through the public API.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use carillon_sdk::{Error, ErrorCode, EventBody, Update, UserId};
use common::{Gateway, user};

#[tokio::test]
async fn rooms_members_and_history() {
    let gateway = Gateway::start().await;
    let (client, _) = gateway.connect(1).await;
    let room = client.create_room("Ringers", [user(2)]).await.unwrap();
    room.add_members([user(3), user(4)]).await.unwrap();
    room.remove(user(2)).await.unwrap();
    room.send("hi").await.unwrap();
    let members: Vec<UserId> = room.members().await.unwrap().iter().map(|member| member.user).collect();
    assert_eq!(members, [user(1), user(3), user(4)]);
    assert_eq!(client.rooms().await.unwrap().iter().map(|entry| entry.room).collect::<Vec<_>>(), [room.id()]);
    let page = room.history(2, 10).await.unwrap();
    assert_eq!((page.after_seq, page.head_seq, page.events.len()), (2, 4, 2));
    assert!(matches!(&page.events[1].body, EventBody::Message { text, .. } if text == "hi"));
    room.leave().await.unwrap();
    let error = room.send("too late").await.unwrap_err();
    assert!(matches!(error, Error::Refused { code: ErrorCode::NOT_A_MEMBER, .. }) && !error.come_back());
}

#[tokio::test]
async fn typing_and_read_markers_reach_the_others() {
    let gateway = Gateway::start().await;
    let (client, _) = gateway.connect(1).await;
    let room = client.create_room("", [user(2)]).await.unwrap();
    let (_other, mut updates) = gateway.connect(2).await;
    room.typing(true).await.unwrap();
    let typing = Update::Typing { room: room.id(), user: user(1), active: true };
    assert_eq!(updates.next().await, Some(typing));
    assert_eq!(room.read(1).await.unwrap(), 1);
    let read = Update::Read { room: room.id(), user: user(1), seq: 1, unread: None };
    assert_eq!(updates.next().await, Some(read));
}

#[tokio::test]
async fn too_many_requests_at_a_time_are_refused_here() {
    let gateway = Gateway::start().await;
    let client = carillon_sdk::Client::builder(&gateway.websocket_url).token("1").pending_max(2);
    let (client, _updates) = client.connect().await.unwrap();
    let room = client.create_room("", []).await.unwrap();
    gateway.state().await.faults.is_deaf = true;
    let (one, other) = (room.clone(), room.clone());
    tokio::spawn(async move { one.send("1").await });
    tokio::spawn(async move { other.send("2").await });
    tokio::task::yield_now().await;
    let error = room.send("3").await.unwrap_err();
    assert!(matches!(error, Error::TooManyPending { max: 2 }) && error.come_back(), "{error}");
}
