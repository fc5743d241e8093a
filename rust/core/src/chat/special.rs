//! Search for the strings of special tokens.

use std::borrow::Cow;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use rustc_hash::FxHashSet;

use super::python_str;
use super::special_marks::Marks;
use crate::Error;

/// The properties of an added token that affect the search.
pub(super) struct Added {
    /// Its string.
    pub content: String,
    /// Whether it is special: a message must not be able to spell it.
    pub special: bool,
    /// Whether it matches whole words only.
    pub single_word: bool,
    /// Whether it is matched in the normalised text.
    pub normalized: bool,
}

/// The strings of a tokenizer's special tokens.
pub(super) struct SpecialTokens {
    contents: Vec<String>,
    /// Finds every occurrence, case-insensitive and overlapping: a template may
    /// change the case of a message.
    overlapping: AhoCorasick,
    /// Finds the occurrences of added tokens that `tokenizers` matches:
    /// leftmost-longest.
    leftmost_longest: AhoCorasick,
    /// For each pattern of `leftmost_longest`: its index in `contents` (None:
    /// not special), and whether it matches whole words only.
    patterns: Vec<(Option<usize>, bool)>,
    /// The proper prefixes and suffixes of the special tokens.
    prefixes: FxHashSet<String>,
    suffixes: FxHashSet<String>,
    max_len: usize,
    /// Whether the normaliser could turn any text into a special token.
    normalizer_may_form_special: bool,
}

impl SpecialTokens {
    /// Builds the search for the added tokens of a tokenizer; those with an
    /// empty string are skipped.
    pub fn new(added: Vec<Added>, has_normalizer: bool) -> Result<Self, Error> {
        let added: Vec<Added> = added
            .into_iter()
            .filter(|it| !it.content.is_empty())
            .collect();
        let special = added.iter().filter(|it| it.special);
        let contents: Vec<String> = special.clone().map(|it| it.content.clone()).collect();
        let mut next = 0..contents.len();
        let patterns = added.iter().map(|it| {
            let index = it.special.then(|| next.next()).flatten();
            (index, it.single_word)
        });
        let cut = |content: &String| {
            let positions = content
                .char_indices()
                .skip(1)
                .map(|(at, _)| content.split_at(at));
            positions
                .map(|(left, right)| (left.to_owned(), right.to_owned()))
                .collect::<Vec<_>>()
        };
        let (prefixes, suffixes) = contents.iter().flat_map(cut).unzip();
        let found = added.iter().map(|it| it.content.as_str());
        Ok(Self {
            overlapping: finder(MatchKind::Standard, contents.iter().map(String::as_str))?,
            leftmost_longest: finder(MatchKind::LeftmostLongest, found)?,
            patterns: patterns.collect(),
            prefixes,
            suffixes,
            max_len: contents.iter().map(String::len).max().unwrap_or(0),
            normalizer_may_form_special: has_normalizer && special.clone().any(|it| it.normalized),
            contents,
        })
    }

    /// The strings; [`Self::find`] returns indices into them.
    pub fn contents(&self) -> &[String] {
        &self.contents
    }

    /// Whether a message with this text could produce a special token: it
    /// contains one, or the text that a template puts around it could complete
    /// one, or the normaliser could.
    pub fn may_form_special(&self, text: &str) -> bool {
        self.normalizer_may_form_special || self.occurs_in(text) || !self.edges(text).is_empty()
    }

    /// Whether any of the strings occurs in `text`, case-insensitive.
    pub fn occurs_in(&self, text: &str) -> bool {
        !self.contents.is_empty() && self.overlapping.is_match(text)
    }

    /// The special tokens in a text, as (byte range, index in
    /// [`Self::contents`]).
    pub fn find<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (Range<usize>, usize)> + 'a {
        self.leftmost_longest.find_iter(text).filter_map(|found| {
            let (index, single_word) = self.patterns[found.pattern().as_usize()];
            let index = index.filter(|_| !single_word || is_whole_word(text, &found.range()))?;
            Some((found.range(), index))
        })
    }

    /// The text with every occurrence of a special token broken up by marks.
    ///
    /// # Errors
    /// [`Error::OneCharacterSpecial`]: a token of one character cannot be
    /// broken up.
    pub fn broken<'a>(&self, text: &'a str, marks: Marks) -> Result<Cow<'a, str>, Error> {
        let mut positions = self.edges(text);
        for found in self.overlapping.find_overlapping_iter(text) {
            let token = &text[found.range()];
            let first = token.chars().next().map_or(0, char::len_utf8);
            if first == token.len() {
                return Err(Error::OneCharacterSpecial {
                    token: token.to_owned(),
                });
            }
            positions.push(found.start() + first);
        }
        if positions.is_empty() {
            return Ok(Cow::Borrowed(text));
        }
        positions.sort_unstable();
        positions.dedup();
        Ok(Cow::Owned(marks.insert(text, &positions)))
    }

    /// The positions at which a text must be broken up so that the text that a
    /// template puts before or after it, with white space stripped or not,
    /// cannot complete a special token.
    fn edges(&self, text: &str) -> Vec<usize> {
        let inner = python_str::strip(text);
        let start = inner.as_ptr() as usize - text.as_ptr() as usize;
        let mut positions = Vec::new();
        if inner.is_empty() || self.contents.is_empty() {
            return positions;
        }
        for len in 1..=inner.len().min(self.max_len) {
            if inner
                .get(inner.len() - len..)
                .is_some_and(|end| self.prefixes.contains(end))
            {
                let first = inner[inner.len() - len..]
                    .chars()
                    .next()
                    .map_or(0, char::len_utf8);
                positions.push(start + inner.len() - len + first);
            }
            if inner
                .get(..len)
                .is_some_and(|begin| self.suffixes.contains(begin))
            {
                let last = inner[..len].chars().next_back().map_or(0, char::len_utf8);
                positions.push(start + len - last);
            }
        }
        let is_within = |token: &String| inner.len() < token.len() && token.contains(inner);
        if inner.len() < self.max_len && self.contents.iter().any(is_within) {
            positions.push(start);
        }
        positions
    }
}

fn finder<'a>(
    kind: MatchKind,
    patterns: impl Iterator<Item = &'a str>,
) -> Result<AhoCorasick, Error> {
    AhoCorasick::builder()
        .match_kind(kind)
        .ascii_case_insensitive(kind == MatchKind::Standard)
        .build(patterns)
        .map_err(|error| Error::InvalidTokenizer {
            reason: format!("its added tokens cannot be searched for: {error}"),
        })
}

/// Whether no letter, digit or underscore directly precedes or follows.
fn is_whole_word(text: &str, range: &Range<usize>) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    !text[..range.start].chars().next_back().is_some_and(is_word)
        && !text[range.end..].chars().next().is_some_and(is_word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: Marks = Marks(Some('\u{fdd0}'));

    fn token(content: &str, special: bool) -> Added {
        Added {
            content: content.to_owned(),
            special,
            single_word: false,
            normalized: false,
        }
    }

    fn tokens(contents: &[&str]) -> SpecialTokens {
        let added = contents.iter().map(|&content| token(content, true));
        SpecialTokens::new(added.collect(), false).unwrap()
    }

    #[test]
    fn broken_texts_hold_no_special_token() {
        let special = tokens(&["<|end|>", "<|end|><|end|>", "abc", "bcd", "cde"]);
        for text in [
            "<|end|>",
            "<|end|><|END|><|end|>",
            "abcde",
            "x",
            "",
            "a<|end|",
        ] {
            let broken = special.broken(text, MARKS).unwrap();
            assert!(!special.occurs_in(&broken), "{text:?}");
            let mut restored = String::new();
            MARKS.remove(&broken, &mut restored);
            assert_eq!(restored, text);
        }
    }

    /// Whatever text surrounds a broken text, no special token overlaps it.
    #[test]
    fn broken_texts_cannot_be_completed() {
        let special = tokens(&["<|end|>", "<s>"]);
        for text in ["<", "<|en", "|>", ">", " d|> ", "end", "x <|", "s"] {
            let broken = special.broken(text, MARKS).unwrap();
            assert!(special.may_form_special(text), "{text:?}");
            for (left, right) in [
                ("<|", "|>"),
                ("<", ">"),
                ("<|end", "|end|>"),
                ("", "s>"),
                ("<|en", ""),
            ] {
                for said in [broken.as_ref(), broken.trim()] {
                    let whole = format!("{left}{said}{right}");
                    assert_eq!(special.find(&whole).count(), 0, "{whole:?}");
                }
            }
        }
        for text in ["hello", "", "a > b", "<end", "it's > 3 <|x|", "end."] {
            assert!(!special.may_form_special(text), "{text:?}");
        }
    }

    #[test]
    fn the_leftmost_longest_token_is_found() {
        let special = tokens(&["<a", "<a>", "a>b"]);
        let found: Vec<_> = special.find("x<a>b<a").collect();
        assert_eq!(found, [(1..4, 1), (5..7, 0)]);
    }

    #[test]
    fn other_added_tokens_are_matched_first() {
        let added = vec![token("g<end>", false), token("<end>", true)];
        let special = SpecialTokens::new(added, false).unwrap();
        let found: Vec<_> = special.find("dog<end> <end>").collect();
        assert_eq!(found, [(9..14, 0)]);
    }

    #[test]
    fn whole_words_only() {
        let added = vec![Added {
            single_word: true,
            ..token("end", true)
        }];
        let special = SpecialTokens::new(added, false).unwrap();
        let found: Vec<_> = special.find("end ends _end \u{e9}end (end)").collect();
        assert_eq!(found, [(0..3, 0), (21..24, 0)]);
    }

    #[test]
    fn a_normaliser_may_make_special_tokens_of_anything() {
        let added = |normalized| {
            vec![Added {
                normalized,
                ..token("<end>", true)
            }]
        };
        let may_form = |normalized, normalizer| {
            SpecialTokens::new(added(normalized), normalizer)
                .unwrap()
                .may_form_special("hello")
        };
        assert!(may_form(true, true));
        assert!(!may_form(true, false) && !may_form(false, true));
    }

    #[test]
    fn a_token_of_one_character_cannot_be_broken() {
        let special = tokens(&["|", ""]);
        assert!(special.broken("a|b", MARKS).is_err());
        assert_eq!(special.broken("ab", MARKS).unwrap(), "ab");
    }

    #[test]
    fn no_special_tokens_are_found_nowhere() {
        assert!(!tokens(&[]).may_form_special("a"));
        assert_eq!(tokens(&[]).find("a").count(), 0);
    }
}
