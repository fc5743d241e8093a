//! Comparison of new prompts with the kept ones.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use srlm_core::novelty::{NoveltyIndex, Words, rouge_l};

/// A prompt of `len` words from a vocabulary of 997; different seeds give
/// different prompts.
fn prompt(seed: usize, len: usize) -> String {
    let words = (0..len).map(|at| format!("w{}", (seed * 31 + at * at * 7 + seed * at) % 997));
    words.collect::<Vec<_>>().join(" ")
}

fn bench(c: &mut Criterion) {
    let kept: Vec<String> = (0..20_000)
        .map(|seed| prompt(seed, 10 + seed % 40))
        .collect();
    let filled = || {
        let mut index = NoveltyIndex::default();
        index.extend(&kept);
        index
    };
    let index = filled();
    let batch: Vec<String> = (0..1000)
        .map(|seed| prompt(30_000 + seed % 900, 10 + seed % 40))
        .collect();
    let (new, long) = (prompt(77_777, 30), prompt(5, 2000));
    let mut group = c.benchmark_group("novelty");
    group
        .measurement_time(Duration::from_secs(1))
        .warm_up_time(Duration::from_millis(300));
    group.sample_size(20);
    group.bench_function("max_similarity of 20000", |b| {
        b.iter(|| index.max_similarity(black_box(&new)))
    });
    group.bench_function("rouge_l of 2000 words", |b| {
        b.iter(|| rouge_l(black_box(&long), black_box(&long), Words::RougeScore))
    });
    group.bench_function("add_novel, 1000 to 20000", |b| {
        b.iter_batched_ref(
            filled,
            |index| index.add_novel(black_box(&batch), 0.7),
            BatchSize::PerIteration,
        )
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
