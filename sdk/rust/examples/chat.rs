//! A chat in the terminal.
//!
//! ```text
//! carillon-chat URL new NAME USER…     a new room with these users
//! carillon-chat URL ROOM               a room that exists
//! ```
//! The token is read from `TOKEN` (`carillon token --user 42` prints one). Each line is a message; an empty
//! line marks everything as read; the end of the input leaves.
#![allow(clippy::print_stdout, reason = "it is for people")]

use carillon_sdk::{Client, Event, EventBody, Room, Update, UserId};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, room @ ..] = &arguments[..] else {
        return Err("usage: chat URL (ROOM | new NAME USER…)".into());
    };
    let token = std::env::var("TOKEN")?;
    let device = format!("chat-{}", std::process::id());
    let (client, mut updates) = Client::builder(url).token(token).device(device).connect().await?;
    let room = open(&client, room).await?;
    let mut last_seq = show_history(&room).await?;
    let mut lines = BufReader::new(stdin()).lines();
    loop {
        tokio::select! {
            update = updates.next() => match update {
                // The history may have shown the first of them already.
                Some(Update::Event(event)) if event.room == room.id() && event.seq > last_seq => {
                    last_seq = event.seq;
                    show(&event);
                }
                Some(Update::Typing { user, active: true, .. }) => println!("… {user} is typing"),
                Some(Update::Read { user, seq, .. }) => println!("✓ {user} has read up to {seq}"),
                Some(_) => {}
                None => return Err(format!("{:?}", *client.state().borrow()).into()),
            },
            line = lines.next_line() => match line?.as_deref() {
                Some("") => drop(room.read(last_seq).await?),
                Some(text) => drop(room.send(text).await?),
                None => break,
            },
        }
    }
    client.close().await;
    Ok(())
}

/// The room the arguments name, made if they say so.
async fn open(client: &Client, arguments: &[String]) -> Outcome<Room> {
    match arguments {
        [new, name, users @ ..] if new == "new" => {
            let users: Vec<UserId> = users.iter().map(|user| parse_user(user)).collect::<Outcome<_>>()?;
            let room = client.create_room(name, users).await?;
            println!("room {}", room.id());
            Ok(room)
        }
        [room] => Ok(client.room(room.parse()?)),
        _ => Err("name a room, or make a new one".into()),
    }
}

fn parse_user(text: &str) -> Outcome<UserId> {
    UserId::new(text.parse()?).ok_or_else(|| format!("{text} is no user").into())
}

/// Shows what the room has; returns its last seq.
async fn show_history(room: &Room) -> Outcome<u64> {
    let mut last_seq = 0;
    loop {
        let page = room.history(last_seq, 0).await?;
        page.events.iter().for_each(show);
        last_seq = page.events.last().map_or(page.head_seq, |event| event.seq);
        if last_seq >= page.head_seq {
            return Ok(last_seq);
        }
    }
}

fn show(event: &Event<'_>) {
    let Event { seq, sender, body, .. } = event;
    match body {
        EventBody::RoomCreated { name, .. } => println!("[{seq}] {sender} created “{name}”"),
        EventBody::Message { text, .. } => println!("[{seq}] {sender}: {text}"),
        EventBody::MembersAdded { members } => println!("[{seq}] {sender} added {members:?}"),
        EventBody::MemberRemoved { user } => println!("[{seq}] {sender} removed {user}"),
        EventBody::MemberLeft => println!("[{seq}] {sender} left"),
        EventBody::Unknown { .. } => {}
    }
}
