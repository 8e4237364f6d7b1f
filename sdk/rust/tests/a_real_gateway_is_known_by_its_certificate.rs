//! Over TLS, as a WebSocket and raw, with a real gateway: whom the app trusts is talked to, whoever else is not.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::net::SocketAddr;
use std::time::Duration;

use carillon_gateway::auth::Keys;
use carillon_gateway::config::Config;
use carillon_gateway::serve::Running;
use carillon_sdk::{Client, ClientBuilder, Error, EventBody, Update, UserId};
use tempfile::TempDir;
use tokio::task::spawn_blocking;

/// A gateway with a certificate for `localhost`, which vouches for itself.
struct Node {
    running: Running,
    address: SocketAddr,
    keys: Keys,
    certificate: String,
    _dir: TempDir,
}

impl Node {
    async fn start() -> Self {
        spawn_blocking(|| {
            let dir = TempDir::new().unwrap();
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
            std::fs::write(&cert, made.cert.pem()).unwrap();
            std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
            let config = Config {
                listen: "127.0.0.1:0".parse().unwrap(),
                tls_listen: Some("127.0.0.1:0".parse().unwrap()),
                tls_certificate: Some(cert),
                tls_key: Some(key),
                data: dir.path().join("data"),
                shards: 2,
                ..Config::default()
            };
            let keys = Keys::open(&config).unwrap();
            let running = Running::start(config).unwrap();
            let address = running.tls.as_ref().unwrap().address;
            Self { running, address, keys, certificate: made.cert.pem(), _dir: dir }
        })
        .await
        .unwrap()
    }

    fn url(&self, scheme: &str, host: &str) -> String {
        let path = if scheme == "wss" { "/v1/ws" } else { "" };
        format!("{scheme}://{host}:{}{path}", self.address.port())
    }

    fn builder(&self, url: &str, number: u64) -> ClientBuilder {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let token = self.keys.mint(user(number), 3600, now).unwrap();
        Client::builder(url).token(token).connect_timeout(Duration::from_secs(20))
    }

    async fn stop(self) {
        spawn_blocking(move || self.running.stop()).await.unwrap();
    }
}

fn user(number: u64) -> UserId {
    UserId::new(number).unwrap()
}

#[tokio::test]
async fn and_talked_to() {
    let node = Node::start().await;
    let trusting = |scheme: &str, number| {
        let url = node.url(scheme, "localhost");
        node.builder(&url, number).trust_pem(node.certificate.clone()).connect()
    };
    let (sender, _) = trusting("wss", 1).await.unwrap();
    let (reader, mut updates) = trusting("tls", 2).await.unwrap();
    let room = sender.create_room("", [user(2)]).await.unwrap();
    // Larger than a TLS record, each way.
    let texts: Vec<String> = (0..20).map(|number| format!("{number} {}", "x".repeat(16_000))).collect();
    for text in &texts {
        room.send(text.clone()).await.unwrap();
    }
    reader.room(room.id()).send("heard you").await.unwrap();
    let mut heard = Vec::new();
    while heard.len() <= texts.len() {
        if let Update::Event(event) = updates.next().await.unwrap()
            && let EventBody::Message { text, .. } = event.body
        {
            heard.push(text.into_owned());
        }
    }
    assert_eq!(heard.pop().unwrap(), "heard you");
    assert_eq!(heard, texts);
    sender.close().await;
    node.stop().await;
}

#[tokio::test]
async fn or_not_talked_to() {
    let node = Node::start().await;
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().cert.pem();
    let soon = Duration::from_millis(500);
    for scheme in ["wss", "tls"] {
        let url = node.url(scheme, "localhost");
        let another = node.builder(&url, 1).trust_pem(other.clone()).connect_timeout(soon).connect().await;
        assert!(is_of_a_certificate(&another.err().unwrap()), "a certificate that is another's");
        let url = node.url(scheme, "127.0.0.1");
        let misnamed = node.builder(&url, 1).trust_pem(node.certificate.clone()).connect_timeout(soon);
        assert!(is_of_a_certificate(&misnamed.connect().await.err().unwrap()), "a name it is not for");
    }
    node.stop().await;
}

fn is_of_a_certificate(error: &Error) -> bool {
    matches!(error, Error::Unreachable { last, .. } if last.contains("certificate"))
}

#[tokio::test]
async fn what_is_no_certificate_is_told_at_once() {
    let builder = Client::builder("wss://localhost:1/v1/ws").token("x").trust_pem("nothing in PEM");
    let error = builder.connect().await.err().unwrap();
    assert!(matches!(error, Error::Certificates(_)) && !error.come_back(), "{error}");
    assert_eq!(error.to_string(), "no certificates to trust: what was given holds none in PEM");
}
