//! What one frame costs to encode and to decode: `cargo bench -p carillon-bench --bench codec`.
#![allow(missing_docs)]

use std::hint::black_box;

use carillon_protocol::binary::{decode_event, encode_event_frame, event_header};
use carillon_protocol::{ClientId, Event, EventBody, Frame, RoomId, UserId, decode, encode, json};
use criterion::{Criterion, criterion_group, criterion_main};

const FRAME_BYTES_MAX: usize = 64 * 1024;
const TEXT: &str = "The bells of the old town ring at six, and all of us look upward";
const _: () = assert!(TEXT.len() == 64);
const ROOM: RoomId = RoomId::from_bytes(*b"0123456789abcdef");
const CLIENT_ID: ClientId = ClientId::from_bytes(*b"fedcba9876543210");

fn send() -> Frame<'static> {
    Frame::Send { request: 1_000, room: ROOM, client_id: CLIENT_ID, text: TEXT.into() }
}

fn message() -> Frame<'static> {
    Frame::Event(Event {
        room: ROOM,
        seq: 123_456,
        ordinal: 123_400,
        at_ms: 1_790_000_000_000,
        sender: UserId::new(1_234_567).unwrap_or(UserId::MAX),
        body: EventBody::Message { client_id: CLIENT_ID, text: TEXT.into() },
    })
}

fn codec(c: &mut Criterion) {
    for frame in [send(), message()] {
        let mut bytes = Vec::with_capacity(1024);
        c.bench_function(&format!("encode {}", frame.name()), |b| {
            b.iter(|| {
                bytes.clear();
                encode(black_box(&frame), &mut bytes);
                black_box(&bytes);
            });
        });
        c.bench_function(&format!("decode {}", frame.name()), |b| {
            b.iter(|| {
                let decoded = decode(black_box(&bytes), FRAME_BYTES_MAX);
                black_box(&decoded);
            });
        });
        let text = json::encode(&frame);
        c.bench_function(&format!("encode {} as JSON", frame.name()), |b| {
            b.iter(|| json::encode(black_box(&frame)))
        });
        c.bench_function(&format!("decode {} from JSON", frame.name()), |b| {
            b.iter(|| json::decode(black_box(&text)))
        });
    }
}

fn stored_event(c: &mut Criterion) {
    let mut frame = Vec::new();
    encode(&message(), &mut frame);
    let event = &frame[4..];
    assert!(decode_event(event).is_ok(), "a header of four bytes stands before the event");

    c.bench_function("read the header of a stored event", |b| b.iter(|| event_header(black_box(event))));
    let mut out = Vec::with_capacity(1024);
    c.bench_function("make the frame of a stored event", |b| {
        b.iter(|| {
            out.clear();
            encode_event_frame(black_box(event), &mut out);
            black_box(&out);
        });
    });
}

criterion_group!(benches, codec, stored_event);
criterion_main!(benches);
