//! Finding the strings of special tokens.

use std::borrow::Cow;
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use rustc_hash::FxHashSet;

use super::marks::Marks;
use super::python_str;
use crate::Error;

/// An added token, as far as finding it goes.
pub(super) struct Added {
    /// Its string.
    pub content: String,
    /// Whether it is special: not to be spelt by a message.
    pub special: bool,
    /// Whether it matches whole words only.
    pub single_word: bool,
    /// Whether it is looked for in the normalised text.
    pub normalized: bool,
}

/// The strings of a tokenizer's special tokens.
pub(super) struct SpecialTokens {
    contents: Vec<String>,
    /// Finds every occurrence, in any case, also those that overlap: a template may
    /// change the case of what it is given.
    every: AhoCorasick,
    /// Finds the occurrences of added tokens that `tokenizers` takes for tokens:
    /// leftmost, and of those that begin at the same place the longest.
    taken: AhoCorasick,
    /// Of each pattern of `taken`: its index in `contents` (None: not special), and
    /// whether it matches whole words only.
    kinds: Vec<(Option<usize>, bool)>,
    /// What special tokens begin and end with, themselves left out.
    beginnings: FxHashSet<String>,
    endings: FxHashSet<String>,
    longest: usize,
    /// Whether a normaliser may make special tokens out of any text.
    from_anything: bool,
}

impl SpecialTokens {
    /// Prepares the search for the added tokens of a tokenizer; those without a
    /// string are left out.
    pub fn new(added: Vec<Added>, has_normalizer: bool) -> Result<Self, Error> {
        let added: Vec<Added> = added
            .into_iter()
            .filter(|it| !it.content.is_empty())
            .collect();
        let special = added.iter().filter(|it| it.special);
        let contents: Vec<String> = special.clone().map(|it| it.content.clone()).collect();
        let mut next = 0..contents.len();
        let kinds = added.iter().map(|it| {
            let index = it.special.then(|| next.next()).flatten();
            (index, it.single_word)
        });
        let cut = |content: &String| {
            let places = content
                .char_indices()
                .skip(1)
                .map(|(at, _)| content.split_at(at));
            places
                .map(|(left, right)| (left.to_owned(), right.to_owned()))
                .collect::<Vec<_>>()
        };
        let (beginnings, endings) = contents.iter().flat_map(cut).unzip();
        let found = added.iter().map(|it| it.content.as_str());
        Ok(Self {
            every: finder(MatchKind::Standard, contents.iter().map(String::as_str))?,
            taken: finder(MatchKind::LeftmostLongest, found)?,
            kinds: kinds.collect(),
            beginnings,
            endings,
            longest: contents.iter().map(String::len).max().unwrap_or(0),
            from_anything: has_normalizer && special.clone().any(|it| it.normalized),
            contents,
        })
    }

    /// The strings; their positions are the indices that [`Self::taken`] gives.
    pub fn contents(&self) -> &[String] {
        &self.contents
    }

    /// Whether a message of this text could give a special token: it holds one, or
    /// what a template puts around it could complete one, or the normaliser could.
    pub fn threatened_by(&self, text: &str) -> bool {
        self.from_anything || self.occur_in(text) || !self.edges(text).is_empty()
    }

    /// Whether any of the strings occurs in `text`, in any case.
    pub fn occur_in(&self, text: &str) -> bool {
        !self.contents.is_empty() && self.every.is_match(text)
    }

    /// Where the special tokens of a text stand, and which they are.
    pub fn taken<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (Range<usize>, usize)> + 'a {
        self.taken.find_iter(text).filter_map(|found| {
            let (index, single_word) = self.kinds[found.pattern().as_usize()];
            let index = index.filter(|_| !single_word || is_whole_word(text, &found.range()))?;
            Some((found.range(), index))
        })
    }

    /// The text with every occurrence broken up by marks.
    ///
    /// # Errors
    /// [`Error::OneCharacterSpecial`]: there is nothing to break.
    pub fn broken<'a>(&self, text: &'a str, marks: Marks) -> Result<Cow<'a, str>, Error> {
        let mut places = self.edges(text);
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
        if places.is_empty() {
            return Ok(Cow::Borrowed(text));
        }
        places.sort_unstable();
        places.dedup();
        Ok(Cow::Owned(marks.put(text, &places)))
    }

    /// Where a text must be broken lest what a template puts before or behind it,
    /// white space stripped or not, completes a special token.
    fn edges(&self, text: &str) -> Vec<usize> {
        let inner = python_str::strip(text);
        let start = inner.as_ptr() as usize - text.as_ptr() as usize;
        let mut places = Vec::new();
        if inner.is_empty() || self.contents.is_empty() {
            return places;
        }
        for len in 1..=inner.len().min(self.longest) {
            if inner
                .get(inner.len() - len..)
                .is_some_and(|end| self.beginnings.contains(end))
            {
                let first = inner[inner.len() - len..]
                    .chars()
                    .next()
                    .map_or(0, char::len_utf8);
                places.push(start + inner.len() - len + first);
            }
            if inner
                .get(..len)
                .is_some_and(|begin| self.endings.contains(begin))
            {
                let last = inner[..len].chars().next_back().map_or(0, char::len_utf8);
                places.push(start + len - last);
            }
        }
        let is_within = |token: &String| inner.len() < token.len() && token.contains(inner);
        if inner.len() < self.longest && self.contents.iter().any(is_within) {
            places.push(start);
        }
        places
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

/// Whether no letter, digit or underscore stands right before or behind.
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
            assert!(!special.occur_in(&broken), "{text:?}");
            let mut mended = String::new();
            MARKS.remove(&broken, &mut mended);
            assert_eq!(mended, text);
        }
    }

    /// Whatever stands around a broken text, no special token reaches into it.
    #[test]
    fn broken_texts_cannot_be_completed() {
        let special = tokens(&["<|end|>", "<s>"]);
        for text in ["<", "<|en", "|>", ">", " d|> ", "end", "x <|", "s"] {
            let broken = special.broken(text, MARKS).unwrap();
            assert!(special.threatened_by(text), "{text:?}");
            for (left, right) in [
                ("<|", "|>"),
                ("<", ">"),
                ("<|end", "|end|>"),
                ("", "s>"),
                ("<|en", ""),
            ] {
                for said in [broken.as_ref(), broken.trim()] {
                    let whole = format!("{left}{said}{right}");
                    assert_eq!(special.taken(&whole).count(), 0, "{whole:?}");
                }
            }
        }
        for text in ["hello", "", "a > b", "<end", "it's > 3 <|x|", "end."] {
            assert!(!special.threatened_by(text), "{text:?}");
        }
    }

    #[test]
    fn the_longest_of_the_leftmost_is_taken() {
        let special = tokens(&["<a", "<a>", "a>b"]);
        let taken: Vec<_> = special.taken("x<a>b<a").collect();
        assert_eq!(taken, [(1..4, 1), (5..7, 0)]);
    }

    #[test]
    fn other_added_tokens_are_taken_first() {
        let added = vec![token("g<end>", false), token("<end>", true)];
        let special = SpecialTokens::new(added, false).unwrap();
        let taken: Vec<_> = special.taken("dog<end> <end>").collect();
        assert_eq!(taken, [(9..14, 0)]);
    }

    #[test]
    fn whole_words_only() {
        let added = vec![Added {
            single_word: true,
            ..token("end", true)
        }];
        let special = SpecialTokens::new(added, false).unwrap();
        let taken: Vec<_> = special.taken("end ends _end \u{e9}end (end)").collect();
        assert_eq!(taken, [(0..3, 0), (21..24, 0)]);
    }

    #[test]
    fn a_normaliser_may_make_special_tokens_of_anything() {
        let added = |normalized| {
            vec![Added {
                normalized,
                ..token("<end>", true)
            }]
        };
        let threatened = |normalized, normalizer| {
            SpecialTokens::new(added(normalized), normalizer)
                .unwrap()
                .threatened_by("hello")
        };
        assert!(threatened(true, true));
        assert!(!threatened(true, false) && !threatened(false, true));
    }

    #[test]
    fn a_token_of_one_character_cannot_be_broken() {
        let special = tokens(&["|", ""]);
        assert!(special.broken("a|b", MARKS).is_err());
        assert_eq!(special.broken("ab", MARKS).unwrap(), "ab");
    }

    #[test]
    fn no_special_tokens_are_found_nowhere() {
        assert!(!tokens(&[]).threatened_by("a"));
        assert_eq!(tokens(&[]).taken("a").count(), 0);
    }
}
