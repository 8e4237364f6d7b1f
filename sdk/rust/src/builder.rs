//! How a client is set up.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use carillon_protocol::RoomId;
use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::client::{Client, Updates};
use crate::connection::{Clock, Queues, run};
use crate::link::{Link, Target, TokenSource};
use crate::session::{Session, Settings};
use crate::{ConnectionState, Error, Result};

/// Commands that may be on their way to the connection's loop, which takes them as they come.
const COMMANDS_MAX: usize = 64;

/// Settings of a client; [`ClientBuilder::connect`] makes it.
#[must_use = "nothing happens before `connect`"]
pub struct ClientBuilder {
    url: String,
    tokens: TokenSource,
    trusted: Vec<Vec<u8>>,
    settings: Settings,
}

impl ClientBuilder {
    pub(crate) fn new(url: String) -> Self {
        let no_token = || std::future::ready(Err("none was given to the builder".to_owned())).boxed();
        let settings = Settings {
            device: "rust".into(),
            agent: concat!("carillon-sdk/", env!("CARGO_PKG_VERSION")).into(),
            has_fresh_tokens: false,
            connect_ms: 10_000,
            give_up_ms: 60_000,
            pending_max: 1024,
            updates_max: 1024,
            positions: HashMap::new(),
        };
        Self { url, tokens: Arc::new(no_token), trusted: Vec::new(), settings }
    }

    /// The token to say hello with. When it has expired, the client ends with an error.
    ///
    /// ```no_run
    /// # async fn run() -> carillon_sdk::Result<()> {
    /// let (client, updates) = carillon_sdk::Client::builder("tcp://127.0.0.1:8081").token("eyJ…").connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn token(mut self, token: impl Into<String>) -> Self {
        let token = token.into();
        self.tokens = Arc::new(move || std::future::ready(Ok(token.clone())).boxed());
        self.settings.has_fresh_tokens = false;
        self
    }

    /// Where tokens come from: asked before each connection, and again before the token of an open session runs out.
    ///
    /// ```no_run
    /// # async fn fetch() -> Result<String, std::io::Error> { todo!() }
    /// # async fn run() -> carillon_sdk::Result<()> {
    /// let builder = carillon_sdk::Client::builder("ws://127.0.0.1:8080/v1/ws");
    /// let (client, updates) = builder.token_provider(|| async { fetch().await }).connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn token_provider<Provider, Fetching, Failure>(mut self, provider: Provider) -> Self
    where
        Provider: Fn() -> Fetching + Send + Sync + 'static,
        Fetching: Future<Output = std::result::Result<String, Failure>> + Send + 'static,
        Failure: Display,
    {
        self.tokens =
            Arc::new(move || provider().map(|token| token.map_err(|error| error.to_string())).boxed());
        self.settings.has_fresh_tokens = true;
        self
    }

    /// Trusts a gateway (over `wss://` or `tls://`) whose certificate is one of these, or is signed by one: one or more, in
    /// PEM. Without, those are trusted that the system trusts; with it, these alone.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = carillon_sdk::Client::builder("wss://chat.internal:8443/v1/ws");
    /// let builder = builder.trust_pem(std::fs::read("internal-ca.pem")?);
    /// let (client, updates) = builder.token("eyJ…").connect().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn trust_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.trusted.push(pem.into());
        self
    }

    /// What this device is called, 1 to 64 bytes; `rust` unless told. A second session of the same user and device
    /// ends the first.
    pub fn device(mut self, device: impl Into<String>) -> Self {
        self.settings.device = device.into();
        self
    }

    /// How long [`ClientBuilder::connect`] tries; 10 s unless told.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_ms = millis(timeout);
        self
    }

    /// How long a request is tried, across reconnects, before it ends with [`Error::GaveUp`]; 60 s unless told.
    pub fn give_up_after(mut self, time: Duration) -> Self {
        self.settings.give_up_ms = millis(time);
        self
    }

    /// How many requests may wait for their answer, 1,024 unless told; the next ends with [`Error::TooManyPending`].
    pub fn pending_max(mut self, requests: usize) -> Self {
        self.settings.pending_max = requests.max(1);
        self
    }

    /// How many updates may wait for the app, 1,024 unless told. When they do, no more events are fetched until it takes
    /// some (none is lost), and typing and read markers are left out. Sends and other requests go on.
    pub fn updates_max(mut self, updates: usize) -> Self {
        self.settings.updates_max = updates.max(1);
        self
    }

    /// The app has this room's events up to `seq`, from an earlier run: updates begin right after. Rooms of which
    /// nothing is said begin at their head.
    pub fn position(mut self, room: RoomId, seq: u64) -> Self {
        self.settings.positions.insert(room, seq);
        self
    }

    /// Connects and waits until the session is open. Must be called within a tokio runtime, on which the client lives
    /// until both it and its updates are dropped, [`Client::close`] is called, or the gateway refuses it for good.
    pub async fn connect(self) -> Result<(Client, Updates)> {
        let link = Link::new(Target::parse(&self.url, &self.trusted)?, Arc::clone(&self.tokens));
        let clock = Clock(Instant::now());
        let (ready, opened) = oneshot::channel();
        let (commands, commands_out) = mpsc::channel(COMMANDS_MAX);
        // The session's own queue is the bounded one; this is where it is picked up.
        let (updates, updates_out) = mpsc::channel(1);
        let (state, state_out) = watch::channel(ConnectionState::Connecting);
        let seed = Uuid::new_v4().as_u64_pair().0;
        let session = Session::new(self.settings, seed, clock.now_ms(), ready);
        let queues = Queues { commands: commands_out, updates, state };
        tokio::spawn(run(session, link, self.tokens, queues, clock));
        let user = opened.await.map_err(|_| Error::Closed)??;
        Ok((Client::new(user, commands, state_out), Updates::new(updates_out)))
    }
}

fn millis(time: Duration) -> u64 {
    // A year is for ever, and leaves room for sums.
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(365 * 24 * 3600 * 1000)
}
