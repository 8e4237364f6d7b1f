//! What appending to outboxes and writing them costs, without the kernel: `cargo bench -p carillon-bench --bench outbox`.
#![allow(missing_docs)]

use carillon_bench::outbox::Outboxes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const OUTBOXES: usize = 1_000;

fn outbox(c: &mut Criterion) {
    let mut outboxes = Outboxes::new(OUTBOXES);
    let mut group = c.benchmark_group("outbox");
    for messages in [1, 16] {
        group.throughput(Throughput::Elements((OUTBOXES * messages) as u64));
        group.bench_function(format!("{messages} shared by {OUTBOXES}, pushed and written"), |b| {
            b.iter(|| {
                (0..messages).for_each(|_| outboxes.share());
                outboxes.write();
            });
        });
    }
    group.throughput(Throughput::Elements(OUTBOXES as u64));
    group.bench_function(format!("an answer to each of {OUTBOXES}, pushed and written"), |b| {
        b.iter(|| {
            outboxes.answer();
            outboxes.write();
        });
    });
    group.finish();
}

criterion_group!(benches, outbox);
criterion_main!(benches);
