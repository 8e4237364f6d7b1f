//! What crossing between two shards costs: `cargo bench -p carillon-bench --bench mailbox`.
#![allow(missing_docs)]

use carillon_bench::mailbox::Crossing;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const DELIVERIES: [usize; 3] = [1, 16, 256];

fn mailbox(c: &mut Criterion) {
    let mut crossing = Crossing::new().expect("a poll can be made");
    let mut group = c.benchmark_group("mailbox");
    for deliveries in DELIVERIES {
        group.throughput(Throughput::Elements(deliveries as u64));
        group.bench_function(format!("a batch of {deliveries}, one thread"), |b| {
            b.iter(|| crossing.cross(deliveries))
        });
        group.bench_function(format!("a batch of {deliveries}, from thread to thread"), |b| {
            b.iter_custom(|batches| crossing.between_threads(batches, deliveries));
        });
    }
    group.finish();
}

criterion_group!(benches, mailbox);
criterion_main!(benches);
