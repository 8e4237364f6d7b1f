//! What reading a client's WebSocket frames costs: `cargo bench -p carillon-bench --bench websocket`.
#![allow(missing_docs)]

use std::hint::black_box;

use carillon_bench::websocket::{KEY, masked};
use carillon_gateway::transport::mask::unmask;
use carillon_gateway::transport::websocket::{Opcode, Takes, WebSocket, write_header};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const MESSAGE_BYTES_MAX: usize = 64 * 1024;

fn masks(c: &mut Criterion) {
    let mut group = c.benchmark_group("unmask");
    for len in [64, 512, 16 * 1024] {
        let mut bytes = vec![0x55; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("{len} B"), |b| {
            b.iter(|| unmask(black_box(&mut bytes), black_box(KEY), 0))
        });
        group.bench_function(format!("{len} B, a byte at a time"), |b| {
            b.iter(|| {
                for (index, byte) in black_box(&mut bytes).iter_mut().enumerate() {
                    *byte ^= black_box(KEY)[index % 4];
                }
            });
        });
    }
    group.finish();
}

/// Reading unmasks in place, so each turn finds what the last one left: other bytes under the same header.
fn messages(c: &mut Criterion) {
    let mut websocket = WebSocket::new(Takes::Both);
    let mut whole = masked(&[0x55; 64]);
    c.bench_function("read a binary message of 64 B", |b| {
        b.iter(|| black_box(websocket.read(black_box(&mut whole), MESSAGE_BYTES_MAX).is_ok()));
    });

    // Under the key 0 text stays text.
    let mut text = [&[0x81, 0x80 | 64, 0, 0, 0, 0][..], &[b'x'; 64]].concat();
    c.bench_function("read a text message of 64 B", |b| {
        b.iter(|| black_box(websocket.read(black_box(&mut text), MESSAGE_BYTES_MAX).is_ok()));
    });

    let mut out = Vec::with_capacity(16);
    c.bench_function("write a header", |b| {
        b.iter(|| {
            out.clear();
            write_header(&mut out, Opcode::Binary, black_box(64));
            black_box(&out);
        });
    });
}

criterion_group!(benches, masks, messages);
criterion_main!(benches);
