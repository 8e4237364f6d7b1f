//! SIGHUP: who is connected stays, who connects is shown the new certificate, and files that cannot be used change nothing.

use std::process::Command;
use std::sync::Arc;

use carillon_gateway::auth::Keys;
use carillon_gateway::config::Config;
use rustls::ClientConfig;
use rustls::client::Resumption;

use crate::client::{Stream, TLS13, connect, make_certificate, stream, trusting};
use crate::harness::{Client, now_s, until, user};
use crate::process::Gateway;

#[test]
fn after_sighup() {
    let (data, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_certificate(files.path());
    let flag = |name: &str, file: &str| format!("--{name}={}", files.path().join(file).display());
    let (certificate, key) = (flag("tls-certificate", "cert.pem"), flag("tls-key", "key.pem"));
    let gateway = Gateway::start_with(&data, &["--tls-listen=127.0.0.1:0", &certificate, &key]);
    let address = gateway.said("over TLS on").parse().unwrap();
    let keys = Keys::open(&Config { data: data.path().to_owned(), ..Config::default() }).unwrap();
    let shakes = |trust: &Arc<ClientConfig>| {
        let mut stream = stream(trust, connect(address));
        stream.conn.complete_io(&mut stream.sock).is_ok()
    };
    let before = Arc::new(trusting(files.path(), TLS13));
    let mut client: Client<Stream> = Client::on(stream(&before, connect(address)));
    client.hello(&keys.mint(user(1), 3600, now_s()).unwrap(), "device");
    let room = client.create_room(&[]);
    let hang_up = || Command::new("kill").args(["-HUP", &gateway.id().to_string()]).status().unwrap();

    make_certificate(files.path());
    let after = Arc::new(trusting(files.path(), TLS13));
    assert!(!shakes(&after), "nobody was told of the new one");
    hang_up();
    until("the new certificate is shown", || shakes(&after));
    // The old one's tickets would do; a client without is not deceived.
    let mut stranger = (*before).clone();
    stranger.resumption = Resumption::disabled();
    let stranger = Arc::new(stranger);
    until("the old certificate is shown to nobody", || !shakes(&stranger));
    assert_eq!(client.send(room, "still here"), 2);

    std::fs::write(files.path().join("key.pem"), "none").unwrap();
    hang_up();
    assert_eq!(client.send(room, "and here"), 3);
    assert!(shakes(&after));
    assert_eq!(gateway.stop(), Some(0));
}
