//! From texts to token ids, identical to Hugging Face's `tokenizers`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use super::fast_lane::{FastLane, LaneRefusal};
use super::huggingface::{disable_truncation_and_padding, encode};
use super::plain_text_tokenizer::GuardedTokenizer;
use super::special::{Added, SpecialTokens};
use super::special_marks::Marks;
use crate::{Error, parallel};

/// The bytes of text after which opening the fast lane pays off: it takes as
/// long as encoding some of them without it.
const LANE_BYTES: usize = 1 << 18;

/// The tokenizer of a `tokenizer.json`, without truncation, padding and the
/// tokens of the post-processor (the chat template writes those).
pub struct Tokenizer {
    json: String,
    reference: tokenizers::Tokenizer,
    lane: OnceLock<Result<FastLane, LaneRefusal>>,
    encoded_bytes: AtomicUsize, // before the lane is open
    special: SpecialTokens,
    guarded: OnceLock<Result<GuardedTokenizer, String>>,
}

impl Tokenizer {
    /// Loads a `tokenizer.json`. The `end_token` counts as special even if
    /// `tokenizer.json` does not say so. The fast lane is opened once there is
    /// enough to encode, if its ids agree.
    ///
    /// # Errors
    /// [`Error::InvalidTokenizer`].
    pub fn from_json(json: &str, end_token: Option<&str>) -> Result<Self, Error> {
        // `tokenizers` panics on some files.
        catch_unwind(|| Self::read(json, end_token))
            .unwrap_or_else(|_| Err(invalid(&"`tokenizers` panicked")))
    }

    fn read(json: &str, end_token: Option<&str>) -> Result<Self, Error> {
        let mut reference: tokenizers::Tokenizer = json.parse().map_err(|error| invalid(&error))?;
        disable_truncation_and_padding(&mut reference).map_err(|error| invalid(&error))?;
        let value: Value = serde_json::from_str(json).map_err(|error| invalid(&error))?;
        let added = added_tokens(&value, end_token);
        let special = SpecialTokens::new(added, !value["normalizer"].is_null())?;
        Ok(Self {
            json: json.to_owned(),
            reference,
            lane: OnceLock::new(),
            encoded_bytes: AtomicUsize::new(0),
            special,
            guarded: OnceLock::new(),
        })
    }

    /// The reason why there is no fast lane; None if there is one. Opens it.
    pub fn lane_refusal(&self) -> Option<&LaneRefusal> {
        self.open_lane().as_ref().err()
    }

    fn open_lane(&self) -> &Result<FastLane, LaneRefusal> {
        self.lane.get_or_init(|| {
            let open = || {
                let value = serde_json::from_str(&self.json)
                    .map_err(|error| LaneRefusal::Unsupported(error.to_string()))?;
                FastLane::open(value, &|text| encode(&self.reference, text).ok())
            };
            catch_unwind(AssertUnwindSafe(open))
                .unwrap_or_else(|_| Err(LaneRefusal::Unsupported("it panicked".to_owned())))
        })
    }

    /// The fast lane, if there is one and it is worth opening for `bytes` more
    /// of text.
    fn lane_for(&self, bytes: usize) -> Option<&FastLane> {
        let is_worthwhile = || {
            let before = self.encoded_bytes.fetch_add(bytes, Ordering::Relaxed);
            before.saturating_add(bytes) >= LANE_BYTES
        };
        if self.lane.get().is_some() || is_worthwhile() {
            self.open_lane().as_ref().ok()
        } else {
            None
        }
    }

    /// The strings of the special tokens.
    pub(super) fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// The id of a token.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.reference.token_to_id(token)
    }

    /// The ids of a text. Strings of special tokens are encoded as special
    /// tokens.
    ///
    /// # Errors
    /// [`Error::Tokenize`]: the model has no token for part of the text, and no
    /// unknown token.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        self.encode_with_lane(text, lane_is_usable())
    }

    /// [`Self::encode`] for batches: the caller checks once whether the lane
    /// [may be used](lane_is_usable).
    pub(super) fn encode_with_lane(&self, text: &str, lane: bool) -> Result<Vec<u32>, Error> {
        if lane
            && let Some(lane) = self.lane_for(text.len())
            && let Some(ids) = lane.encode(text, &|text| encode(&self.reference, text).ok())
        {
            return Ok(ids);
        }
        encode(&self.reference, text)
    }

    /// The ids of a text in which some strings of special tokens are broken up
    /// by `marks` and encoded as text.
    pub(super) fn encode_marked(&self, text: &str, marks: Marks) -> Result<Vec<u32>, Error> {
        let guarded = self
            .guarded
            .get_or_init(|| self.build_guarded().map_err(|error| error.to_string()));
        let guarded = guarded.as_ref().map_err(|reason| Error::InvalidTokenizer {
            reason: reason.clone(),
        })?;
        guarded.encode(text, marks, &self.special)
    }

    fn build_guarded(&self) -> Result<GuardedTokenizer, Error> {
        GuardedTokenizer::new(&self.json, &self.special, |token| self.token_to_id(token))
    }
}

/// Whether this process may use fast lanes: they own threads, which a forked
/// process lacks. Makes a system call.
pub(super) fn lane_is_usable() -> bool {
    parallel::owns_threads()
}

fn invalid(error: &dyn std::fmt::Display) -> Error {
    Error::InvalidTokenizer {
        reason: error.to_string(),
    }
}

fn added_tokens(json: &Value, end_token: Option<&str>) -> Vec<Added> {
    let added = json["added_tokens"].as_array().into_iter().flatten();
    let read = |token: &Value| {
        let content = token["content"].as_str()?;
        Some(Added {
            content: content.to_owned(),
            special: token["special"] == true || Some(content) == end_token,
            single_word: token["single_word"] == true,
            normalized: token["normalized"] != false,
        })
    };
    added.filter_map(read).collect()
}

#[cfg(test)]
mod tests;
