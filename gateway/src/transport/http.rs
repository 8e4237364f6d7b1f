//! HTTP, as far as this port speaks it: upgrades to WebSocket (RFC 6455, 4.2), and GETs of a few small things.
//!
//! One request a connection: an answer other than an upgrade ends it.

use carillon_protocol::{SUBPROTOCOL_BINARY, SUBPROTOCOL_JSON};
use httparse::{EMPTY_HEADER, Request, Status};
use tungstenite::handshake::derive_accept_key;

use crate::config::WebOrigin;
use crate::encoded::Format;
use crate::page::Response;

/// Where WebSockets are.
pub const WEBSOCKET_PATH: &str = "/v1/ws";

/// The longest head of a request; a longer one is refused with 431.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// The most headers in it.
const HEADERS_MAX: usize = 64;
/// The version of WebSocket spoken here (RFC 6455, 4.1).
const WEBSOCKET_VERSION: &str = "13";

/// What a browser is told to hold the page to: nothing from elsewhere, no inline script, no guessing of types; and to
/// ask again after an upgrade of this program.
const PAGE_HEADERS: &str = "Content-Security-Policy: default-src 'self'; connect-src 'self' ws: wss:\r\n\
    X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-cache\r\n";

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Asked<'a> {
    /// To go on as a WebSocket.
    Upgrade(Upgrade),
    /// A resource.
    Get {
        /// Path and query.
        target: &'a str,
        /// Whether the body is wanted too (GET), or only what would be said of it (HEAD).
        with_body: bool,
    },
}

/// An upgrade that may be granted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upgrade {
    /// How many bytes the request took; frames may follow.
    pub head_bytes: usize,
    /// How frames will travel.
    pub format: Format,
    accept_key: String,
    /// The subprotocol to name, where the client named some.
    subprotocol: Option<&'static str>,
}

/// Why a request is not granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// A sentence for whoever wrote the client.
    pub sentence: &'static str,
    /// Headers that the status asks for.
    headers: &'static str,
}

impl Refusal {
    const fn new(status: u16, sentence: &'static str) -> Self {
        Self { status, sentence, headers: "" }
    }

    const fn bad(sentence: &'static str) -> Self {
        Self::new(400, sentence)
    }

    const UPGRADE: Self = Self {
        status: 426,
        sentence: "This is a WebSocket: connect to it with version 13.\n",
        headers: "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    };
    const METHOD: Self = Self {
        status: 405,
        sentence: "Only GET and HEAD are known here.\n",
        headers: "Allow: GET, HEAD\r\n",
    };

    /// The answer.
    pub fn response(&self) -> Vec<u8> {
        write_response(&Response::text(self.status, self.sentence), true, self.headers)
    }
}

/// The request at the start of `bytes`, once its head is whole. An empty list of origins lets any page connect.
pub fn parse<'a>(bytes: &'a [u8], allowed_origins: &[WebOrigin]) -> Result<Option<Asked<'a>>, Refusal> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    let head_bytes = match request.parse(bytes) {
        Ok(Status::Complete(head_bytes)) if head_bytes <= HEAD_BYTES_MAX => head_bytes,
        Ok(Status::Partial) if bytes.len() <= HEAD_BYTES_MAX => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::new(431, "The head of the request is too large.\n"));
        }
        Err(httparse::Error::Version) => {
            return Err(Refusal::new(505, "HTTP/1.1 is spoken here.\n"));
        }
        Err(_) => return Err(Refusal::bad("That is not an HTTP request.\n")),
    };
    if request.version == Some(1) && header(&request, "host").is_none() {
        return Err(Refusal::bad("An HTTP/1.1 request names one Host.\n"));
    }
    let target = origin_form(request.path.unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    match (request.method, path) {
        (Some("GET"), WEBSOCKET_PATH) => {
            upgrade(&request, head_bytes, allowed_origins).map(|it| Some(Asked::Upgrade(it)))
        }
        (Some("GET"), _) => Ok(Some(Asked::Get { target, with_body: true })),
        (Some("HEAD"), _) => Ok(Some(Asked::Get { target, with_body: false })),
        _ => Err(Refusal::METHOD),
    }
}

/// Path and query of a target that may also name the server before them (RFC 9112, 3.2.2).
fn origin_form(target: &str) -> &str {
    match target.split_once("://") {
        Some(("http" | "https", rest)) => rest.find(['/', '?']).map_or("/", |path| &rest[path..]),
        _ => target,
    }
}

/// Checks a client's handshake, in the RFC's order (4.2.1).
fn upgrade(
    request: &Request<'_, '_>,
    head_bytes: usize,
    allowed_origins: &[WebOrigin],
) -> Result<Upgrade, Refusal> {
    if request.version != Some(1) {
        return Err(Refusal::bad("A WebSocket handshake needs HTTP/1.1.\n"));
    }
    // Whatever follows the head is taken for frames.
    if has_body(request) {
        return Err(Refusal::bad("A WebSocket handshake has no body.\n"));
    }
    if !has_token(request, "upgrade", "websocket") || !has_token(request, "connection", "upgrade") {
        return Err(Refusal::UPGRADE);
    }
    if header(request, "sec-websocket-version") != Some(WEBSOCKET_VERSION) {
        return Err(Refusal::UPGRADE);
    }
    let key = header(request, "sec-websocket-key").filter(|key| is_key(key));
    let key = key.ok_or(Refusal::bad("Sec-WebSocket-Key is not 16 bytes in base64.\n"))?;
    check_origin(request, allowed_origins)?;
    let (format, subprotocol) = subprotocol(request)?;
    Ok(Upgrade { head_bytes, format, accept_key: derive_accept_key(key.as_bytes()), subprotocol })
}

fn has_body(request: &Request<'_, '_>) -> bool {
    request.headers.iter().any(|header| {
        header.name.eq_ignore_ascii_case("transfer-encoding")
            || header.name.eq_ignore_ascii_case("content-length") && header.value != b"0"
    })
}

/// Browsers say which page connects; others do not, and are not held to it.
fn check_origin(request: &Request<'_, '_>, allowed: &[WebOrigin]) -> Result<(), Refusal> {
    let mut origins = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("origin"));
    // Each of them, as bytes: one that stands twice or is not text is no way around.
    let is_allowed =
        |origin: &[u8]| allowed.iter().any(|it| it.as_str().as_bytes().eq_ignore_ascii_case(origin));
    if allowed.is_empty() || origins.all(|header| is_allowed(header.value.trim_ascii())) {
        return Ok(());
    }
    Err(Refusal::new(403, "Pages of that origin may not connect.\n"))
}

/// The first of the client's subprotocols that is spoken here. A client that names none speaks the binary one.
fn subprotocol(request: &Request<'_, '_>) -> Result<(Format, Option<&'static str>), Refusal> {
    let mut offered = tokens(request, "sec-websocket-protocol").peekable();
    if offered.peek().is_none() {
        return Ok((Format::WebSocket, None));
    }
    let known = offered.find_map(|name| match name {
        SUBPROTOCOL_BINARY => Some((Format::WebSocket, Some(SUBPROTOCOL_BINARY))),
        SUBPROTOCOL_JSON => Some((Format::Json, Some(SUBPROTOCOL_JSON))),
        _ => None,
    });
    known.ok_or(Refusal::bad("The subprotocols spoken here are carillon.v1 and carillon.v1.json.\n"))
}

/// Sixteen bytes in base64: 22 digits and two equals signs.
fn is_key(key: &str) -> bool {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

/// A header's value; nothing where it is missing, stands there twice, or is not text.
fn header<'r>(request: &Request<'_, 'r>, name: &str) -> Option<&'r str> {
    let mut values = values(request, name);
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

fn values<'h, 'r>(request: &'h Request<'_, 'r>, name: &'h str) -> impl Iterator<Item = &'r str> + 'h {
    let named = request.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.filter_map(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
}

/// The words of a list that may stand in several headers.
fn tokens<'h, 'r>(request: &'h Request<'_, 'r>, name: &'h str) -> impl Iterator<Item = &'r str> + 'h {
    values(request, name).flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

fn has_token(request: &Request<'_, '_>, name: &str, token: &str) -> bool {
    tokens(request, name).any(|it| it.eq_ignore_ascii_case(token))
}

/// Appends the answer that makes the connection a WebSocket.
pub fn write_upgrade(out: &mut Vec<u8>, upgrade: &Upgrade) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    );
    out.extend_from_slice(format!("Sec-WebSocket-Accept: {}\r\n", upgrade.accept_key).as_bytes());
    if let Some(subprotocol) = upgrade.subprotocol {
        out.extend_from_slice(format!("Sec-WebSocket-Protocol: {subprotocol}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// The answer to a GET, or to a HEAD without its body.
pub fn response(response: &Response, with_body: bool) -> Vec<u8> {
    write_response(response, with_body, "")
}

/// An answer with the headers that every one has, and `more`.
fn write_response(response: &Response, with_body: bool, more: &str) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n{PAGE_HEADERS}{more}\r\n",
        response.status,
        reason(response.status),
        response.content_type,
        response.body.len(),
    );
    let mut bytes = head.into_bytes();
    if with_body {
        bytes.extend_from_slice(&response.body);
    }
    bytes
}

/// The words beside a status (RFC 9110, 15).
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
