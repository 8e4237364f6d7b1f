//! A WebSocket's memory: none for a message that came whole, none while nothing is under way, and never more than in
//! proportion to what has really come, whatever a header claims.
#![allow(missing_docs)]
#![allow(clippy::unwrap_used, reason = "a test panics where its fact does not hold")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::borrow::Cow;
use std::cell::Cell;

use carillon_gateway::transport::http;
use carillon_gateway::transport::websocket::{Read, Takes, WebSocket};

const MESSAGE_BYTES_MAX: usize = 64 << 20;

thread_local! {
    static HELD_BYTES: Cell<isize> = const { Cell::new(0) };
}

/// Counts what each thread holds.
struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD_BYTES.with(|held| held.set(held.get() + layout.size() as isize));
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD_BYTES.with(|held| held.set(held.get() - layout.size() as isize));
        // SAFETY: `at` came from `alloc` above with the same layout, so from the system.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// A frame's start with the key 0, under which bytes stay what they are.
fn header(first: u8, payload_bytes: u64) -> Vec<u8> {
    [&[first, 0x80 | 127][..], &payload_bytes.to_be_bytes(), &[0; 4]].concat()
}

#[test]
fn a_message_that_came_whole_is_borrowed() {
    let mut websocket = WebSocket::new(Takes::Both);
    for first in [0x81, 0x82] {
        let mut bytes = [&header(first, 70_000)[..], &[b'x'; 70_000]].concat();
        let before = HELD_BYTES.get();
        let read = websocket.read(&mut bytes, MESSAGE_BYTES_MAX).unwrap();
        assert_eq!(HELD_BYTES.get(), before);
        assert!(matches!(read, Read::Message { payload: Cow::Borrowed(_), .. }), "{first:x}");
    }
}

#[test]
fn a_claim_costs_nothing() {
    let mut websocket = WebSocket::new(Takes::Both);
    let (mut start, mut some) = (header(0x82, MESSAGE_BYTES_MAX as u64), vec![7; 1 << 16]);
    let before = HELD_BYTES.get();
    assert_eq!(websocket.read(&mut start, MESSAGE_BYTES_MAX), Ok(Read::Used(14)));
    assert!(HELD_BYTES.get() - before < 256, "{} bytes for a header", HELD_BYTES.get() - before);
    assert_eq!(websocket.read(&mut some, MESSAGE_BYTES_MAX), Ok(Read::Used(1 << 16)));
    assert!(HELD_BYTES.get() - before < 3 << 16, "{} bytes for 64 KiB", HELD_BYTES.get() - before);
}

#[test]
fn a_message_in_parts_never_holds_more_than_a_message_may_have() {
    const BYTES_MAX: usize = 100_000;
    let mut websocket = WebSocket::new(Takes::Both);
    let (mut start, before) = (header(0x82, BYTES_MAX as u64), HELD_BYTES.get());
    websocket.read(&mut start, BYTES_MAX).unwrap();
    for _ in 0..BYTES_MAX / 100 - 1 {
        websocket.read(&mut [7; 100], BYTES_MAX).unwrap();
        let held = HELD_BYTES.get() - before;
        assert!(held < BYTES_MAX as isize + 256, "{held} bytes are held");
    }
}

#[test]
fn what_came_is_let_go_with_its_message() {
    let mut websocket = WebSocket::new(Takes::Both);
    let (mut start, mut half, mut rest) = (header(0x82, 100_000), vec![7; 50_000], vec![7; 50_000]);
    let before = HELD_BYTES.get();
    assert_eq!(websocket.read(&mut start, MESSAGE_BYTES_MAX), Ok(Read::Used(14)));
    assert_eq!(websocket.read(&mut half, MESSAGE_BYTES_MAX), Ok(Read::Used(50_000)));
    let read = websocket.read(&mut rest, MESSAGE_BYTES_MAX).unwrap();
    let whole = |payload: &[u8]| payload.len() == 100_000;
    assert!(matches!(&read, Read::Message { payload: Cow::Owned(payload), .. } if whole(payload)));
    drop(read);
    assert_eq!(HELD_BYTES.get(), before);
}

#[test]
fn a_frame_over_the_limit_is_refused_from_its_header() {
    let mut websocket = WebSocket::new(Takes::Both);
    let mut start = header(0x82, MESSAGE_BYTES_MAX as u64 + 1);
    let before = HELD_BYTES.get();
    assert_eq!(websocket.read(&mut start, MESSAGE_BYTES_MAX).unwrap_err().code, 1009);
    assert_eq!(HELD_BYTES.get(), before);
}

#[test]
fn empty_fragments_without_end_pile_up_nothing() {
    let mut websocket = WebSocket::new(Takes::Both);
    let mut first = [0x01, 0x80, 0, 0, 0, 0];
    assert_eq!(websocket.read(&mut first, MESSAGE_BYTES_MAX), Ok(Read::Used(6)));
    let before = HELD_BYTES.get();
    for _ in 0..10_000 {
        let mut next = [0x00, 0x80, 0, 0, 0, 0];
        assert_eq!(websocket.read(&mut next, MESSAGE_BYTES_MAX), Ok(Read::Used(6)));
    }
    assert_eq!(HELD_BYTES.get(), before);
}

#[test]
fn between_messages_it_is_two_words() {
    assert!(size_of::<WebSocket>() <= 16);
}

#[test]
fn half_a_request_is_kept_nowhere() {
    let before = HELD_BYTES.get();
    assert_eq!(http::parse(b"GET /v1/ws HTTP/1.1\r\nHost: a\r\nUpgrade: web", &[]), Ok(None));
    assert_eq!(HELD_BYTES.get(), before);
}
