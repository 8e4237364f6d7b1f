//! What is in a message of the log's streams is what was put there. Anything else is noticed, whatever bytes come.

use carillon_gateway::log::Batch;
use carillon_gateway::log::jetstream::message::{Author, Header, Malformed, Message};
use proptest::prelude::*;

fn header() -> impl Strategy<Value = Header> {
    let numbers = (any::<u16>(), any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>(), 1..u64::MAX / 2);
    numbers.prop_map(|(partition, node, epoch, number, delivered, first)| {
        let author = Author { node, epoch, number };
        Header { partition, author, delivered, first }
    })
}

fn records() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..10)
}

proptest! {
    #[test]
    fn as_it_was_written(header in header(), records in records()) {
        let bytes = header.encode(records.iter().map(Vec::as_slice));
        let read = Message::decode(&bytes).unwrap();
        prop_assert_eq!(read.header, header);
        prop_assert_eq!(read.last(), header.first - 1 + records.len() as u64);
        let expected = (header.first..).zip(records).map(|(position, records)| {
            Batch { partition: header.partition, position, records }
        });
        prop_assert!(read.batches().eq(expected));
    }

    #[test]
    fn any_wrong_bit_is_noticed(header in header(), records in records(), bit in any::<prop::sample::Index>()) {
        let mut bytes = header.encode(records.iter().map(Vec::as_slice)).to_vec();
        let bit = bit.index(8 * bytes.len());
        bytes[bit / 8] ^= 1 << (bit % 8);
        let refused = Message::decode(&bytes).unwrap_err();
        prop_assert!(matches!(refused, Malformed::Checksum | Malformed::Newer(_)), "{refused}");
    }

    #[test]
    fn any_end_that_is_missing_is_noticed(header in header(), records in records(), end in any::<prop::sample::Index>()) {
        let bytes = header.encode(records.iter().map(Vec::as_slice));
        prop_assert!(Message::decode(&bytes[..end.index(bytes.len())]).is_err());
    }

    #[test]
    fn any_bytes_end_well(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        _ = Message::decode(&bytes);
        if let Ok(read) = Message::read(&bytes) {
            prop_assert_eq!(read.batches().count(), read.batches as usize);
        }
    }
}
