//! Texts to token ids, as Hugging Face's `tokenizers` gives them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use serde_json::Value;

use super::guarded::Guarded;
use super::lane::{FastLane, LaneRefusal};
use super::marks::Marks;
use super::special::{Added, SpecialTokens};
use crate::{Error, parallel};

/// A tokenizer as its `tokenizer.json` describes it, without truncation, padding
/// and the tokens that a post-processor adds: a chat template writes those.
pub struct Tokenizer {
    json: String,
    oracle: tokenizers::Tokenizer,
    lane: Result<FastLane, LaneRefusal>,
    special: SpecialTokens,
    guarded: OnceLock<Result<Guarded, String>>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json` and opens the fast lane if it agrees. The
    /// `end_token` counts as special, even where the description does not say so.
    ///
    /// # Errors
    /// [`Error::InvalidTokenizer`].
    pub fn from_json(json: &str, end_token: Option<&str>) -> Result<Self, Error> {
        // Some descriptions make `tokenizers` panic.
        catch_unwind(|| Self::read(json, end_token)).unwrap_or_else(|_| Err(invalid(&"it panics")))
    }

    fn read(json: &str, end_token: Option<&str>) -> Result<Self, Error> {
        let mut oracle: tokenizers::Tokenizer = json.parse().map_err(|error| invalid(&error))?;
        plain(&mut oracle).map_err(|error| invalid(&error))?;
        let value: Value = serde_json::from_str(json).map_err(|error| invalid(&error))?;
        let added = added_tokens(&value, end_token);
        let special = SpecialTokens::new(added, !value["normalizer"].is_null())?;
        let lane = FastLane::open(value, &|text| encode(&oracle, text).ok());
        Ok(Self {
            json: json.to_owned(),
            oracle,
            lane,
            special,
            guarded: OnceLock::new(),
        })
    }

    /// Why there is no fast lane; None if there is one.
    pub fn lane_refusal(&self) -> Option<&LaneRefusal> {
        self.lane.as_ref().err()
    }

    /// The strings of the special tokens.
    pub(super) fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// The id of a token.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.oracle.token_to_id(token)
    }

    /// The ids of a text, in which the strings of special tokens are tokens.
    ///
    /// # Errors
    /// [`Error::Tokenize`]: the model has no token for some of it, and none for
    /// unknown text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        self.encode_by(text, lane_is_usable())
    }

    /// [`Self::encode`] for many texts: whether the lane [may be
    /// used](lane_is_usable) is found out once.
    pub(super) fn encode_by(&self, text: &str, lane: bool) -> Result<Vec<u32>, Error> {
        if lane
            && let Ok(lane) = &self.lane
            && let Some(ids) = lane.encode(text, &|text| encode(&self.oracle, text).ok())
        {
            return Ok(ids);
        }
        encode(&self.oracle, text)
    }

    /// The ids of a text in which some strings of special tokens are broken up by
    /// `marks`: those are text.
    pub(super) fn encode_marked(&self, text: &str, marks: Marks) -> Result<Vec<u32>, Error> {
        let guarded = self
            .guarded
            .get_or_init(|| self.make_guarded().map_err(|error| error.to_string()));
        let guarded = guarded.as_ref().map_err(|reason| Error::InvalidTokenizer {
            reason: reason.clone(),
        })?;
        guarded.encode(text, marks, &self.special)
    }

    fn make_guarded(&self) -> Result<Guarded, Error> {
        Guarded::new(&self.json, &self.special, |token| self.token_to_id(token))
    }
}

/// Whether the fast lanes of this process may be used: they have threads of their
/// own, which a forked process lacks. Asks the operating system.
pub(super) fn lane_is_usable() -> bool {
    parallel::owns_threads()
}

/// Takes away what changes the number of tokens.
pub(super) fn plain(tokenizer: &mut tokenizers::Tokenizer) -> tokenizers::Result<()> {
    tokenizer.with_truncation(None)?;
    tokenizer.with_padding(None);
    Ok(())
}

/// The ids that `tokenizers` gives; some descriptions make it panic.
pub(super) fn encode(tokenizer: &tokenizers::Tokenizer, text: &str) -> Result<Vec<u32>, Error> {
    let failed = |reason| Error::Tokenize { reason };
    match catch_unwind(AssertUnwindSafe(|| tokenizer.encode_fast(text, false))) {
        Ok(Ok(encoding)) => Ok(encoding.get_ids().to_vec()),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("it panics".to_owned())),
    }
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
