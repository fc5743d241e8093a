//! Search for duplicates, and adding one text to an index.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use srlm_core::dedup::{NearDuplicateIndex, Options, Unit, exact_duplicates, near_duplicates};

/// Texts of 20 to 119 words; eight each come from one base, with up to seven
/// words replaced.
fn texts(count: usize) -> Vec<String> {
    let word = |text: usize, at: usize| {
        let from = if at % 17 < text % 8 { text } else { text / 8 };
        format!("w{}", (from * 31 + at * at * 7 + from * at) % 9973)
    };
    let len = |text: usize| 20 + text / 8 % 100;
    let words = |text: usize| (0..len(text)).map(|at| word(text, at)).collect::<Vec<_>>();
    (0..count).map(|text| words(text).join(" ")).collect()
}

fn bench(c: &mut Criterion) {
    let texts = texts(10_000);
    let mut group = c.benchmark_group("dedup");
    group
        .measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_millis(300));
    group.sample_size(10);
    group.bench_function("exact_duplicates of 10000", |b| {
        b.iter(|| exact_duplicates(black_box(&texts)))
    });
    for (unit, ngram) in [(Unit::Word, 1), (Unit::Word, 3), (Unit::Char, 5)] {
        let options = Options {
            unit,
            ngram,
            ..Options::default()
        };
        let name = format!("near_duplicates of 10000, {} {ngram}-grams", unit.name());
        group.bench_function(name, |b| {
            b.iter(|| near_duplicates(black_box(&texts), options))
        });
    }
    let mut index = NearDuplicateIndex::new(Options::default()).expect("defaults are in range");
    index.add(&texts);
    let mut count = 0;
    group.bench_function("add one to an index of 10000 and more", |b| {
        b.iter(|| {
            count += 1;
            index.add(&[format!("{} and {count}", texts[count % texts.len()])])
        })
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
