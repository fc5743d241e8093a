//! Encoding of conversations.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use srlm_core::chat::{Answer, ChatEncoder, ChatTemplate, Message, Tokenizer};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer as HuggingFace};

const TEMPLATE: &str = "{% for m in messages %}{{ '<|start|>' + m.role + '\\n' + m.content + '<|end|>\\n' }}{% endfor %}\
                        {% if add_generation_prompt %}{{ '<|start|>assistant\\n' }}{% endif %}";

/// A text of `len` words from 4,000; different seeds give different texts.
fn text(seed: usize, len: usize) -> String {
    let words = (0..len).map(|at| {
        let n = (seed * 31 + at * at * 7 + seed * at) % 4000;
        ["the", "of", "answers", "judge"][n % 4].to_owned() + &"abcdefghij"[n % 7..7 + n % 4]
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A byte-level BPE, trained here.
fn tokenizer_json() -> String {
    let mut tokenizer = HuggingFace::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    let special = ["<|start|>", "<|end|>"].map(|token| AddedToken::from(token, true));
    let trainer = BpeTrainer::builder()
        .vocab_size(2000)
        .show_progress(false)
        .special_tokens(special.to_vec())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let texts: Vec<String> = (0..50).map(|seed| text(seed, 200)).collect();
    let mut trainer = TrainerWrapper::from(trainer);
    tokenizer
        .train(&mut trainer, texts.iter())
        .expect("training");
    tokenizer.to_string(false).expect("a tokenizer.json")
}

fn bench(c: &mut Criterion) {
    let json = tokenizer_json();
    let template = ChatTemplate::new(TEMPLATE, &[]).expect("a template");
    let tokenizer = Tokenizer::from_json(&json, None).expect("a tokenizer");
    let encoder = ChatEncoder::new(tokenizer, Some(template), Some("<|end|>")).expect("an encoder");
    let texts: Vec<String> = (0..1000).map(|seed| text(seed, 100)).collect();
    let bytes: usize = texts.iter().map(String::len).sum();
    let say = |role, content| Message { role, content };
    let pair = |row: usize| {
        let prompt = [say("user", &texts[row])];
        let answers = [1, 2].map(|step| [say("assistant", texts[(row + step) % 1000].as_str())]);
        encoder.render(
            &prompt,
            &[Answer::Messages(&answers[0]), Answer::Messages(&answers[1])],
        )
    };

    let mut group = c.benchmark_group("chat");
    group
        .measurement_time(Duration::from_secs(1))
        .warm_up_time(Duration::from_millis(300));
    group.sample_size(20);
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("encode_texts", |b| {
        b.iter(|| encoder.encode_texts(black_box(&texts)))
    });
    group.throughput(Throughput::Elements(1000));
    group.bench_function("encode_pairs", |b| {
        b.iter(|| encoder.encode_pairs(1000, pair, |_| [None, None], false))
    });
    group.bench_function("from_json", |b| {
        b.iter(|| Tokenizer::from_json(black_box(&json), None))
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
