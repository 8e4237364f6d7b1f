//! Bytes that are no datagram change nothing, and those that are one are written as they were read.

use bytes::Bytes;
use carillon_gateway::cluster::datagram::{Datagram, Header, Malformed, Piece, append_piece};
use carillon_gateway::cluster::link::{Link, LinkConfig};
use carillon_gateway::cluster::view::NodeId;
use proptest::collection::vec;
use proptest::prelude::*;

const VARINT_MAX: u64 = (1 << 62) - 1;

fn header() -> impl Strategy<Value = Header> {
    let node = || (1_u64..).prop_map(|id| NodeId::new(id).unwrap());
    let number = || prop_oneof![0..100_u64, 0..=VARINT_MAX];
    (node(), node(), any::<bool>(), 1..=VARINT_MAX, number(), number(), number(), 1..=VARINT_MAX).prop_map(
        |(from, to, hello, epoch, peer_epoch, acknowledged, held_from, first)| Header {
            from,
            to,
            hello,
            epoch,
            peer_epoch,
            acknowledged,
            held_from,
            first,
        },
    )
}

fn piece() -> impl Strategy<Value = Piece> {
    (vec(any::<u8>(), 0..200), any::<bool>()).prop_map(|(bytes, more)| Piece { bytes: bytes.into(), more })
}

fn encode(header: &Header, pieces: &[Piece]) -> Vec<u8> {
    let mut out = Vec::new();
    header.encode(&mut out);
    pieces.iter().for_each(|piece| append_piece(piece, &mut out));
    out
}

proptest! {
    #[test]
    fn a_datagram_is_read_as_it_was_written(header in header(), pieces in vec(piece(), 0..8)) {
        let bytes: Bytes = encode(&header, &pieces).into();
        let datagram = Datagram::decode(&bytes).unwrap();
        prop_assert_eq!(datagram.header, header);
        prop_assert_eq!(datagram.pieces.collect::<Vec<_>>(), pieces);
    }

    #[test]
    fn a_link_stands_any_header(header in header(), pieces in vec(piece(), 0..8), numbers in vec(0..6_u64, 5)) {
        let [me, peer] = [7, 9].map(|id| NodeId::new(id).unwrap());
        let mut link = Link::new(me, peer, 1, LinkConfig::default());
        link.send(Bytes::from_static(b"ding")).unwrap();
        let near = Header {
            from: peer,
            to: me,
            epoch: numbers[0] + 1,
            peer_epoch: numbers[1],
            acknowledged: numbers[2],
            held_from: numbers[3],
            first: numbers[4] + 1,
            ..header
        };
        for (now_ms, header) in (1..).zip([near, Header { from: peer, to: me, ..header }, near]) {
            link.on_datagram(now_ms, &encode(&header, &pieces).into()).unwrap();
            while link.next().is_some() {
                link.taken();
            }
            while link.datagram_out(now_ms).is_some() {}
        }
    }

    #[test]
    fn any_bytes_are_a_datagram_or_refused(bytes in vec(any::<u8>(), 0..120)) {
        let _ = Datagram::decode(&bytes.into());
    }
}

#[test]
fn a_cut_datagram_is_refused_wherever_it_is_cut() {
    let node = |id| NodeId::new(id).unwrap();
    let header = Header {
        from: node(1),
        to: node(2),
        hello: false,
        epoch: 3,
        peer_epoch: 4,
        acknowledged: 5,
        held_from: 0,
        first: 6,
    };
    let piece = Piece { bytes: Bytes::from_static(b"ding dong"), more: false };
    let whole = encode(&header, std::slice::from_ref(&piece));
    let without = encode(&header, &[]).len();
    for len in (0..whole.len()).filter(|len| *len != without) {
        let cut = Bytes::copy_from_slice(&whole[..len]);
        assert_eq!(Datagram::decode(&cut), Err(Malformed::Cut), "{len}");
    }
    let mut later = whole;
    later[0] = 2;
    assert_eq!(Datagram::decode(&later.into()), Err(Malformed::Version(2)));
    let numberless = encode(&Header { first: 0, ..header }, &[piece]);
    assert_eq!(Datagram::decode(&numberless.into()), Err(Malformed::Zero));
}
