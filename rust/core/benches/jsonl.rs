//! Reading a text field from JSON lines.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use srlm_core::jsonl::text_column;

/// Lines in the format of a run's verdicts.
fn lines(escaped: bool) -> String {
    let text = if escaped {
        "one\\nline \\\"more\\\" "
    } else {
        "one more line "
    };
    let line = format!(
        r#"{{"id": "0123456789abcdef", "sample": 0, "text": "{}", "outcome": "scored", "score": 4.0}}"#,
        text.repeat(40)
    );
    format!("{line}\n").repeat(2000)
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("jsonl");
    group
        .measurement_time(Duration::from_secs(1))
        .warm_up_time(Duration::from_millis(300));
    for (name, escaped) in [("plain", false), ("escaped", true)] {
        let data = lines(escaped);
        group.throughput(Throughput::Bytes(data.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| text_column(black_box(data.as_bytes()), "text"))
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
