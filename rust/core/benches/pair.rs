//! Selection of pairs, and mean scores.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use srlm_core::pair::{Columns, Method, Rules, mean_scores, select};

const PROMPTS: usize = 10_000;
const ANSWERS: usize = 4;
const VERDICTS: usize = 3;

const METHODS: [(&str, Method); 5] = [
    ("best_worst", Method::BestWorst),
    ("length_controlled", Method::LengthControlled { rho: 0.1 }),
    ("margin", Method::Margin),
    ("random", Method::Random { seed: 0 }),
    ("top_bottom", Method::TopBottom { k: 2 }),
];

fn methods(c: &mut Criterion) {
    let rows = PROMPTS * ANSWERS;
    let prompt: Vec<i64> = (0..rows).map(|row| (row / ANSWERS) as i64).collect();
    let apart: Vec<i64> = (0..rows).map(|row| (row % PROMPTS) as i64).collect();
    let score: Vec<f64> = (0..rows).map(|row| (row * 7 % 11 % 6) as f64).collect();
    let expected: Vec<f64> = (0..rows).map(|row| (row * 13 % 17) as f64 / 4.0).collect();
    let usable: Vec<bool> = (0..rows).map(|row| row % 19 != 0).collect();
    let texts: Vec<String> = (0..rows).map(|row| format!("answer {row}")).collect();
    let columns = Columns {
        prompt: &prompt,
        score: &score,
        expected: Some(&expected),
        usable: Some(&usable),
        may_be_chosen: None,
        may_be_rejected: None,
        texts: Some(&texts),
        length: None,
    };
    let apart = Columns {
        prompt: &apart,
        ..columns
    };
    let mut group = c.benchmark_group("pair");
    group
        .measurement_time(Duration::from_secs(1))
        .warm_up_time(Duration::from_millis(300))
        .throughput(Throughput::Elements(rows as u64));
    for (name, method) in METHODS {
        let rules = Rules {
            method,
            min_margin: 1.0,
            max_per_prompt: None,
        };
        group.bench_function(name, |b| b.iter(|| select(black_box(&columns), &rules)));
        if method == Method::BestWorst {
            let name = "best_worst, rows apart";
            group.bench_function(name, |b| b.iter(|| select(black_box(&apart), &rules)));
        }
    }
    group.finish();
}

fn means(c: &mut Criterion) {
    let candidates = PROMPTS * ANSWERS;
    let verdicts = candidates * VERDICTS;
    let sorted: Vec<i64> = (0..verdicts).map(|row| (row / VERDICTS) as i64).collect();
    let apart: Vec<i64> = (0..verdicts).map(|row| (row % candidates) as i64).collect();
    let score: Vec<f64> = (0..verdicts).map(|row| (row * 7 % 11 % 6) as f64).collect();
    let mut group = c.benchmark_group("mean_scores");
    group
        .measurement_time(Duration::from_secs(1))
        .warm_up_time(Duration::from_millis(300))
        .throughput(Throughput::Elements(verdicts as u64));
    for (name, candidate) in [("in order", &sorted), ("apart", &apart)] {
        group.bench_function(name, |b| {
            b.iter(|| mean_scores(black_box(candidate), &score, None))
        });
    }
    group.finish();
}

criterion_group!(benches, methods, means);
criterion_main!(benches);
