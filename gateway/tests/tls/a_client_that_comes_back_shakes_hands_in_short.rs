//! A second connection of a client resumes its first one's session, in TLS 1.3 and 1.2, and is counted so.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::{HandshakeKind, SupportedProtocolVersion};

use crate::client::{TLS12, TLS13, TlsNode, stream, trusting};
use crate::victims::{eventually, stats};

fn comes_back(versions: &'static [&SupportedProtocolVersion]) {
    let node = TlsNode::start();
    let config = Arc::new(trusting(node.files.path(), versions));
    let mut kinds = Vec::new();
    for _ in 0..3 {
        let mut stream = stream(&config, node.connect());
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: here\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("ok\n"), "{answer}");
        kinds.push(stream.conn.handshake_kind().unwrap());
    }
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed]);
    eventually(&node.node, "handshakes are counted", |stats| stats["tls_handshakes"] == 3);
    assert_eq!(stats(&node.node)["tls_resumed"], 2);
}

#[test]
fn with_tls_1_3() {
    comes_back(TLS13);
}

#[test]
fn with_tls_1_2() {
    comes_back(TLS12);
}
