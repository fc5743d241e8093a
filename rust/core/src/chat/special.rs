//! Finding the strings of special tokens.

use std::borrow::Cow;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};

use super::marks::Marks;
use crate::Error;

/// The strings of a tokenizer's special tokens.
pub(super) struct SpecialTokens {
    contents: Vec<String>,
    /// Finds every occurrence, also those that overlap.
    every: AhoCorasick,
    /// Finds the occurrences that `tokenizers` takes for tokens: leftmost, and
    /// of those that begin at the same place the longest.
    taken: AhoCorasick,
}

impl SpecialTokens {
    /// Prepares the search for these strings; empty ones are left out.
    pub fn new(contents: Vec<String>) -> Result<Self, Error> {
        let contents: Vec<String> = contents.into_iter().filter(|it| !it.is_empty()).collect();
        let build = |kind| {
            AhoCorasick::builder()
                .match_kind(kind)
                .build(&contents)
                .map_err(|error| Error::InvalidTokenizer {
                    reason: format!("its special tokens cannot be searched for: {error}"),
                })
        };
        Ok(Self {
            every: build(MatchKind::Standard)?,
            taken: build(MatchKind::LeftmostLongest)?,
            contents,
        })
    }

    /// The strings; their positions are the indices that [`Self::taken`] gives.
    pub fn contents(&self) -> &[String] {
        &self.contents
    }

    /// Whether any of the strings occurs in `text`.
    pub fn occur_in(&self, text: &str) -> bool {
        !self.contents.is_empty() && self.taken.is_match(text)
    }

    /// Where the special tokens of a text stand, and which they are.
    pub fn taken<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (Range<usize>, usize)> + 'a {
        self.taken
            .find_iter(text)
            .map(|found| (found.range(), found.pattern().as_usize()))
    }

    /// The text with every occurrence broken up by marks.
    ///
    /// # Errors
    /// [`Error::OneCharacterSpecial`]: there is nothing to break.
    pub fn broken<'a>(&self, text: &'a str, marks: Marks) -> Result<Cow<'a, str>, Error> {
        if !self.occur_in(text) {
            return Ok(Cow::Borrowed(text));
        }
        let mut places: Vec<usize> = Vec::new();
        for found in self.every.find_overlapping_iter(text) {
            let token = &text[found.range()];
            let first = token.chars().next().map_or(0, char::len_utf8);
            if first == token.len() {
                return Err(Error::OneCharacterSpecial {
                    token: token.to_owned(),
                });
            }
            places.push(found.start() + first);
        }
        places.sort_unstable();
        places.dedup();
        Ok(Cow::Owned(marks.put(text, &places)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(contents: &[&str]) -> SpecialTokens {
        SpecialTokens::new(contents.iter().map(|&it| it.to_owned()).collect()).unwrap()
    }

    #[test]
    fn broken_texts_hold_no_special_token() {
        let special = tokens(&["<|end|>", "<|end|><|end|>", "abc", "bcd", "cde"]);
        for text in [
            "<|end|>",
            "<|end|><|end|><|end|>",
            "abcde",
            "x",
            "",
            "a<|end|",
        ] {
            let broken = special.broken(text, Marks(1)).unwrap();
            assert!(!special.occur_in(&broken), "{text:?}");
            let mut mended = String::new();
            Marks(1).remove(&broken, &mut mended);
            assert_eq!(mended, text);
        }
    }

    #[test]
    fn the_longest_of_the_leftmost_is_taken() {
        let special = tokens(&["<a", "<a>", "a>b"]);
        let taken: Vec<_> = special.taken("x<a>b<a").collect();
        assert_eq!(taken, [(1..4, 1), (5..7, 0)]);
    }

    #[test]
    fn a_token_of_one_character_cannot_be_broken() {
        let special = tokens(&["|", ""]);
        assert!(special.broken("a|b", Marks(1)).is_err());
        assert_eq!(special.broken("ab", Marks(1)).unwrap(), "ab");
    }

    #[test]
    fn no_special_tokens_are_found_nowhere() {
        assert!(!tokens(&[]).occur_in("a"));
        assert_eq!(tokens(&[]).taken("a").count(), 0);
    }
}
