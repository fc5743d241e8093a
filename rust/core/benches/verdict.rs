//! Parsing of judge replies.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use srlm_core::verdict::{Rules, expected_scores, parse};

/// A typical reply: a paragraph, then the score.
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
    // A pattern that scans to the end at every match: uses the two-pass
    // algorithm.
    let far = Rules::custom(r"score (?:.*!)?(?P<score>\d)?", 5.0).expect("a valid pattern");
    group.bench_function("pattern that looks far ahead", |b| {
        b.iter(|| parse(black_box(&words), &far))
    });
    let (logps, digits) = (vec![-1.5_f32; 6 * 10_000], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    group.throughput(Throughput::Elements(10_000));
    group.bench_function("expected scores", |b| {
        b.iter(|| expected_scores(black_box(&logps), &digits))
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
