//! Marks of the next turn that a chat template writes as ordinary text.

use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};

use super::lines::starts_line;
use crate::Error;

/// A string with which a chat template begins or ends a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnMark {
    /// The string, without white space around it.
    pub text: String,
    /// Whether it counts only at the start of a line.
    pub at_line_start: bool,
    /// Whether it begins the assistant's own turn: at the very beginning of a
    /// reply it is a repeated header, not another turn.
    pub own: bool,
}

/// The marks of one chat template, compiled for searching. Case-insensitive,
/// except for words that count in the middle of a line.
#[derive(Debug, Clone, Default)]
pub struct TurnMarks {
    marks: Vec<TurnMark>,
    search: Option<AhoCorasick>,
}

impl TurnMarks {
    /// Compiles the marks; those without a character are ignored.
    ///
    /// # Errors
    /// [`Error::TooManyMarks`]: they exceed the limits of the search automaton.
    pub fn new(marks: Vec<TurnMark>) -> Result<Self, Error> {
        let marks: Vec<TurnMark> = marks.into_iter().filter(|it| !it.text.is_empty()).collect();
        if marks.is_empty() {
            return Ok(Self::default());
        }
        let search = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .ascii_case_insensitive(true)
            .build(marks.iter().map(|it| it.text.as_str()))
            .map_err(|_| Error::TooManyMarks { count: marks.len() })?;
        Ok(Self {
            marks,
            search: Some(search),
        })
    }

    /// The compiled marks.
    pub fn marks(&self) -> &[TurnMark] {
        &self.marks
    }

    /// The marks in a text, in order, with whether each is the assistant's own.
    pub(super) fn find<'a>(
        &'a self,
        text: &'a str,
    ) -> impl Iterator<Item = (Range<usize>, bool)> + 'a {
        let search = self.search.iter();
        search.flat_map(move |search| {
            search.find_iter(text).filter_map(move |found| {
                let mark = &self.marks[found.pattern().as_usize()];
                let range = found.range();
                let counts = if mark.at_line_start {
                    starts_line(text, range.start)
                } else {
                    // `USER:` of a template is not `user:` in a sentence.
                    let exact = text[range.clone()] == mark.text;
                    is_whole(text, &range) && (exact || mark.text.starts_with(['<', '[']))
                };
                counts.then_some((range, mark.own))
            })
        })
    }
}

/// Whether the match does not cut a word in two: `USER:` is not a mark inside
/// `SUPERUSER:`.
fn is_whole(text: &str, range: &Range<usize>) -> bool {
    let joined = |one: Option<char>, other: Option<char>| {
        one.is_some_and(char::is_alphanumeric) && other.is_some_and(char::is_alphanumeric)
    };
    let inside = &text[range.clone()];
    !joined(
        text[..range.start].chars().next_back(),
        inside.chars().next(),
    ) && !joined(inside.chars().next_back(), text[range.end..].chars().next())
}
