//! What a room's home takes to give sends their places, by sends in a turn: `cargo bench -p carillon-bench --bench
//! sequencing`.
#![allow(missing_docs)]

use carillon_bench::sequencing::Sequencing;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn sequencing(c: &mut Criterion) {
    let mut group = c.benchmark_group("sequencing");
    for (members, sends) in [(3, 1), (3, 64), (1_000, 64)] {
        let mut home = Sequencing::new(members);
        group.throughput(Throughput::Elements(sends));
        group.bench_function(format!("{sends} sends a turn, {members} members"), |b| {
            b.iter(|| home.turn(sends))
        });
    }
    group.finish();
}

criterion_group!(benches, sequencing);
criterion_main!(benches);
