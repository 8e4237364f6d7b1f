//! With a real gateway that stops and starts again under its clients: every send is acknowledged, is in the history once,
//! and reaches everyone in order.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use carillon_gateway::auth::Keys;
use carillon_gateway::config::Config;
use carillon_gateway::serve::Running;
use carillon_sdk::{Client, EventBody, Room, Sent, Update, Updates, UserId};
use tempfile::TempDir;
use tokio::task::{JoinSet, spawn_blocking};

const RESTARTS: u64 = 2;
const SENDS_EACH: u64 = 40;

#[tokio::test]
async fn over_websocket() {
    survives_restarts("ws", "/v1/ws").await;
}

#[tokio::test]
async fn over_tcp() {
    survives_restarts("tcp", "").await;
}

async fn survives_restarts(scheme: &str, path: &str) {
    let mut node = Node::start().await;
    let url = format!("{scheme}://{}{path}", node.config.listen);
    let (sender, updates) = node.connect(&url, 1).await;
    let (reader, reader_updates) = node.connect(&url, 2).await;
    let room = sender.create_room("", [user(2)]).await.unwrap();
    let mut acknowledged = Vec::new();
    for restart in 0..RESTARTS {
        let sends = send_all(&room, restart);
        node.restart().await;
        acknowledged.extend(sends.join_all().await);
    }
    let texts = history(&reader.room(room.id())).await;
    assert_eq!(texts.len() as u64, RESTARTS * SENDS_EACH);
    for (text, sent) in acknowledged {
        assert_eq!(texts[sent.ordinal as usize - 1], (sent.seq, text));
    }
    // A day that has passed, today, and one that has not come.
    let pages = [0, last_at(&room).await, u64::MAX >> 12].map(|at_ms| room.history_at(at_ms, 1));
    let [first, some, none] = futures_util::future::join_all(pages).await.try_into().unwrap();
    assert_eq!(first.unwrap().events[0].seq, 1);
    let some = some.unwrap();
    assert_eq!((some.events.len(), some.after_seq + 1), (1, some.events[0].seq));
    let none = none.unwrap();
    assert_eq!((none.events, none.after_seq), (vec![], none.head_seq));
    assert_eq!(messages(updates, texts.len()).await, texts);
    assert_eq!(messages(reader_updates, texts.len()).await, texts);
    assert_eq!(reader.rooms().await.unwrap()[0].unread, texts.len() as u64);
    node.stop().await;
}

/// Sends at the same time, so that some of them are under way when the gateway stops.
fn send_all(room: &Room, restart: u64) -> JoinSet<(String, Sent)> {
    let send = |number| {
        let (room, text) = (room.clone(), format!("{restart}/{number}"));
        async move {
            let sent = room.send(text.clone()).await.unwrap();
            (text, sent)
        }
    };
    (0..SENDS_EACH).map(send).collect()
}

/// When the last of them was.
async fn last_at(room: &Room) -> u64 {
    let last = room.history(0, 1).await.unwrap().head_seq;
    room.history(last - 1, 1).await.unwrap().events[0].at_ms
}

async fn history(room: &Room) -> Vec<(u64, String)> {
    let (mut texts, mut after_seq) = (Vec::new(), 0);
    loop {
        let page = room.history(after_seq, 0).await.unwrap();
        after_seq = page.events.last().map_or(page.head_seq, |event| event.seq);
        texts.extend(page.events.into_iter().filter_map(|event| text(Update::Event(event))));
        if after_seq >= page.head_seq {
            return texts;
        }
    }
}

async fn messages(mut updates: Updates, count: usize) -> Vec<(u64, String)> {
    let mut texts = Vec::new();
    while texts.len() < count {
        texts.extend(text(updates.next().await.unwrap()));
    }
    texts
}

fn text(update: Update) -> Option<(u64, String)> {
    let Update::Event(event) = update else { return None };
    let EventBody::Message { text, .. } = event.body else { return None };
    Some((event.seq, text.into_owned()))
}

fn user(number: u64) -> UserId {
    UserId::new(number).unwrap()
}

/// A gateway in a temporary folder.
struct Node {
    config: Config,
    running: Option<Running>,
    _folder: TempDir,
}

impl Node {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let config = Config { data: folder.path().join("data"), listen, shards: 2, ..Config::default() };
        let mut node = Self { config, running: None, _folder: folder };
        node.run().await;
        node
    }

    async fn restart(&mut self) {
        self.stop().await;
        self.run().await;
    }

    /// Starts on what is stored, where it was before.
    async fn run(&mut self) {
        let config = self.config.clone();
        let running = spawn_blocking(|| Running::start(config).unwrap()).await.unwrap();
        self.config.listen = running.address;
        self.running = Some(running);
    }

    async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        spawn_blocking(|| running.stop()).await.unwrap();
    }

    async fn connect(&self, url: &str, number: u64) -> (Client, Updates) {
        let token = Keys::open(&self.config).unwrap().mint(user(number), 3_600, now_s()).unwrap();
        Client::builder(url).token(token).connect().await.unwrap()
    }
}

fn now_s() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()
}
