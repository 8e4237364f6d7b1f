//! Three servers are ready when they say so; one that is killed comes back on the same port with the same data; a frozen
//! one is stopped like any other.
#![allow(clippy::unwrap_used, reason = "a test panics where its fact does not hold")]

use std::net::TcpStream;

use carillon_devservers::Nats;

#[test]
fn a_killed_server_comes_back_where_it_was() {
    let mut nats = Nats::start_three().unwrap();
    let port = nats.port(1);
    nats.servers()[1].kill().unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    nats.servers()[1].restart().unwrap();
    nats.wait_until_ready().unwrap();
    TcpStream::connect(("127.0.0.1", port)).unwrap();
}

#[test]
fn a_frozen_server_is_stopped_like_any_other() {
    let mut nats = Nats::start().unwrap();
    let (port, folder) = (nats.port(0), nats.folder().to_owned());
    nats.servers()[0].pause().unwrap();
    drop(nats);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    assert!(!folder.exists());
}
