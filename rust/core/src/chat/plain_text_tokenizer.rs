//! A tokenizer that does not recognise the strings of its special tokens.

use std::hash::{BuildHasher, RandomState};

use rustc_hash::FxHashMap;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::huggingface::{disable_truncation_and_padding, encode};
use super::special::SpecialTokens;
use super::special_marks::Marks;
use crate::Error;

/// Delimits the new name of a special token; a Unicode noncharacter.
const FENCE: char = '\u{fdd2}';

/// A random prefix for the names of special tokens. The author of a message
/// cannot guess it, so no text contains it.
fn unguessable_prefix() -> String {
    let random = || RandomState::new().hash_one(0);
    format!("{FENCE}{:016x}{:016x}:", random(), random())
}

/// `tokenizers` with every special token renamed, so that only the new names
/// encode to special tokens and the original strings are text.
pub(super) struct GuardedTokenizer {
    tokenizer: Tokenizer,
    names: Vec<String>,
    /// From its ids to those of the original tokenizer, for added tokens.
    original_ids: FxHashMap<u32, u32>,
}

impl GuardedTokenizer {
    /// Renames the special tokens of a `tokenizer.json`; `id_of` returns their
    /// original ids.
    pub fn new(
        json: &str,
        special: &SpecialTokens,
        id_of: impl Fn(&str) -> Option<u32>,
    ) -> Result<Self, Error> {
        let invalid = |error: &dyn std::fmt::Display| Error::InvalidTokenizer {
            reason: format!("its special tokens cannot be renamed: {error}"),
        };
        let prefix = unguessable_prefix();
        let names: Vec<String> = (0..special.contents().len())
            .map(|index| format!("{prefix}{index}{FENCE}"))
            .collect();
        let of_content: FxHashMap<&str, &str> = special
            .contents()
            .iter()
            .map(String::as_str)
            .zip(names.iter().map(String::as_str))
            .collect();
        let mut value: Value = serde_json::from_str(json).map_err(|error| invalid(&error))?;
        let added_tokens = rename_added(&mut value, &of_content);
        rename_in_model(&mut value["model"], &of_content);
        let mut tokenizer: Tokenizer =
            value.to_string().parse().map_err(|error| invalid(&error))?;
        disable_truncation_and_padding(&mut tokenizer).map_err(|error| invalid(&error))?;
        let original_ids = added_tokens
            .iter()
            .filter_map(|(name, content)| Some((tokenizer.token_to_id(name)?, id_of(content)?)))
            .collect();
        Ok(Self {
            tokenizer,
            names,
            original_ids,
        })
    }

    /// The ids of a rendered text. Strings of special tokens that come from
    /// messages are broken up by `marks`.
    pub fn encode(
        &self,
        text: &str,
        marks: Marks,
        special: &SpecialTokens,
    ) -> Result<Vec<u32>, Error> {
        let mut renamed = String::with_capacity(text.len());
        let mut start = 0;
        for (range, index) in special.find(text) {
            marks.remove(&text[start..range.start], &mut renamed);
            renamed.push_str(&self.names[index]);
            start = range.end;
        }
        marks.remove(&text[start..], &mut renamed);
        let ids = encode(&self.tokenizer, &renamed)?;
        Ok(ids
            .into_iter()
            .map(|id| self.original_ids.get(&id).copied().unwrap_or(id))
            .collect())
    }
}

/// Renames the special added tokens; returns (name, content) of all added
/// tokens.
fn rename_added(value: &mut Value, names: &FxHashMap<&str, &str>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for token in value["added_tokens"].as_array_mut().into_iter().flatten() {
        let content = token["content"].as_str().unwrap_or_default().to_owned();
        let name = match names.get(content.as_str()) {
            Some(&name) => {
                // The new name must be found before normalisation.
                token["normalized"] = Value::Bool(false);
                name.to_owned()
            }
            None => content.clone(),
        };
        token["content"] = Value::String(name.clone());
        pairs.push((name, content));
    }
    pairs
}

/// Whether a merge has the string of a special token as its result or as a
/// part.
fn involves_special(merge: &Value, names: &FxHashMap<&str, &str>) -> bool {
    let (left, right) = match merge {
        Value::String(pair) => pair.split_once(' ').unwrap_or_default(),
        pair => (
            pair[0].as_str().unwrap_or_default(),
            pair[1].as_str().unwrap_or_default(),
        ),
    };
    let merged = format!("{left}{right}");
    [left, right, &merged]
        .iter()
        .any(|piece| names.contains_key(piece))
}

/// Renames the special tokens in the model's vocabulary too: in a Unigram model
/// `</s>` is an ordinary piece that a message could spell.
fn rename_in_model(model: &mut Value, names: &FxHashMap<&str, &str>) {
    let new_name = |name: &str| names.get(name).map(|&name| name.to_owned());
    if let Some(name) = model["unk_token"].as_str().and_then(new_name) {
        model["unk_token"] = Value::String(name);
    }
    if let Some(merges) = model["merges"].as_array_mut() {
        merges.retain(|merge| !involves_special(merge, names));
    }
    match &mut model["vocab"] {
        Value::Object(vocab) => {
            for (&content, &name) in names {
                if let Some(id) = vocab.remove(content) {
                    vocab.insert(name.to_owned(), id);
                }
            }
        }
        Value::Array(pieces) => {
            for piece in pieces {
                if let Some(name) = piece[0].as_str().and_then(new_name) {
                    piece[0] = Value::String(name);
                }
            }
        }
        _ => {}
    }
}
