//! The fast lane: BPE with the `fastokens` crate, for text on which it agrees
//! with `tokenizers`.
//!
//! The two are separate implementations with different Unicode tables.
//! Therefore the lane is opened only if both return the same ids for a set of
//! probe texts, and a non-ASCII character takes it only after it has been
//! probed itself, which happens when a text first contains it. A text with a
//! character on which they differ, or on which the lane fails, is encoded by
//! `tokenizers`.

use std::sync::atomic::{AtomicU64, Ordering};

use aho_corasick::AhoCorasick;
use serde_json::Value;

use super::metaspace::Metaspace;
use super::probe_texts;
use super::unmerged_pieces;

/// The reason why a tokenizer has no fast lane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaneRefusal {
    /// The model is Unigram, WordPiece, WordLevel, or BPE with dropout.
    #[error("the model is not a plain BPE")]
    NotBpe,
    /// The lane does not support a part of the tokenizer.
    #[error("the fast lane does not support this tokenizer: {0}")]
    Unsupported(String),
    /// The lane returns different ids.
    #[error("the fast lane returns other ids than `tokenizers`, for example for {0:?}")]
    Disagrees(String),
}

/// Returns the ids of `tokenizers` for a text; None if it fails.
pub(super) type Reference<'a> = &'a dyn Fn(&str) -> Option<Vec<u32>>;

/// The fast lane of one tokenizer.
pub(super) struct FastLane {
    tokenizer: fastokens::Tokenizer,
    metaspace: Option<Metaspace>,
    /// The normaliser was removed, which is equivalent for ASCII texts only.
    ascii_only: bool,
    /// Finds pieces of the vocabulary that no merge produces. The lane would
    /// encode them as tokens if a text spells them.
    unmerged: Option<AhoCorasick>,
    characters: CharacterProbes,
}

impl FastLane {
    /// Opens the lane of a `tokenizer.json` if it agrees with `reference`.
    pub fn open(mut json: Value, reference: Reference) -> Result<Self, LaneRefusal> {
        let unsupported = |reason: &str| LaneRefusal::Unsupported(reason.to_owned());
        let dropout = json["model"]["dropout"].as_f64().unwrap_or(0.0);
        if json["model"]["type"] != "BPE" || dropout != 0.0 {
            return Err(LaneRefusal::NotBpe);
        }
        let added: Vec<Value> = json["added_tokens"].as_array().cloned().unwrap_or_default();
        if added.iter().any(|token| token["single_word"] == true) {
            return Err(unsupported("an added token matches whole words only"));
        }
        for unused in ["truncation", "padding", "post_processor", "decoder"] {
            json[unused] = Value::Null;
        }
        let ascii_only = is_unicode_normal_form(&json["normalizer"]);
        if ascii_only {
            // A token that is itself normalised may match ASCII text.
            let is_ascii = |it: &Value| it["content"].as_str().is_some_and(str::is_ascii);
            if added
                .iter()
                .any(|it| it["normalized"] != false && !is_ascii(it))
            {
                return Err(unsupported("an added token outside ASCII is normalised"));
            }
            json["normalizer"] = Value::Null;
        }
        let metaspace = match json["pre_tokenizer"]["type"].as_str() {
            Some("Metaspace") if json["normalizer"].is_null() => {
                let pre_tokenizer = json["pre_tokenizer"].take();
                Some(Metaspace::read(&pre_tokenizer, &added).map_err(unsupported)?)
            }
            _ => None,
        };
        let entries = json["model"]["vocab"].as_object();
        let mut probes =
            entries.map_or_else(Vec::new, |vocab| probe_texts::vocabulary(vocab.keys()));
        let contents = added.iter().filter_map(|token| token["content"].as_str());
        probes.extend(probe_texts::texts(contents));
        let unmerged = unmerged_pieces::pieces(&json["model"], &added);
        let unmerged = (!unmerged.is_empty())
            .then(|| AhoCorasick::new(&unmerged))
            .transpose()
            .map_err(|error| unsupported(&error.to_string()))?;
        let tokenizer = fastokens::Tokenizer::from_json(json)
            .map_err(|error| LaneRefusal::Unsupported(error.to_string()))?;
        let lane = Self {
            tokenizer,
            metaspace,
            ascii_only,
            unmerged,
            characters: CharacterProbes::new(),
        };
        match probes
            .into_iter()
            .find(|text| lane.differs(text, reference))
        {
            Some(text) => Err(LaneRefusal::Disagrees(text)),
            None => Ok(lane),
        }
    }

    /// Whether the lane returns other ids for a text that it accepts.
    fn differs(&self, text: &str, reference: Reference) -> bool {
        let compared = self.accepts(text) && (text.is_ascii() || !self.ascii_only);
        compared
            && self
                .encode_unchecked(text)
                .is_some_and(|ids| reference(text) != Some(ids))
    }

    /// The ids of a text; None if the lane is not allowed for the text or
    /// fails.
    pub fn encode(&self, text: &str, reference: Reference) -> Option<Vec<u32>> {
        let open = self.accepts(text)
            && (text.is_ascii() || (!self.ascii_only && self.is_safe(text, reference)));
        if open {
            self.encode_unchecked(text)
        } else {
            None
        }
    }

    /// Whether the text contains nothing that the lane is known to encode
    /// wrongly.
    fn accepts(&self, text: &str) -> bool {
        self.unmerged
            .as_ref()
            .is_none_or(|pieces| !pieces.is_match(text))
    }

    fn encode_unchecked(&self, text: &str) -> Option<Vec<u32>> {
        match &self.metaspace {
            Some(metaspace) => self.tokenizer.encode(&metaspace.apply(text)).ok(),
            None => self.tokenizer.encode(text).ok(),
        }
    }

    fn is_safe(&self, text: &str, reference: Reference) -> bool {
        let agrees = |c| {
            let text = probe_texts::character(c);
            self.encode_unchecked(&text)
                .is_some_and(|ids| reference(&text) == Some(ids))
        };
        let mut others = text.chars().filter(|c| !c.is_ascii());
        others.all(|c| self.characters.is_safe(c, || agrees(c)))
    }
}

/// The probe results of all characters, as bits. Threads may probe a character
/// twice, but with the same result.
struct CharacterProbes {
    probed: Box<[AtomicU64]>,
    differing: Box<[AtomicU64]>,
}

impl CharacterProbes {
    fn new() -> Self {
        let zeros = || {
            (0..=char::MAX as usize / 64)
                .map(|_| AtomicU64::new(0))
                .collect()
        };
        Self {
            probed: zeros(),
            differing: zeros(),
        }
    }

    /// Whether a character may take the lane; calls `agrees` the first time.
    fn is_safe(&self, c: char, agrees: impl FnOnce() -> bool) -> bool {
        let (word, bit) = (c as usize / 64, 1 << (c as usize % 64));
        if self.probed[word].load(Ordering::Acquire) & bit == 0 {
            if !agrees() {
                self.differing[word].fetch_or(bit, Ordering::Relaxed);
            }
            self.probed[word].fetch_or(bit, Ordering::Release);
        }
        self.differing[word].load(Ordering::Relaxed) & bit == 0
    }
}

/// Whether the normaliser is a Unicode normal form, which leaves ASCII
/// unchanged. The lane implements NFC itself.
fn is_unicode_normal_form(normalizer: &Value) -> bool {
    ["NFD", "NFKC", "NFKD"]
        .iter()
        .any(|&form| normalizer["type"] == form)
}
