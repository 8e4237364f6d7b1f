//! The socket: WebSocket or raw TCP, over TLS or not, one at a time, as bytes in and bytes out.
//!
//! Everything here may be dropped half-way through a wait and taken up again; nothing is lost by it.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use carillon_protocol::{CloseCode, SUBPROTOCOL_BINARY};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{ClientRequestBuilder, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::trust::Trust;
use crate::{Error, Result};

/// How long a socket and its handshake may take.
const DIAL_WAIT: Duration = Duration::from_secs(10);
/// How long a goodbye may take.
const GOODBYE_WAIT: Duration = Duration::from_secs(1);
/// The largest message the gateway may send.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What a read takes at most.
const READ_BYTES: usize = 4096;

/// Gives a token whenever one is needed.
pub(crate) type TokenSource = Arc<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// Where to connect to, and how.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    uri: Uri,
    authority: String,
    is_websocket: bool,
    /// By whom to know the gateway, over TLS.
    trust: Option<Trust>,
}

/// What happened to the socket.
pub(crate) enum LinkEvent {
    /// It is there, and so is a token to say hello with.
    Connected(String),
    /// The gateway wrote.
    Bytes(Bytes),
    /// What was to be written is on its way; there may be more.
    Written,
    /// It is gone, or could not be made.
    Closed(Option<CloseCode>, String),
}

/// The socket that is, is being made, or is not.
pub(crate) struct Link {
    target: Target,
    tokens: TokenSource,
    state: State,
    /// What waits for the socket; filled only when empty.
    output: Vec<u8>,
}

/// Bytes to the gateway and from it.
type Stream = MaybeTlsStream<TcpStream>;

enum State {
    Down,
    Dialing(BoxFuture<'static, Result<(Socket, String), String>>),
    Up(Socket),
}

enum Socket {
    Tcp(Box<Stream>),
    WebSocket { socket: Box<WebSocketStream<Stream>>, closed: Option<(CloseCode, String)> },
}

impl Link {
    /// No socket yet.
    pub(crate) fn new(target: Target, tokens: TokenSource) -> Self {
        Self { target, tokens, state: State::Down, output: Vec::new() }
    }

    /// Begins to make a socket.
    pub(crate) fn dial(&mut self) {
        self.output.clear();
        self.state = State::Dialing(dial(self.target.clone(), Arc::clone(&self.tokens)).boxed());
    }

    /// Lets go of the socket.
    pub(crate) fn drop_socket(&mut self) {
        self.state = State::Down;
    }

    /// Whether bytes may be given to [`Link::write`].
    pub(crate) fn takes_output(&self) -> bool {
        matches!(self.state, State::Up(_)) && self.output.is_empty()
    }

    /// Bytes to write next.
    pub(crate) fn write(&mut self, bytes: Vec<u8>) {
        self.output = bytes;
    }

    /// Waits for something to happen; for ever, where there is no socket.
    pub(crate) async fn next(&mut self) -> LinkEvent {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Writes what is left and says goodbye, for a moment at most.
    pub(crate) async fn close(&mut self) {
        let State::Up(socket) = &mut self.state else { return };
        let goodbye = socket.say_goodbye(std::mem::take(&mut self.output));
        // The app goes either way.
        let _ = tokio::time::timeout(GOODBYE_WAIT, goodbye).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        let event = match &mut self.state {
            State::Down => return Poll::Pending,
            State::Dialing(dialing) => match ready!(dialing.as_mut().poll(cx)) {
                Ok((socket, token)) => {
                    self.state = State::Up(socket);
                    return Poll::Ready(LinkEvent::Connected(token));
                }
                Err(reason) => LinkEvent::Closed(None, reason),
            },
            State::Up(socket) => ready!(socket.poll(&mut self.output, cx)),
        };
        if matches!(event, LinkEvent::Closed(..)) {
            self.state = State::Down;
        }
        Poll::Ready(event)
    }
}

impl Socket {
    async fn say_goodbye(&mut self, bytes: Vec<u8>) -> Result<(), String> {
        match self {
            Socket::Tcp(socket) => {
                socket.write_all(&bytes).await.map_err(text)?;
                socket.shutdown().await.map_err(text)
            }
            Socket::WebSocket { socket, .. } => {
                if !bytes.is_empty() {
                    socket.send(Message::binary(bytes)).await.map_err(text)?;
                }
                // Of the stream itself: with some features a box of one closes as a sink does, without the frame.
                WebSocketStream::close(socket, None).await.map_err(text)
            }
        }
    }

    /// Writes what it can and reads: both at once, because a gateway that waits for us to read does not read itself.
    fn poll(&mut self, output: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<LinkEvent> {
        let had_output = !output.is_empty();
        let event = match self {
            Socket::Tcp(socket) => poll_tcp(socket, output, cx),
            Socket::WebSocket { socket, closed } => poll_websocket(socket, closed, output, cx),
        };
        match event {
            Ok(Poll::Ready(event)) => Poll::Ready(event),
            Ok(Poll::Pending) if had_output && output.is_empty() => Poll::Ready(LinkEvent::Written),
            Ok(Poll::Pending) => Poll::Pending,
            Err(reason) => Poll::Ready(LinkEvent::Closed(None, reason)),
        }
    }
}

fn poll_tcp(
    socket: &mut Stream,
    output: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Result<Poll<LinkEvent>, String> {
    while !output.is_empty() {
        let Poll::Ready(written) = Pin::new(&mut *socket).poll_write(cx, output) else { break };
        output.drain(..written.map_err(text)?);
    }
    // What TLS has encrypted and the kernel did not take is flushed at a later turn.
    let _ = Pin::new(&mut *socket).poll_flush(cx).map_err(text)?;
    let mut space = [0; READ_BYTES];
    let mut buffer = ReadBuf::new(&mut space);
    let Poll::Ready(read) = Pin::new(socket).poll_read(cx, &mut buffer) else { return Ok(Poll::Pending) };
    read.map_err(text)?;
    Ok(Poll::Ready(match buffer.filled() {
        [] => LinkEvent::Closed(None, "the gateway closed the connection".into()),
        bytes => LinkEvent::Bytes(Bytes::copy_from_slice(bytes)),
    }))
}

fn poll_websocket(
    socket: &mut WebSocketStream<Stream>,
    closed: &mut Option<(CloseCode, String)>,
    output: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Result<Poll<LinkEvent>, String> {
    if !output.is_empty() && socket.poll_ready_unpin(cx).map_err(text)?.is_ready() {
        socket.start_send_unpin(Message::binary(std::mem::take(output))).map_err(text)?;
    }
    // What the kernel does not take now stays in the socket's buffer and is flushed at a later turn.
    let _ = socket.poll_flush_unpin(cx).map_err(text)?;
    loop {
        let Poll::Ready(message) = socket.poll_next_unpin(cx) else { return Ok(Poll::Pending) };
        match (message, closed.take()) {
            (Some(Ok(Message::Binary(bytes))), _) => return Ok(Poll::Ready(LinkEvent::Bytes(bytes))),
            (Some(Ok(Message::Close(Some(frame)))), _) => {
                *closed = Some((CloseCode(frame.code.into()), frame.reason.as_str().to_owned()));
            }
            (Some(Ok(_)), already) => *closed = already,
            (_, Some((code, reason))) => return Ok(Poll::Ready(LinkEvent::Closed(Some(code), reason))),
            (Some(Err(error)), None) => return Err(text(error)),
            (None, None) => return Err("the gateway closed the connection".into()),
        }
    }
}

async fn dial(target: Target, tokens: TokenSource) -> Result<(Socket, String), String> {
    let token = tokens().await.map_err(|error| format!("no token: {error}"))?;
    let socket = tokio::time::timeout(DIAL_WAIT, target.connect()).await;
    Ok((socket.map_err(|_| "connecting took too long".to_owned())??, token))
}

impl Target {
    /// `ws://host:port/v1/ws` or `tcp://host:port`; over TLS, `wss://…` or `tls://…`, to a gateway that can be known by one of
    /// the `trusted` certificates (PEM) or, where there are none, by the system's.
    pub(crate) fn parse(url: &str, trusted: &[Vec<u8>]) -> Result<Self> {
        let wrong = |reason| Error::Address { url: url.to_owned(), reason };
        let uri: Uri = url.parse().map_err(|_| wrong("it is not a URL"))?;
        let (is_websocket, is_tls) = match uri.scheme_str() {
            Some("ws") => (true, false),
            Some("wss") => (true, true),
            Some("tcp") => (false, false),
            Some("tls") => (false, true),
            _ => return Err(wrong("it starts with none of ws://, wss://, tcp:// and tls://")),
        };
        let host = uri.host().ok_or_else(|| wrong("it names no host"))?;
        let port = match (uri.port_u16(), is_websocket) {
            (Some(port), _) => port,
            (None, true) => {
                if is_tls {
                    443
                } else {
                    80
                }
            }
            (None, false) => return Err(wrong("it names no port")),
        };
        let trust = if is_tls { Some(Trust::new(host, trusted)?) } else { None };
        Ok(Self { authority: format!("{host}:{port}"), uri, is_websocket, trust })
    }

    async fn connect(&self) -> Result<Socket, String> {
        let stream = TcpStream::connect(&self.authority).await.map_err(text)?;
        // A message is written whole; waiting for more would only delay it.
        stream.set_nodelay(true).map_err(text)?;
        let stream = match &self.trust {
            None => Stream::Plain(stream),
            Some(trust) => {
                let connector = TlsConnector::from(Arc::clone(&trust.config));
                Stream::Rustls(connector.connect(trust.name.clone(), stream).await.map_err(text)?)
            }
        };
        if !self.is_websocket {
            return Ok(Socket::Tcp(Box::new(stream)));
        }
        let request = ClientRequestBuilder::new(self.uri.clone()).with_sub_protocol(SUBPROTOCOL_BINARY);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(MESSAGE_BYTES_MAX)
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        let upgraded = tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await;
        let (socket, _) = upgraded.map_err(text)?;
        Ok(Socket::WebSocket { socket: Box::new(socket), closed: None })
    }
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}
