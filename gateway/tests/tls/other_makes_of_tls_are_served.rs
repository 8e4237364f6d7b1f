//! OpenSSL, by way of Python: over TLS 1.3 and 1.2, with and without ALPN. A cut instead of an end would be an error there.

use std::process::Command;

use crate::client::TlsNode;
use crate::process::stdout_of;

const SCRIPT: &str = r#"
import socket, ssl, sys
port, certificate = int(sys.argv[1]), sys.argv[2]
for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    for protocols in ([], ["h2", "http/1.1"]):
        context = ssl.create_default_context(cafile=certificate)
        context.minimum_version = context.maximum_version = version
        if protocols:
            context.set_alpn_protocols(protocols)
        bare = socket.create_connection(("127.0.0.1", port), timeout=20)
        with context.wrap_socket(bare, server_hostname="localhost", suppress_ragged_eofs=False) as stream:
            stream.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while more := stream.recv(4096):
                answer += more
            print(stream.version(), stream.selected_alpn_protocol(), answer.split(b"\r\n\r\n")[1].decode().strip())
"#;

#[test]
fn openssl() {
    let node = TlsNode::start();
    let (port, certificate) = (node.address.port().to_string(), node.certificate());
    let said = Command::new("python3").args(["-c", SCRIPT, &port, &certificate]).output().unwrap();
    let lines = "TLSv1.2 None ok\nTLSv1.2 http/1.1 ok\nTLSv1.3 None ok\nTLSv1.3 http/1.1 ok\n";
    assert_eq!(stdout_of(said), lines);
}
