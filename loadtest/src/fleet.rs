//! Many clients on one epoll loop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use carillon_protocol::Frame;
use mio::{Events, Interest, Poll, Token};
use rustls::ClientConfig;

use crate::link::{Link, Transport};
use crate::token::Signer;

/// Connections that are being opened at once: a storm is a scenario of its own.
const OPENING_MAX: usize = 256;
/// How long any answer may take to come.
const PATIENCE: Duration = Duration::from_secs(120);

/// Clients, by number from 0.
pub struct Fleet {
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    /// Each client's connection.
    pub links: Vec<Link>,
    /// The clients whose connections ended by themselves.
    pub lost: Vec<usize>,
    marked: Vec<usize>,
}

/// Where the clients are and who they are.
#[derive(Clone)]
pub struct Place {
    /// The node.
    pub address: SocketAddr,
    /// Further nodes of its cluster: clients are spread over all of them.
    pub others: Vec<SocketAddr>,
    /// How they talk.
    pub transport: Transport,
    /// How they shake hands, over TLS.
    pub tls: Option<Arc<ClientConfig>>,
    /// For their tokens.
    pub signer: Signer,
}

impl Place {
    /// The node of the client of that number.
    fn address_of(&self, number: usize) -> SocketAddr {
        match number % (1 + self.others.len()) {
            0 => self.address,
            other => self.others[other - 1],
        }
    }
}

impl Fleet {
    /// Nobody yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            scratch: vec![0; 256 * 1024],
            links: Vec::new(),
            lost: Vec::new(),
            marked: Vec::new(),
        })
    }

    /// Opens a session for each of these users, and waits until all are welcome. `heard` gets what else comes.
    pub fn open(
        &mut self,
        place: &Place,
        users: impl Iterator<Item = u64>,
        mut heard: impl FnMut(usize, &mut Link, Frame<'_>),
    ) -> anyhow::Result<()> {
        let mut deadline = Instant::now() + PATIENCE;
        let (mut opened, mut welcome) = (0, 0);
        let mut users = users.peekable();
        while users.peek().is_some() || welcome < opened {
            while opened - welcome < OPENING_MAX
                && let Some(user) = users.next()
            {
                self.connect(place, user).with_context(|| format!("user {user} cannot connect"))?;
                opened += 1;
            }
            let welcome_before = welcome;
            self.turn(Duration::from_millis(100), |number, link, frame| match frame {
                Frame::Welcome { .. } => welcome += 1,
                frame => heard(number, link, frame),
            })?;
            if welcome > welcome_before {
                deadline = Instant::now() + PATIENCE;
            }
            if Instant::now() > deadline {
                bail!("only {welcome} of {opened} sessions were welcome, and no more within {PATIENCE:?}");
            }
        }
        Ok(())
    }

    /// Connects a user as the next client and says hello; the welcome comes to whoever turns.
    pub fn connect(&mut self, place: &Place, user: u64) -> anyhow::Result<()> {
        self.connect_at(place, self.links.len(), user)
    }

    /// The same as the client of that number, whose connection before this one ends: that of a client that there is, or the
    /// next.
    pub fn connect_at(&mut self, place: &Place, number: usize, user: u64) -> anyhow::Result<()> {
        let link = self.hello(place, number, user)?;
        match self.links.get_mut(number) {
            Some(before) => *before = link,
            None => self.links.push(link),
        }
        Ok(())
    }

    fn hello(&self, place: &Place, number: usize, user: u64) -> anyhow::Result<Link> {
        let mut link = Link::connect(place.address_of(number), number, place.transport, place.tls.as_ref())?;
        let token = place.signer.token(user).into();
        link.say(&Frame::Hello { token, device: "loadtest".into(), agent: Some("carillon-loadtest".into()) });
        self.register(&mut link, number)?;
        link.flush()?;
        Ok(link)
    }

    /// Ends the connections of the clients from this number on, without a goodbye.
    pub fn cut_from(&mut self, number: usize) {
        self.links.truncate(number);
    }

    /// Takes a connection in that says no hello.
    pub fn adopt(&mut self, mut link: Link) -> io::Result<()> {
        self.register(&mut link, self.links.len())?;
        self.links.push(link);
        Ok(())
    }

    fn register(&self, link: &mut Link, number: usize) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut link.stream, Token(number), interest)
    }

    /// Waits at most `patience` for something to come, and hands every frame to `heard`; pings are answered here.
    pub fn turn(
        &mut self,
        patience: Duration,
        mut heard: impl FnMut(usize, &mut Link, Frame<'_>),
    ) -> anyhow::Result<()> {
        self.turn_with(patience, |number, link, scratch| {
            link.read(scratch, |link, frame| answered(link, frame, number, &mut heard))
        })
    }

    /// The same with WebSocket messages instead of frames: for servers that speak something else.
    pub fn turn_messages(
        &mut self,
        patience: Duration,
        mut heard: impl FnMut(usize, &mut Link, &[u8]),
    ) -> anyhow::Result<()> {
        self.turn_with(patience, |number, link, scratch| {
            link.read_messages(scratch, |link, message| {
                heard(number, link, message);
                Ok(message.len())
            })
        })
    }

    fn turn_with(
        &mut self,
        patience: Duration,
        mut read: impl FnMut(usize, &mut Link, &mut [u8]) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        match self.poll.poll(&mut self.events, Some(patience)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in self.events.iter() {
            let number = event.token().0;
            let link = &mut self.links[number];
            let read = if link.is_held() || link.is_closed() {
                Ok(())
            } else {
                read(number, link, &mut self.scratch)
            };
            then_flush(link, number, read, &mut self.lost);
        }
        Ok(())
    }

    /// A client that is held reads at most so many bytes.
    pub fn read_held(
        &mut self,
        number: usize,
        bytes: usize,
        mut heard: impl FnMut(usize, &mut Link, Frame<'_>),
    ) {
        let bytes = bytes.clamp(1, self.scratch.len());
        let link = &mut self.links[number];
        let read =
            link.sip(&mut self.scratch[..bytes], |link, frame| answered(link, frame, number, &mut heard));
        then_flush(link, number, read, &mut self.lost);
    }

    /// A client that is held reads again as everyone does, and what came meanwhile.
    pub fn release(&mut self, number: usize, mut heard: impl FnMut(usize, &mut Link, Frame<'_>)) {
        let link = &mut self.links[number];
        if !link.is_held() {
            return;
        }
        link.release();
        let read = link.read(&mut self.scratch, |link, frame| answered(link, frame, number, &mut heard));
        then_flush(link, number, read, &mut self.lost);
    }

    /// Turns until `done`, which sees every frame; fails when a request is refused, a connection lost, or that takes longer
    /// than anything may.
    pub fn until(
        &mut self,
        what: &str,
        mut done: impl FnMut(usize, &mut Link, Frame<'_>) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let (mut is_done, mut refused) = (false, None);
        while !is_done {
            self.turn(Duration::from_millis(100), |number, link, frame| match frame {
                Frame::Error { message, .. } => refused = Some(message.into_owned()),
                frame => is_done |= done(number, link, frame),
            })?;
            if let Some(message) = refused {
                bail!("refused: {message} (waiting until {what})");
            }
            if Instant::now() > deadline {
                bail!("waited {PATIENCE:?} in vain: {what}");
            }
            if !self.lost.is_empty() {
                bail!("{} connections were lost: {what}", self.lost.len());
            }
        }
        Ok(())
    }

    /// Notes that a client has something to say.
    pub fn mark(&mut self, number: usize) {
        self.marked.push(number);
    }

    /// Writes what the marked clients have to say, each once; a client whose connection has ended is lost.
    pub fn flush_marked(&mut self) {
        let mut marked = std::mem::take(&mut self.marked);
        marked.sort_unstable();
        marked.dedup();
        for &number in &marked {
            then_flush(&mut self.links[number], number, Ok(()), &mut self.lost);
        }
        marked.clear();
        self.marked = marked;
    }

    /// Writes what a client has to say.
    pub fn flush(&mut self, number: usize) -> io::Result<()> {
        self.links[number].flush().map(drop)
    }
}

/// Writes what a client has to say, once it has read; one whose connection has ended is lost.
fn then_flush(link: &mut Link, number: usize, read: io::Result<()>, lost: &mut Vec<usize>) {
    if let Err(error) = read.and_then(|()| link.flush().map(drop))
        && link.closed(&error)
    {
        lost.push(number);
    }
}

/// Hands a frame on; pings are answered here, and handed on where they tell of rooms.
fn answered(
    link: &mut Link,
    frame: Frame<'_>,
    number: usize,
    heard: &mut impl FnMut(usize, &mut Link, Frame<'_>),
) {
    match frame {
        Frame::Ping { stamp, heads } => {
            link.answer_ping(stamp);
            if !heads.is_empty() {
                heard(number, link, Frame::Ping { stamp, heads });
            }
        }
        frame => heard(number, link, frame),
    }
}
