//! Decoding takes memory in proportion to the bytes at hand, whatever they claim; encoding takes none but the buffer.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use carillon_protocol::binary::{
    decode_event, encode_event, encode_event_frame, encode_events_frame, event_header,
};
use carillon_protocol::{Decoded, Event, Frame, decode, encode, json};
use common::raw::{sized, varint};
use common::{FRAME_BYTES_MAX, encoded, events, frames};
use proptest::collection::vec;
use proptest::prelude::*;

thread_local! {
    static ALLOCATED_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Counts what each thread asks for.
struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED_BYTES.with(|bytes| bytes.set(bytes.get() + layout.size()));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from `alloc` above with the same layout, so from the system.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What `f` allocated, freed or not.
fn allocated_bytes<T>(f: impl FnOnce() -> T) -> (usize, T) {
    let before = ALLOCATED_BYTES.get();
    let value = f();
    (ALLOCATED_BYTES.get() - before, value)
}

/// An item of a list takes less in memory than so many times its bytes.
const BYTES_PER_BYTE: usize = 10;
/// JSON is read in two steps: fields first, what they hold after.
const JSON_BYTES_PER_BYTE: usize = 64;
/// For the sentence of an error.
const BYTES_AT_LEAST: usize = 512;

fn assert_decoding_is_cheap(bytes: &[u8]) {
    let limit = BYTES_AT_LEAST + BYTES_PER_BYTE * bytes.len();
    let (frame, _) = allocated_bytes(|| drop(decode(bytes, FRAME_BYTES_MAX)));
    let (event, _) = allocated_bytes(|| drop(decode_event(bytes)));
    let (header, _) = allocated_bytes(|| event_header(bytes));
    assert!(frame <= limit && event <= limit, "{frame} and {event} bytes for {}", bytes.len());
    assert_eq!(header, 0);

    let text = String::from_utf8_lossy(bytes);
    let (json, _) = allocated_bytes(|| drop(json::decode(&text)));
    assert!(json <= BYTES_AT_LEAST + JSON_BYTES_PER_BYTE * text.len(), "{json} bytes for {text}");
}

/// Bytes with some of them changed, and their end cut.
fn damage(mut bytes: Vec<u8>, changes: Vec<(prop::sample::Index, u8)>, cut: prop::sample::Index) -> Vec<u8> {
    for (at, value) in changes {
        let at = at.index(bytes.len());
        bytes[at] = value;
    }
    bytes.truncate(cut.index(bytes.len() + 1));
    bytes
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    let byte = prop_oneof![any::<u8>(), Just(0xff), Just(0)];
    vec((any::<prop::sample::Index>(), byte), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn of_arbitrary_bytes(bytes in vec(any::<u8>(), 0..300)) {
        assert_decoding_is_cheap(&bytes);
    }

    #[test]
    fn of_a_damaged_frame(frame in frames(), changes in changes(), cut in any::<prop::sample::Index>()) {
        assert_decoding_is_cheap(&damage(encoded(&frame), changes, cut));
    }

    #[test]
    fn of_a_damaged_event(event in events(), changes in changes(), cut in any::<prop::sample::Index>()) {
        let mut bytes = Vec::new();
        encode_event(&event, &mut bytes);
        assert_decoding_is_cheap(&damage(bytes, changes, cut));
    }

    #[test]
    fn of_damaged_json(frame in frames(), changes in changes(), cut in any::<prop::sample::Index>()) {
        assert_decoding_is_cheap(&damage(json::encode(&frame).into_bytes(), changes, cut));
    }

    #[test]
    fn encoding_fills_the_buffer_it_gets(frame in frames(), events in vec(events(), 0..5)) {
        let mut out = Vec::with_capacity(encoded(&frame).len() + 64);
        let (bytes, ()) = allocated_bytes(|| encode(&frame, &mut out));
        prop_assert_eq!(bytes, 0, "{}", frame.name());

        let stored: Vec<Vec<u8>> = events.iter().map(stored).collect();
        let mut out = Vec::with_capacity(100_000);
        let (bytes, ()) = allocated_bytes(|| {
            for (event, stored) in events.iter().zip(&stored) {
                encode_event(event, &mut out);
                encode_event_frame(stored, &mut out);
            }
            encode_events_frame(1, common::room(), 1, stored.iter().map(Vec::as_slice), &mut out);
        });
        prop_assert_eq!(bytes, 0);
    }

    #[test]
    fn texts_are_borrowed(text in common::texts()) {
        let bytes = encoded(&Frame::Refresh { request: 1, token: text.clone() });
        let (allocated, frame) = allocated_bytes(|| decode(&bytes, FRAME_BYTES_MAX));
        prop_assert_eq!(allocated, 0);
        prop_assert_eq!(frame, Ok(Decoded::Frame { frame: Frame::Refresh { request: 1, token: text }, used: bytes.len() }));
    }
}

fn stored(event: &Event<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_event(event, &mut bytes);
    bytes
}

#[test]
fn of_lists_that_claim_the_most() {
    // Kind, what stands before the list.
    let room = [7; 16];
    let lists: [(u8, Vec<u8>); 5] = [
        (0x02, [&[1][..], &room, &[0]].concat()),
        (0x03, [&[1][..], &room].concat()),
        (0x45, [&[1][..], &room, &[1]].concat()),
        (0x47, vec![1, 1]),
        (0x4d, [&[1][..], &room].concat()),
    ];
    for (number, before) in lists {
        for count in [1_000, 60_000, 1 << 20, 1 << 40, (1 << 62) - 1] {
            for filler in [0x00, 0x01, 0x16, 0xff] {
                let body = [&before[..], &varint(count), &[filler; 60_000]].concat();
                assert_decoding_is_cheap(&[&[number, 0][..], &sized(&body)].concat());
            }
        }
    }
}

#[test]
fn of_json_that_is_deep() {
    let deep = ["[".repeat(50_000), "]".repeat(50_000)].concat();
    for text in [
        format!(r#"{{"kind":"pong","stamp":{deep}}}"#),
        format!(r#"{{"kind":"pong","stamp":1,"new":{deep}}}"#),
        deep,
        r#"{"a":"#.repeat(50_000),
    ] {
        assert_decoding_is_cheap(text.as_bytes());
    }
}
