//! However a session ends from this side (an answer that is all, a refusal, SIGTERM) `close_notify` is the last of it, so
//! that a client can tell an end from a cut. A reader here fails where a connection ends without.

use std::io::{Read, Write};
use std::sync::Arc;

use carillon_gateway::auth::Keys;
use carillon_gateway::config::Config;
use carillon_protocol::{CloseCode, ErrorCode, Frame};

use crate::client::{TLS13, TlsNode, connect, make_certificate, stream, trusting};
use crate::harness::{Client, now_s, user};
use crate::process::Gateway;
use crate::victims::{Victims, bytes_of};

#[test]
fn after_an_answer() {
    let node = TlsNode::start();
    let mut stream = stream(&Arc::new(trusting(node.files.path(), TLS13)), node.connect());
    stream.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200 OK") && page.ends_with("</html>\n"), "{page}");
}

#[test]
fn after_a_refusal() {
    let node = TlsNode::start();
    let mut victims = Victims::on(&node.node);
    let mut client = Client::on(stream(&Arc::new(trusting(node.files.path(), TLS13)), node.connect()));
    client.stream.write_all(&bytes_of(&Frame::Ping { stamp: 1, heads: Vec::new() })).unwrap();
    let heard = client.hear_out();
    assert!(matches!(heard[..], [Frame::Error { code: ErrorCode::UNEXPECTED, .. }, ..]), "{heard:?}");
    drop(client);
    victims.are_alone_and_well(&node.node);
}

#[test]
fn when_the_node_is_told_to_stop() {
    let (data, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_certificate(files.path());
    let flag = |name: &str, file: &str| format!("--{name}={}", files.path().join(file).display());
    let (certificate, key) = (flag("tls-certificate", "cert.pem"), flag("tls-key", "key.pem"));
    let gateway = Gateway::start_with(&data, &["--tls-listen=127.0.0.1:0", &certificate, &key]);
    let address = gateway.said("over TLS on");
    assert_eq!(gateway.said("open"), format!("https://{address}/"));
    let keys = Keys::open(&Config { data: data.path().to_owned(), ..Config::default() }).unwrap();
    let trust = Arc::new(trusting(files.path(), TLS13));
    let mut clients: Vec<_> = (1..=50)
        .map(|number| {
            let mut client = Client::on(stream(&trust, connect(address.parse().unwrap())));
            client.hello(&keys.mint(user(number), 3600, now_s()).unwrap(), "device");
            client
        })
        .collect();
    gateway.terminate();
    for client in &mut clients {
        let heard = client.hear_out();
        assert!(heard.iter().any(|frame| matches!(frame, Frame::GoAway { .. })), "{heard:?}");
        let last = heard.last().unwrap();
        assert!(matches!(last, Frame::Error { code, .. } if code.0 == CloseCode::GO_AWAY.0), "{last:?}");
    }
    assert_eq!(gateway.stop(), Some(0));
}
