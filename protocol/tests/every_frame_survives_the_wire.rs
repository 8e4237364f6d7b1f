//! What one end encodes the other decodes to the same frame, in both forms, whole or in pieces.

mod common;

use carillon_protocol::binary::{
    decode_event, encode_event, encode_event_frame, encode_events_frame, event_header,
};
use carillon_protocol::id::INT_MAX;
use carillon_protocol::{Decoded, Frame, Malformed, decode, encode, json, varint};
use common::{FRAME_BYTES_MAX, decoded, encoded, events, frames, ints, rooms};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    #[test]
    fn through_bytes(frame in frames()) {
        let bytes = encoded(&frame);
        prop_assert_eq!(decoded(&bytes), frame);
    }

    #[test]
    fn through_json(frame in frames()) {
        let text = json::encode(&frame);
        prop_assert_eq!(json::decode(&text).unwrap(), frame);
    }

    #[test]
    fn owning_its_texts(frame in frames()) {
        let bytes = encoded(&frame);
        let owned = decoded(&bytes).into_owned();
        drop(bytes);
        prop_assert_eq!(owned, frame);
    }

    #[test]
    fn any_prefix_is_incomplete(frame in frames()) {
        let bytes = encoded(&frame);
        for len in 0..bytes.len() {
            prop_assert_eq!(decode(&bytes[..len], FRAME_BYTES_MAX), Ok(Decoded::Incomplete), "{} bytes", len);
        }
    }

    #[test]
    fn as_large_as_the_reader_takes_and_no_larger(frame in frames()) {
        let bytes = encoded(&frame);
        let used = bytes.len();
        prop_assert_eq!(decode(&bytes, used), Ok(Decoded::Frame { frame, used }));
        let header_len = 2 + varint::read(&bytes[2..]).unwrap().1;
        let too_large = Malformed::TooLarge { bytes: used as u64, bytes_max: used - 1 };
        prop_assert_eq!(decode(&bytes[..header_len], used - 1), Err(too_large));
    }

    #[test]
    fn with_numbers_cut_to_what_every_reader_holds(stamp in INT_MAX..) {
        let frame = Frame::Pong { stamp };
        let cut = Frame::Pong { stamp: INT_MAX };
        let (bytes, text) = (encoded(&frame), json::encode(&frame));
        prop_assert_eq!(decoded(&bytes), cut.clone());
        prop_assert_eq!(json::decode(&text), Ok(cut));
    }

    #[test]
    fn several_back_to_back(frames in vec(frames(), 1..6)) {
        let mut bytes = Vec::new();
        for frame in &frames {
            encode(frame, &mut bytes);
        }
        let mut rest = &bytes[..];
        for frame in frames {
            let Ok(Decoded::Frame { frame: first, used }) = decode(rest, FRAME_BYTES_MAX) else {
                panic!("{frame:?} is lost")
            };
            prop_assert_eq!(first, frame);
            rest = &rest[used..];
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn an_event_by_itself_is_the_body_of_its_frame(event in events()) {
        let mut bytes = Vec::new();
        encode_event(&event, &mut bytes);
        prop_assert_eq!(decode_event(&bytes).unwrap(), event.clone());

        let header = event_header(&bytes).unwrap();
        prop_assert_eq!(
            (header.room, header.seq, header.ordinal, header.at_ms, header.sender, header.kind),
            (event.room, event.seq, event.ordinal, event.at_ms, event.sender, event.body.kind())
        );

        let mut frame = Vec::new();
        encode_event_frame(&bytes, &mut frame);
        prop_assert!(frame.ends_with(&bytes));
        prop_assert_eq!(frame, encoded(&Frame::Event(event)));
    }

    #[test]
    fn stored_events_make_the_same_frame(
        request in ints(), room in rooms(), head_seq in ints(), events in vec(events(), 0..9)
    ) {
        let stored: Vec<Vec<u8>> = events
            .iter()
            .map(|event| {
                let mut bytes = Vec::new();
                encode_event(event, &mut bytes);
                bytes
            })
            .collect();
        let mut frame = Vec::new();
        encode_events_frame(request, room, head_seq, stored.iter().map(Vec::as_slice), &mut frame);
        prop_assert_eq!(frame, encoded(&Frame::Events { request, room, head_seq, events }));
    }
}
