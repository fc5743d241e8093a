//! Every text gets the ids of `tokenizers`, and no message contains a special
//! token.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use srlm_core::chat::{ChatEncoder, Message, Rendered, Tokenizer};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{AddedToken, Tokenizer as HuggingFace};

/// A tokenizer in both implementations, and the ids of its special tokens.
struct Pair {
    ours: ChatEncoder,
    theirs: HuggingFace,
    special: Vec<u32>,
}

static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let files = match std::env::var("SRLM_TOKENIZER") {
        Ok(path) => vec![std::fs::read_to_string(path).expect("a readable file")],
        Err(_) => vec![byte_level(), byte_fallback()],
    };
    files.iter().map(|json| pair(json)).collect()
});

fn pair(json: &str) -> Pair {
    let mut theirs: HuggingFace = json.parse().expect("a tokenizer.json");
    theirs.with_truncation(None).expect("no truncation");
    theirs.with_padding(None);
    let tokenizer = Tokenizer::from_json(json, None).expect("a tokenizer.json");
    assert!(
        tokenizer.lane_refusal().is_none(),
        "the target tests the fast lane"
    );
    let added = theirs.get_added_tokens_decoder();
    let special = added.into_iter().filter(|(_, token)| token.special);
    Pair {
        special: special.map(|(id, _)| id).collect(),
        ours: ChatEncoder::new(tokenizer, None, None).expect("an encoder"),
        theirs,
    }
}

const CORPUS: [&str; 3] = [
    "the quick brown fox doesn't mind that it's been 12 years. USER assistant <tag> [1]",
    "def add(a, b):\n    return a + b\n\n  \t caf\u{e9} na\u{ef}ve",
    "\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442} \u{4f60}\u{597d} \u{1f600}",
];

fn trained(mut tokenizer: HuggingFace, tokens: Vec<AddedToken>) -> String {
    let trainer = BpeTrainer::builder()
        .vocab_size(600)
        .min_frequency(1)
        .show_progress(false)
        .special_tokens(tokens)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build();
    let mut trainer = TrainerWrapper::from(trainer);
    tokenizer
        .train(&mut trainer, CORPUS.iter())
        .expect("training");
    tokenizer.to_string(false).expect("a tokenizer.json")
}

fn special() -> Vec<AddedToken> {
    ["<unk>", "<|start|>", "<|end|>"]
        .map(|it| AddedToken::from(it, true))
        .to_vec()
}

fn byte_level() -> String {
    let mut tokenizer = HuggingFace::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    trained(tokenizer, special())
}

fn byte_fallback() -> String {
    let bpe = BPE::builder()
        .byte_fallback(true)
        .fuse_unk(true)
        .unk_token("<unk>".into());
    let mut tokenizer = HuggingFace::new(bpe.build().expect("a model"));
    tokenizer.with_pre_tokenizer(Some(Metaspace::new(
        '\u{2581}',
        PrependScheme::First,
        false,
    )));
    let mut tokens = special();
    tokens.extend((0..256).map(|byte| AddedToken::from(format!("<0x{byte:02X}>"), true)));
    let json = trained(tokenizer, tokens);
    let mut value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    let added = value["added_tokens"].as_array_mut().expect("added tokens");
    added.retain(|token| {
        token["content"]
            .as_str()
            .is_some_and(|it| !it.starts_with("<0x"))
    });
    value.to_string()
}

fuzz_target!(|data: &[u8]| {
    // The first byte selects whether the others are UTF-8 or code points.
    let text = match data.split_first() {
        Some((first, rest)) if first % 2 == 1 => code_points(rest),
        Some((_, rest)) => String::from_utf8_lossy(rest).into_owned(),
        None => String::new(),
    };
    for pair in PAIRS.iter() {
        check(pair, &text);
    }
});

fn code_points(bytes: &[u8]) -> String {
    let numbers = bytes
        .chunks_exact(3)
        .map(|it| u32::from_be_bytes([0, it[0] % 17, it[1], it[2]]));
    numbers.filter_map(char::from_u32).collect()
}

fn check(pair: &Pair, text: &str) {
    let expected = pair.theirs.encode_fast(text, false).expect("ids");
    let expected: Vec<i32> = expected.get_ids().iter().map(|&id| id as i32).collect();
    let found = pair.ours.encode_texts(&[text]).expect("ids");
    assert_eq!(found.ids, expected, "{text:?}");

    let message = Message {
        role: "user",
        content: text,
    };
    let (marks, mut broken) = pair
        .ours
        .broken(&[message])
        .expect("tokens of several characters");
    let prompt = broken.remove(0).into_owned();
    let render = |_| {
        Ok(Rendered {
            prompt: prompt.clone(),
            with_answers: Vec::new(),
            marks,
        })
    };
    let ids = pair.ours.encode_prompts(1, render, "").expect("ids");
    let unknown = pair.theirs.token_to_id("<unk>").map(|id| id as i32);
    let is_special = |id: &&i32| pair.special.contains(&(**id as u32)) && Some(**id) != unknown;
    assert_eq!(ids.ids.iter().find(is_special), None, "{text:?}");
    if marks == 0 {
        assert_eq!(ids.ids, expected, "{text:?}");
    }
}
