//! The `Metaspace` pre-tokenizer (SentencePiece's blanks), for a lane that only
//! implements BPE.

use aho_corasick::{AhoCorasick, Anchored, Input, MatchKind, StartKind};
use serde_json::Value;

/// `Metaspace` of `tokenizers` with `split: false`: blanks become `▁`, and a
/// text that does not start with an added token gets a leading one.
pub(super) struct Metaspace {
    replacement: char,
    prepends: bool,
    added: AhoCorasick,
}

impl Metaspace {
    /// Parses the settings of the pre-tokenizer. The error says why the lane
    /// does not support them.
    pub fn read(pre_tokenizer: &Value, added: &[Value]) -> Result<Self, &'static str> {
        if pre_tokenizer["split"] != Value::Bool(false) {
            return Err("its Metaspace splits words");
        }
        let prepends = match pre_tokenizer["prepend_scheme"].as_str() {
            Some("first") => true,
            Some("never") => false,
            _ => return Err("its Metaspace prepends to every section"),
        };
        let replacement = pre_tokenizer["replacement"].as_str().unwrap_or("");
        let replacement = replacement
            .chars()
            .next()
            .ok_or("its Metaspace has no replacement")?;
        let flagged = |token: &Value| token["lstrip"] == true || token["rstrip"] == true;
        let contents: Vec<&str> = added
            .iter()
            .filter_map(|it| it["content"].as_str())
            .collect();
        if added.iter().any(flagged) || contents.iter().any(|content| content.contains(' ')) {
            return Err("an added token strips blanks");
        }
        if contents.iter().any(|content| content.contains(replacement)) {
            return Err("an added token contains the replacement of blanks");
        }
        let added = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .start_kind(StartKind::Anchored)
            .build(contents.iter().filter(|content| !content.is_empty()))
            .map_err(|_| "its added tokens cannot be searched for")?;
        Ok(Self {
            replacement,
            prepends,
            added,
        })
    }

    /// The text after pre-tokenisation.
    pub fn apply(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len() + text.len() / 3 + 3);
        if self.prepends && !text.is_empty() && !self.begins_with_added(text) {
            let first = text.chars().next().filter(|&c| c != ' ');
            if first.is_some_and(|c| c != self.replacement) {
                out.push(self.replacement);
            }
        }
        let mut buffer = [0; 4];
        let replacement = &*self.replacement.encode_utf8(&mut buffer);
        let mut rest = text;
        while let Some(at) = memchr::memchr(b' ', rest.as_bytes()) {
            out.push_str(&rest[..at]);
            out.push_str(replacement);
            rest = &rest[at + 1..];
        }
        out.push_str(rest);
        out
    }

    fn begins_with_added(&self, text: &str) -> bool {
        self.added
            .is_match(Input::new(text).anchored(Anchored::Yes))
    }
}
