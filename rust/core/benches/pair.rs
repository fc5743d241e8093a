//! How fast pairs are chosen.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use srlm_core::pair::{Columns, best_worst};

const PROMPTS: usize = 10_000;
const ANSWERS: usize = 4;

fn bench(c: &mut Criterion) {
    let rows = PROMPTS * ANSWERS;
    let prompt: Vec<i64> = (0..rows).map(|row| (row / ANSWERS) as i64).collect();
    let score: Vec<f64> = (0..rows).map(|row| (row * 7 % 11 % 6) as f64).collect();
    let expected: Vec<f64> = (0..rows).map(|row| (row * 13 % 17) as f64 / 4.0).collect();
    let usable: Vec<bool> = (0..rows).map(|row| row % 19 != 0).collect();
    let texts: Vec<String> = (0..rows).map(|row| format!("answer {row}")).collect();
    let columns = Columns {
        prompt: &prompt,
        score: &score,
        expected: &expected,
        usable: &usable,
        texts: &texts,
    };
    let mut group = c.benchmark_group("pair");
    group
        .measurement_time(Duration::from_secs(1))
        .warm_up_time(Duration::from_millis(300));
    group.throughput(Throughput::Elements(rows as u64));
    group.bench_function("best_worst", |b| {
        b.iter(|| best_worst(black_box(&columns), 1.0))
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
