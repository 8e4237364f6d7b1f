//! Any bytes from another node: reading them ends, what was read is written as it was, and a link takes it without harm.
#![no_main]

use bytes::Bytes;
use carillon_gateway::cluster::datagram::{Datagram, append_piece};
use carillon_gateway::cluster::link::{Link, LinkConfig};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let bytes = Bytes::copy_from_slice(bytes);
    let Ok(datagram) = Datagram::decode(&bytes) else { return };
    let mut again = Vec::new();
    datagram.header.encode(&mut again);
    datagram.pieces.clone().for_each(|piece| append_piece(&piece, &mut again));
    let again = Bytes::from(again);
    assert_eq!(Datagram::decode(&again).as_ref(), Ok(&datagram));
    let mut link = Link::new(datagram.header.to, datagram.header.from, 1, LinkConfig::default());
    link.send(bytes).expect("a first batch is always taken");
    for now_ms in 0..2 {
        link.on_decoded(now_ms, &datagram.header, datagram.pieces.clone());
        while link.next().is_some() {
            link.taken();
        }
        while link.datagram_out(now_ms).is_some() {}
    }
});
