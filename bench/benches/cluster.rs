//! What a message costs between two nodes, without the network: `cargo bench -p carillon-bench --bench cluster`.
//! Says first how often memory is asked for.
#![allow(missing_docs)]
#![allow(clippy::print_stdout, reason = "a bench prints what it found")]

use carillon_bench::allocated::{self, Counting};
use carillon_bench::cluster::Nodes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MESSAGES: [usize; 3] = [1, 16, 256];

fn cluster(c: &mut Criterion) {
    let mut nodes = Nodes::new();
    let mut group = c.benchmark_group("cluster");
    for messages in MESSAGES {
        println!("a batch of {messages}: {:.2} allocations a message", allocations(&mut nodes, messages));
        group.throughput(Throughput::Elements(messages as u64));
        group.bench_function(format!("a batch of {messages}"), |b| b.iter(|| nodes.cross(messages)));
    }
    group.finish();
}

fn allocations(nodes: &mut Nodes, messages: usize) -> f64 {
    const BATCHES: usize = 100;
    nodes.cross(messages);
    let before = allocated::times();
    for _ in 0..BATCHES {
        nodes.cross(messages);
    }
    (allocated::times() - before) as f64 / (BATCHES * messages) as f64
}

criterion_group!(benches, cluster);
criterion_main!(benches);
