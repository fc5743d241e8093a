//! Small tokenizers of every kind, trained for the tests.

use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::normalizers::{BertNormalizer, NFC, NFKC};
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{AddedToken, Tokenizer};

const CORPUS: [&str; 6] = [
    "the quick brown fox jumps over the lazy dog, and the dog doesn't mind; it's been 12 years.",
    "self-rewarding language models judge the answers that they write, and learn from the best of them",
    "def add(a, b):\n    return a + b  # the sum\n\nprint(add(1, 2))\n",
    "cafe\u{301} na\u{ef}ve \u{fc}ber \u{43f}\u{440}\u{438}\u{432}\u{435}\u{442} \u{4f60}\u{597d} \u{1f600}",
    "user\nassistant\nsystem\n\n  \n\n the answer is the answer of the model to the user",
    "THE ANSWER IS 42. Write a poem! What? (yes) [no] <tag> a/b a_b a-b",
];

/// The special tokens of every tokenizer here.
pub(super) const SPECIAL: [&str; 4] = ["<unk>", "<|start|>", "<|end|>", "<|end|><|end|>"];

fn special() -> Vec<AddedToken> {
    SPECIAL
        .iter()
        .map(|&it| AddedToken::from(it, true))
        .collect()
}

fn train(tokenizer: &mut Tokenizer, trainer: impl Into<TrainerWrapper>) -> String {
    let mut trainer = trainer.into();
    tokenizer.train(&mut trainer, CORPUS.iter()).unwrap();
    tokenizer
        .add_tokens([AddedToken::from("<think>", false).normalized(false)])
        .unwrap();
    tokenizer.to_string(false).unwrap()
}

fn byte_bpe() -> BpeTrainer {
    BpeTrainer::builder()
        .vocab_size(500)
        .min_frequency(1)
        .show_progress(false)
        .special_tokens(special())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .build()
}

/// As in GPT-2.
pub(super) fn byte_level() -> String {
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    train(&mut tokenizer, byte_bpe())
}

/// As in GPT-2, with a normaliser: NFC, or NFKC if `compatible`.
pub(super) fn normalized(compatible: bool) -> String {
    let mut tokenizer = Tokenizer::new(BPE::default());
    if compatible {
        tokenizer.with_normalizer(Some(NFKC)).unwrap();
    } else {
        tokenizer.with_normalizer(Some(NFC)).unwrap();
    }
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    train(&mut tokenizer, byte_bpe())
}

/// BPE as in SentencePiece: blanks as `▁`, unknown characters as bytes.
pub(super) fn byte_fallback(scheme: PrependScheme) -> String {
    let bpe = BPE::builder()
        .byte_fallback(true)
        .fuse_unk(true)
        .unk_token("<unk>".into())
        .build();
    let mut tokenizer = Tokenizer::new(bpe.unwrap());
    tokenizer.with_pre_tokenizer(Some(Metaspace::new('\u{2581}', scheme, false)));
    let mut tokens = special();
    tokens.extend((0..256).map(|byte| AddedToken::from(format!("<0x{byte:02X}>"), true)));
    let trainer = BpeTrainer::builder()
        .vocab_size(600)
        .min_frequency(1)
        .show_progress(false)
        .special_tokens(tokens)
        .build();
    let json = train(&mut tokenizer, trainer);
    // The bytes are pieces of the model, not added tokens.
    let mut value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let added = value["added_tokens"].as_array_mut().unwrap();
    added.retain(|token| !token["content"].as_str().unwrap().starts_with("<0x"));
    value.to_string()
}

/// As in T5.
pub(super) fn unigram() -> String {
    let mut tokenizer = Tokenizer::new(Unigram::default());
    tokenizer.with_pre_tokenizer(Some(Metaspace::new(
        '\u{2581}',
        PrependScheme::Always,
        true,
    )));
    let trainer = UnigramTrainer::builder()
        .vocab_size(200)
        .show_progress(false)
        .special_tokens(special())
        .unk_token(Some("<unk>".into()))
        .build();
    train(&mut tokenizer, trainer.unwrap())
}

/// As in BERT.
pub(super) fn word_piece() -> String {
    let model = WordPiece::builder()
        .unk_token("<unk>".into())
        .build()
        .unwrap();
    let mut tokenizer = Tokenizer::new(model);
    tokenizer
        .with_normalizer(Some(BertNormalizer::default()))
        .unwrap();
    tokenizer.with_pre_tokenizer(Some(BertPreTokenizer));
    let trainer = WordPieceTrainer::builder()
        .vocab_size(300)
        .show_progress(false)
        .special_tokens(special())
        .build();
    train(&mut tokenizer, trainer)
}

/// All tokenizers by name, and whether the fast lane supports them.
pub(super) fn every() -> Vec<(&'static str, String, bool)> {
    vec![
        ("byte level", byte_level(), true),
        ("NFC", normalized(false), true),
        ("NFKC", normalized(true), true),
        ("first", byte_fallback(PrependScheme::First), true),
        ("never", byte_fallback(PrependScheme::Never), true),
        ("always", byte_fallback(PrependScheme::Always), false),
        ("unigram", unigram(), false),
        ("word piece", word_piece(), false),
    ]
}
