//! The fast lane: BPE by the `fastokens` crate, where it agrees with `tokenizers`.
//!
//! The two are separate programs, built on different tables of Unicode. So the
//! lane is opened only after both gave the same ids for a set of probing texts;
//! and a character outside ASCII takes it only after it has been probed itself,
//! which happens when a text first holds it. A text with a character on which
//! they differ, or on which the lane gives up, is `tokenizers`' own.

use std::sync::atomic::{AtomicU64, Ordering};

use aho_corasick::AhoCorasick;
use serde_json::Value;

use super::metaspace::Metaspace;
use super::probe;
use super::unmerged;

/// Why a tokenizer has no fast lane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaneRefusal {
    /// The model is Unigram, WordPiece, WordLevel, or BPE with dropout.
    #[error("the model is not a plain BPE")]
    NotBpe,
    /// Some part of it is unknown to the lane.
    #[error("the fast lane does not know how to do this: {0}")]
    Unsupported(String),
    /// The two gave different ids.
    #[error("the fast lane gives other ids than `tokenizers`, for example for {0:?}")]
    Disagrees(String),
}

/// The ids of `tokenizers` for a text; None where it fails.
pub(super) type Truth<'a> = &'a dyn Fn(&str) -> Option<Vec<u32>>;

/// The fast lane of one tokenizer.
pub(super) struct FastLane {
    tokenizer: fastokens::Tokenizer,
    metaspace: Option<Metaspace>,
    /// Normalisation was left out, which changes nothing in ASCII texts only.
    ascii_only: bool,
    /// Finds pieces of the vocabulary that no merge makes, which the lane would
    /// take for tokens where a text spells them.
    unmerged: Option<AhoCorasick>,
    characters: Characters,
}

impl FastLane {
    /// Opens the lane of a `tokenizer.json` if it agrees with `truth`.
    pub fn open(mut json: Value, truth: Truth) -> Result<Self, LaneRefusal> {
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
        let ascii_only = is_form(&json["normalizer"]);
        if ascii_only {
            // A token that is normalised itself may be spelt in ASCII after all.
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
        let mut probes = entries.map_or_else(Vec::new, |vocab| probe::vocabulary(vocab.keys()));
        let contents = added.iter().filter_map(|token| token["content"].as_str());
        probes.extend(probe::texts(contents));
        let unmerged = unmerged::pieces(&json["model"], &added);
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
            characters: Characters::new(),
        };
        match probes.into_iter().find(|text| lane.differs(text, truth)) {
            Some(text) => Err(LaneRefusal::Disagrees(text)),
            None => Ok(lane),
        }
    }

    /// Whether the lane gives other ids for a text that it takes.
    fn differs(&self, text: &str, truth: Truth) -> bool {
        let compared = self.is_open(text) && (text.is_ascii() || !self.ascii_only);
        compared && self.plain(text).is_some_and(|ids| truth(text) != Some(ids))
    }

    /// The ids of a text; None if the lane may not or cannot give them.
    pub fn encode(&self, text: &str, truth: Truth) -> Option<Vec<u32>> {
        let open = self.is_open(text)
            && (text.is_ascii() || (!self.ascii_only && self.is_safe(text, truth)));
        if open { self.plain(text) } else { None }
    }

    /// Whether the text holds nothing that the lane is known to get wrong.
    fn is_open(&self, text: &str) -> bool {
        self.unmerged
            .as_ref()
            .is_none_or(|pieces| !pieces.is_match(text))
    }

    fn plain(&self, text: &str) -> Option<Vec<u32>> {
        match &self.metaspace {
            Some(metaspace) => self.tokenizer.encode(&metaspace.apply(text)).ok(),
            None => self.tokenizer.encode(text).ok(),
        }
    }

    fn is_safe(&self, text: &str, truth: Truth) -> bool {
        let agrees = |c| {
            let text = probe::character(c);
            self.plain(&text)
                .is_some_and(|ids| truth(&text) == Some(ids))
        };
        let mut others = text.chars().filter(|c| !c.is_ascii());
        others.all(|c| self.characters.is_safe(c, || agrees(c)))
    }
}

/// What is known of each character, as bits. Threads may find out the same thing
/// twice, but never two different things.
struct Characters {
    probed: Box<[AtomicU64]>,
    differing: Box<[AtomicU64]>,
}

impl Characters {
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

    /// Whether a character takes the lane; asks `agrees` the first time.
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

/// Whether a normaliser brings texts into one of Unicode's normal forms, in which
/// all ASCII texts are. The lane knows NFC itself.
fn is_form(normalizer: &Value) -> bool {
    ["NFD", "NFKC", "NFKD"]
        .iter()
        .any(|&form| normalizer["type"] == form)
}
