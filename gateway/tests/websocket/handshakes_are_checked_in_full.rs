//! RFC 6455, 4.2: what a handshake must have, what it may have, and what is said where it does not.

use carillon_gateway::config::{Config, Settings, Sources};
use carillon_gateway::encoded::Format;
use carillon_gateway::transport::http::{Asked, HEAD_BYTES_MAX, parse, write_upgrade};

/// The RFC's own example (1.3).
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const GOOD: &[(&str, &str)] = &[
    ("Host", "example.com"),
    ("Upgrade", "websocket"),
    ("Connection", "Upgrade"),
    ("Sec-WebSocket-Key", KEY),
    ("Sec-WebSocket-Version", "13"),
];

fn request(line: &str, headers: &[(&str, &str)]) -> String {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{line}\r\n{headers}\r\n")
}

/// The good handshake with one header changed, added (when it is not in it), or left out (when the value is empty).
fn with(name: &str, value: &str) -> String {
    let mut headers: Vec<(&str, &str)> = GOOD.iter().copied().filter(|(known, _)| *known != name).collect();
    if !value.is_empty() {
        headers.push((name, value));
    }
    request("GET /v1/ws HTTP/1.1", &headers)
}

fn status(request: &str) -> u16 {
    parse(request.as_bytes(), &[]).map_or_else(
        |refusal| refusal.status,
        |asked| match asked {
            Some(Asked::Upgrade(_)) => 101,
            Some(Asked::Get { .. }) => 200,
            None => 0,
        },
    )
}

#[test]
fn the_rfcs_example_gets_the_rfcs_answer() {
    let request = request("GET /v1/ws HTTP/1.1", GOOD) + "frames follow";
    let Ok(Some(Asked::Upgrade(upgrade))) = parse(request.as_bytes(), &[]) else { panic!() };
    assert_eq!(&request[upgrade.head_bytes..], "frames follow");
    assert_eq!(upgrade.format, Format::WebSocket);
    let mut answer = Vec::new();
    write_upgrade(&mut answer, &upgrade);
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains(&format!("\r\nSec-WebSocket-Accept: {ACCEPT}\r\n")), "{answer}");
    assert!(!answer.contains("Sec-WebSocket-Protocol"), "none was offered, so none is named");
    assert!(answer.ends_with("\r\n\r\n"));
}

#[test]
fn a_refusal_says_what_to_change() {
    let old = with("Sec-WebSocket-Version", "8");
    let answer = String::from_utf8(parse(old.as_bytes(), &[]).unwrap_err().response()).unwrap();
    for header in ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"] {
        assert!(answer.contains(&format!("\r\n{header}\r\n")), "{header} is missing in {answer}");
    }
    assert_eq!(status(&request("GET /v1/ws HTTP/2.0", GOOD)), 505);
}

#[test]
fn liberties_are_taken() {
    assert_eq!(status(&with("Upgrade", "WebSocket")), 101);
    assert_eq!(status(&with("Upgrade", "h2c, websocket")), 101);
    assert_eq!(status(&with("Connection", "keep-alive, upgrade")), 101);
    assert_eq!(status(&with("Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits")), 101);
    assert_eq!(status(&with("Origin", "https://anywhere.example")), 101);
    assert_eq!(status(&with("Content-Length", "0")), 101);
    assert_eq!(status(&request("GET /v1/ws?x=1 HTTP/1.1", GOOD)), 101);
    assert_eq!(status(&request("GET http://example.com/v1/ws HTTP/1.1", GOOD)), 101);
}

#[test]
fn what_is_missing_or_wrong_is_said() {
    assert_eq!(status(&with("Host", "")), 400);
    assert_eq!(status(&(with("Host", "a").replace("\r\n\r\n", "\r\nHost: b\r\n\r\n"))), 400);
    assert_eq!(status(&with("Content-Length", "5")), 400);
    assert_eq!(status(&with("Transfer-Encoding", "chunked")), 400);
    assert_eq!(status(&with("Upgrade", "")), 426);
    assert_eq!(status(&with("Upgrade", "h2c")), 426);
    assert_eq!(status(&with("Connection", "")), 426);
    assert_eq!(status(&with("Connection", "close")), 426);
    assert_eq!(status(&with("Sec-WebSocket-Version", "")), 426);
    assert_eq!(status(&with("Sec-WebSocket-Version", "8")), 426);
    for key in
        ["", "short", "AAAA", &format!("{KEY}AAAA"), "dGhlIHNhbXBsZSBub25jZQ=", "!!!!!!!!!!!!!!!!!!!!!!=="]
    {
        assert_eq!(status(&with("Sec-WebSocket-Key", key)), 400, "{key:?}");
    }
    assert_eq!(status(&request("GET /v1/ws HTTP/1.0", GOOD)), 400);
    assert_eq!(status(&request("POST /v1/ws HTTP/1.1", GOOD)), 405);
    assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), 400, "no Host");
    assert_eq!(status("GET / HTTP/1.0\r\n\r\n"), 200, "which had none yet");
    assert_eq!(status("GET\r\n\r\n"), 400);
    assert_eq!(status("HELLO \u{1}\r\n\r\n"), 400);
    let refusal = parse(with("Sec-WebSocket-Version", "8").as_bytes(), &[]).unwrap_err();
    let answer = String::from_utf8(refusal.response()).unwrap();
    assert!(answer.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{answer}");
}

#[test]
fn the_first_subprotocol_that_is_spoken_here_is_chosen() {
    let chosen = |offered: &str| match parse(with("Sec-WebSocket-Protocol", offered).as_bytes(), &[]) {
        Ok(Some(Asked::Upgrade(upgrade))) => {
            let mut answer = Vec::new();
            write_upgrade(&mut answer, &upgrade);
            let answer = String::from_utf8(answer).unwrap();
            let name = answer.split("Sec-WebSocket-Protocol: ").nth(1).unwrap().split("\r\n").next().unwrap();
            (name.to_owned(), upgrade.format)
        }
        other => (format!("{other:?}"), Format::Raw),
    };
    assert_eq!(chosen("carillon.v1"), ("carillon.v1".to_owned(), Format::WebSocket));
    assert_eq!(chosen("carillon.v1.json"), ("carillon.v1.json".to_owned(), Format::Json));
    assert_eq!(chosen("chat, carillon.v1.json, carillon.v1"), ("carillon.v1.json".to_owned(), Format::Json));
    assert_eq!(status(&with("Sec-WebSocket-Protocol", "mqtt, Carillon.V1")), 400);
}

#[test]
fn a_target_may_name_the_server_before_the_path() {
    let target = |sent: &str| {
        let request = request(&format!("GET {sent} HTTP/1.1"), &[("Host", "example.com")]);
        match parse(request.as_bytes(), &[]) {
            Ok(Some(Asked::Get { target, .. })) => target.to_owned(),
            other => format!("{other:?}"),
        }
    };
    assert_eq!(target("/healthz"), "/healthz");
    assert_eq!(target("http://example.com/healthz?a=b://c"), "/healthz?a=b://c");
    assert_eq!(target("http://example.com"), "/");
    assert_eq!(target("/a?next=http://example.com/b"), "/a?next=http://example.com/b");
}

#[test]
fn pages_of_other_origins_are_refused_once_origins_are_named() {
    let flags = vec![("allowed_origins", "https://chat.example.com".into())];
    let config: Config = Settings::load(&Sources { flags, ..Sources::default() }).unwrap().config;
    let allowed = |origin: &str| match parse(with("Origin", origin).as_bytes(), &config.allowed_origins) {
        Ok(_) => 101,
        Err(refusal) => refusal.status,
    };
    assert_eq!(allowed("https://chat.example.com"), 101);
    assert_eq!(allowed("https://evil.example.com"), 403);
    assert_eq!(allowed("null"), 403);
    assert_eq!(
        allowed("https://evil.example\r\nOrigin: https://chat.example.com"),
        403,
        "one good one is not enough"
    );
    assert_eq!(allowed("https://chat.example.com\r\nOrigin: https://evil.example"), 403);
    assert_eq!(allowed(""), 101, "not a browser");
}

#[test]
fn a_request_is_waited_for_and_not_for_ever() {
    let whole = request("GET /v1/ws HTTP/1.1", GOOD);
    for cut in 0..whole.len() {
        assert_eq!(status(&whole[..cut]), 0, "cut at {cut}");
    }
    let long = "x".repeat(HEAD_BYTES_MAX);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\nCookie: {long}")), 431);
    let many: Vec<_> = (0..80).map(|_| ("X", "y")).collect();
    assert_eq!(status(&request("GET / HTTP/1.1", &many)), 431);
}
