//! A CQL server answers when it says so, is killed, frozen and started again, and is gone with its folder when it is dropped.
#![allow(clippy::unwrap_used, reason = "a test panics where its fact does not hold")]

use std::net::TcpStream;

use carillon_devservers::Cql;

#[test]
fn it_comes_back_where_it_was_and_goes_when_it_is_dropped() {
    let mut cql = Cql::start().unwrap();
    let (address, folder) = (cql.address(), cql.folder().to_owned());
    cql.kill().unwrap();
    cql.restart().unwrap();
    assert_eq!(cql.address(), address);
    TcpStream::connect(&address).unwrap();
    cql.pause().unwrap();
    drop(cql);
    assert!(TcpStream::connect(&address).is_err());
    assert!(!folder.exists());
}
