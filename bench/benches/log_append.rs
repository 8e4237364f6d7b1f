//! What it takes until groups are durable, by how many are appended at once: `cargo bench -p carillon-bench --bench
//! log_append`. The files are in memory where there is such a place (the benches' names say where), so it is the writer
//! that is measured; `log_floor` measures it against a disk. A busy writer begins a turn no sooner than 2 ms after the
//! one before (`docs/log.md`), and that is most of the time here.
#![allow(missing_docs)]
#![allow(clippy::print_stdout, reason = "it prints a measurement")]

use carillon_bench::log_append::{LogAppend, place};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn log_append(c: &mut Criterion) {
    let place = place();
    let mut group = c.benchmark_group(format!("log append in {}", place.display()));
    for groups in [1, 64, 1_024] {
        let mut log = LogAppend::new(&place).expect("a log can be made there");
        group.throughput(Throughput::Elements(groups as u64));
        group.bench_function(format!("{groups} at once"), |b| b.iter(|| log.append(groups)));
        println!("{:.1} groups a sync", log.groups_a_sync());
    }
    group.finish();
}

criterion_group!(benches, log_append);
criterion_main!(benches);
