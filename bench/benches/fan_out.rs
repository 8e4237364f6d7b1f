//! What a message to everyone in a room costs, from the sender's bytes to the bytes for each, without the kernel and the
//! disk: `cargo bench -p carillon-bench --bench fan_out`. Shards take turns on one thread, so the time is that of all of
//! them together.
#![allow(missing_docs)]

use carillon_bench::fan_out::FanOut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn fan_out(c: &mut Criterion) {
    let mut group = c.benchmark_group("fan out");
    for (shards, members) in [(1, 50), (1, 10_000), (2, 10_000), (4, 10_000)] {
        let mut room = FanOut::new(shards, members);
        group.throughput(Throughput::Elements(members));
        group.bench_function(format!("to {members}, {shards} shards"), |b| b.iter(|| room.send()));
        room.check();
    }
    group.finish();
}

criterion_group!(benches, fan_out);
criterion_main!(benches);
