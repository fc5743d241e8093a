//! How fast judge replies are read.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use srlm_core::verdict::{Rules, parse};

/// A reply as a judge writes it: a paragraph, then the score.
fn reply() -> String {
    let reason = "The response addresses the question and scores well on clarity. ";
    format!("{}\n\n**Score:** 4/5\n", reason.repeat(20))
}

fn bench(c: &mut Criterion) {
    let (reply, words) = (reply(), "score ".repeat(10_000));
    let pattern = Rules::custom(r"(?i)score:\W*(?P<score>\d+)", 5.0).expect("a valid pattern");
    let mut group = c.benchmark_group("verdict");
    group
        .measurement_time(Duration::from_secs(1))
        .warm_up_time(Duration::from_millis(300));
    group.throughput(Throughput::Bytes(reply.len() as u64));
    group.bench_function("label", |b| {
        b.iter(|| parse(black_box(&reply), &Rules::default()))
    });
    group.bench_function("pattern", |b| b.iter(|| parse(black_box(&reply), &pattern)));
    group.throughput(Throughput::Bytes(words.len() as u64));
    group.bench_function("no label", |b| {
        b.iter(|| parse(black_box(&words), &Rules::default()))
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
