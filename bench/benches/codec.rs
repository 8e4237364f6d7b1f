//! What one frame costs to encode and to decode: `cargo bench -p carillon-bench --bench codec`.
#![allow(missing_docs)]

use std::hint::black_box;

use carillon_bench::codec::{FRAME_BYTES_MAX, encoded, message, send};
use carillon_protocol::binary::{decode_event, encode_event_frame, event_header};
use carillon_protocol::{decode, encode, json};
use criterion::{Criterion, criterion_group, criterion_main};

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
    let frame = encoded(&message());
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
