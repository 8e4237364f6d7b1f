//! Records come back as they were written, however many stand in a row, and no bytes at all make the parser panic or go on for
//! ever.

use carillon_gateway::log::record::{Malformed, Record, records, split, text_hash};
use carillon_protocol::{RoomId, UserId};
use proptest::prelude::*;

/// A record that owns its event.
#[derive(Clone, Debug)]
enum Owned {
    Event(u64, Vec<u8>),
    Read([u8; 16], u64, u64, u64, u64),
}

impl Owned {
    fn record(&self) -> Record<'_> {
        match *self {
            Self::Event(member_count, ref event) => Record::Event { member_count, event },
            Self::Read(room, user, seq, ordinal, at_ms) => Record::Read {
                room: RoomId::from_bytes(room),
                user: UserId::new(user).unwrap(),
                seq,
                ordinal,
                at_ms,
            },
        }
    }
}

fn record() -> impl Strategy<Value = Owned> {
    let number = 0..=carillon_protocol::varint::MAX;
    prop_oneof![
        (number.clone(), prop::collection::vec(any::<u8>(), 0..100))
            .prop_map(|(count, event)| Owned::Event(count, event)),
        (any::<[u8; 16]>(), 1..=UserId::MAX.get(), number.clone(), number.clone(), number)
            .prop_map(|(room, user, seq, ordinal, at_ms)| Owned::Read(room, user, seq, ordinal, at_ms)),
    ]
}

fn encode(all: &[Owned]) -> Vec<u8> {
    let mut bytes = Vec::new();
    all.iter().for_each(|record| record.record().encode(&mut bytes));
    bytes
}

proptest! {
    #[test]
    fn in_any_number(all in prop::collection::vec(record(), 0..20)) {
        let bytes = encode(&all);
        let read: Result<Vec<_>, _> = records(&bytes).collect();
        prop_assert_eq!(read.unwrap(), all.iter().map(Owned::record).collect::<Vec<_>>());
    }

    #[test]
    fn cut_anywhere_they_end_in_one_error(record in record(), cut in any::<prop::sample::Index>()) {
        let bytes = encode(&[record]);
        let cut = &bytes[..cut.index(bytes.len() - 1) + 1];
        if cut.len() < bytes.len() {
            prop_assert_eq!(records(cut).collect::<Vec<_>>(), [Err(Malformed::Cut)]);
        }
    }

    #[test]
    fn any_bytes_are_split_without_losing_one(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let whole: usize = split(&bytes).flatten().map(<[u8]>::len).sum();
        let cut_short = split(&bytes).any(|record| record.is_err());
        prop_assert_eq!(whole < bytes.len(), cut_short);
        prop_assert_eq!(records(&bytes).count(), split(&bytes).count());
    }
}

#[test]
fn a_record_of_a_newer_version_is_an_error_and_the_rest_is_read() {
    let bytes = [&[9, 2, 1, 1], &encode(&[Owned::Event(3, b"event".to_vec())])[..]].concat();
    let read: Vec<_> = records(&bytes).collect();
    assert_eq!(read, [Err(Malformed::Kind(9)), Ok(Record::Event { member_count: 3, event: b"event" })]);
    assert!(Malformed::Kind(9).to_string().contains("newer version"));
}

#[test]
fn a_read_marker_of_a_log_that_knew_no_times_is_read_without_one() {
    let bytes = [&[2, 19][..], &[7; 16], &[5, 3, 2]].concat();
    let (room, user) = (RoomId::from_bytes([7; 16]), UserId::new(5).unwrap());
    assert_eq!(
        records(&bytes).collect::<Vec<_>>(),
        [Ok(Record::Read { room, user, seq: 3, ordinal: 2, at_ms: 0 })]
    );
}

#[test]
fn a_body_that_makes_no_sense_is_an_error_in_its_place() {
    let user_0 = [&[2, 20][..], &[7; 16], &[0, 1, 1, 1]].concat();
    let too_long = [&[2, 21][..], &[7; 16], &[1, 1, 1, 1, 1]].concat();
    assert_eq!(records(&user_0).collect::<Vec<_>>(), [Err(Malformed::Body(2))]);
    assert_eq!(records(&too_long).collect::<Vec<_>>(), [Err(Malformed::Body(2))]);
    assert_eq!(records(&[1, 0]).collect::<Vec<_>>(), [Err(Malformed::Body(1))]);
}

#[test]
fn a_text_hash_is_fnv_1a() {
    assert_eq!(text_hash(""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(text_hash("a"), 0xaf63_dc4c_8601_ec8c);
    assert_eq!(text_hash("foobar"), 0x8594_4171_f739_67e8);
}
