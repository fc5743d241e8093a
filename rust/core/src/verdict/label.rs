//! The default format: a label `score` followed by a number.
//!
//! Hand-written instead of a regular expression because the last label counts:
//! the scan runs backwards from the end and stops at the first valid label.
//! Between two occurrences of the word every byte is visited a bounded number
//! of times, so the time is linear.

use memchr::memrchr2;

use super::cursor::{Cursor, DASHES, is_closer, is_filler, is_line_break, is_opener};
use super::number::{self, Number};
use super::outcome::{Outcome, Verdict};
use super::{alternative, scale};

const WORD: &str = "score";

/// The words that may be joined to the label (`final_score`, `total-score`).
/// With another joined word it is another quantity: `z-score`, `style_score`.
const JOINED: [&str; 3] = ["total", "final", "overall"];

/// Words before the label that introduce the scale instead of a verdict, as in
/// `the maximum score is 5`.
const SCALE_WORDS: [&str; 9] = [
    "max", "maximum", "highest", "min", "minimum", "lowest", "possible", "perfect", "full",
];

/// Words after a number in prose that make it a difference between scores.
const COMPARISONS: [&str; 9] = [
    "below", "above", "under", "over", "lower", "higher", "less", "more", "short",
];

/// The maximum length, in characters, of a note in brackets between label and
/// separator, as in `Score (out of 5): 4`.
const MAX_NOTE_CHARS: usize = 40;

/// The verdict of the last label in `text`; None if there is no label.
pub(super) fn last_verdict(text: &str, max_score: f64) -> Option<Verdict> {
    let mut end = text.len();
    while let Some(start) = last_word(&text.as_bytes()[..end]) {
        if let Some(verdict) = verdict_at(text, start, max_score) {
            return Some(verdict);
        }
        end = start;
    }
    None
}

/// The last occurrence of the word `score`, case-insensitive. Searches for its
/// second letter, which is rarer than its first.
fn last_word(bytes: &[u8]) -> Option<usize> {
    let mut end = bytes.len();
    while let Some(at) = memrchr2(b'c', b'C', &bytes[..end]) {
        let start = at.checked_sub(1)?;
        let word = bytes.get(start..start + WORD.len());
        if word.is_some_and(|word| word.eq_ignore_ascii_case(WORD.as_bytes())) {
            return Some(start);
        }
        end = at;
    }
    None
}

/// The verdict of the label whose word starts at byte `start`; None if the word
/// is not a label.
fn verdict_at(text: &str, start: usize, max_score: f64) -> Option<Verdict> {
    let mut cursor = Cursor::new(text, start + WORD.len());
    if cursor.at_alphanumeric() || !may_be_label(&text[..start]) {
        return None;
    }
    cursor.skip(is_filler);
    let note = eat_note(&mut cursor);
    let separator = eat_separator(&mut cursor)?;
    let line = cursor;
    cursor.skip(|c| is_opener(c) || (separator == Separator::Colon && is_line_break(c)));
    let Some(number) = number_of_label(line, cursor) else {
        return (separator == Separator::Colon).then(Verdict::missing);
    };
    if separator == Separator::Weak && is_difference(Cursor::new(text, number.end)) {
        return None;
    }
    Some(verdict_of_number(text, &number, note, max_score))
}

/// Whether the word `score` after the text `before` can be a label.
fn may_be_label(before: &str) -> bool {
    match before.chars().next_back() {
        Some(c) if c.is_alphanumeric() => return false,
        Some(c) if c == '_' || DASHES.contains(&c) => {
            let joined = &before[..before.len() - c.len_utf8()];
            if joined
                .chars()
                .next_back()
                .is_some_and(char::is_alphanumeric)
            {
                return ends_with_any(joined, &JOINED);
            }
        }
        _ => {}
    }
    !ends_with_any(before.trim_end_matches(is_filler), &SCALE_WORDS)
}

/// Whether `text` ends with one of the `words` as a whole word.
fn ends_with_any(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| {
        let Some(cut) = text.len().checked_sub(word.len()) else {
            return false;
        };
        text.as_bytes()[cut..].eq_ignore_ascii_case(word.as_bytes())
            && text[..cut]
                .chars()
                .next_back()
                .is_none_or(|c| !c.is_alphanumeric())
    })
}

/// Skips a short note in brackets and the filler after it; returns the text of
/// the note.
fn eat_note<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
    let mut ahead = *cursor;
    ahead.eat_if(|c| c == '(' || c == '[')?;
    let start = ahead.at;
    for _ in 0..MAX_NOTE_CHARS {
        let end = ahead.at;
        let next = ahead.eat_if(|c| !is_line_break(c))?;
        if next == ')' || next == ']' {
            ahead.skip(is_filler);
            *cursor = ahead;
            return Some(&ahead.text[start..end]);
        }
    }
    None
}

/// The separator between label and number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Separator {
    /// `:` or `=`: the label introduces a verdict even if it is unparseable.
    Colon,
    /// `is` or a dash: prose, unless a number follows directly.
    Weak,
}

fn eat_separator(cursor: &mut Cursor) -> Option<Separator> {
    if cursor.eat_if(is_colon).is_some() {
        cursor.skip(is_colon);
        return Some(Separator::Colon);
    }
    if cursor.eat_word("is") {
        let mut ahead = *cursor;
        ahead.skip(is_filler);
        if ahead.eat_if(is_colon).is_some() {
            *cursor = ahead;
            return Some(Separator::Colon);
        }
        return Some(Separator::Weak);
    }
    cursor
        .eat_if(|c| DASHES.contains(&c))
        .map(|_| Separator::Weak)
}

fn is_colon(c: char) -> bool {
    matches!(c, ':' | '：' | '=')
}

/// The number at `cursor`, for a label whose separator ends at `line`. On a
/// later line a number counts only if it is alone on that line: a list that
/// starts there (`1. Relevance`) is not a verdict.
fn number_of_label(line: Cursor, cursor: Cursor) -> Option<Number> {
    let number = number::read(cursor)?;
    let after = Cursor::new(cursor.text, number.end);
    if number.is_word && is_count(after) {
        return None;
    }
    let crossed = cursor.text[line.at..cursor.at].contains(is_line_break);
    (!crossed || is_alone_on_line(after)).then_some(number)
}

/// Whether a number word is a count, as in `one of the best`.
fn is_count(mut after: Cursor) -> bool {
    after.skip(is_filler);
    let mut denominator = after;
    after.eat_word("of") && scale::read_denominator(&mut denominator).is_none()
}

/// Whether a number is a difference, as in `the score is 1 point below the
/// top`.
fn is_difference(mut after: Cursor) -> bool {
    scale::skip(&mut after, &mut Vec::new());
    after.skip(is_filler);
    COMPARISONS.iter().any(|word| after.eat_word(word))
}

fn is_alone_on_line(mut after: Cursor) -> bool {
    scale::skip(&mut after, &mut Vec::new());
    after.skip(|c| is_closer(c) || c == '.');
    after.peek().is_none_or(is_line_break)
}

/// The verdict of a label with a number.
fn verdict_of_number(text: &str, number: &Number, note: Option<&str>, max_score: f64) -> Verdict {
    let span = (number.start, number.end);
    let mut cursor = Cursor::new(text, number.end);
    let mut scales: Vec<f64> = note.and_then(scale::from_note).into_iter().collect();
    if alternative::has_decimal_comma(cursor) {
        return Verdict::invalid(Outcome::Conflicting, span);
    }
    scale::skip(&mut cursor, &mut scales);
    if alternative::follows(cursor) {
        return Verdict::invalid(Outcome::Conflicting, span);
    }
    if scales.iter().any(|&other| other != max_score) {
        return Verdict::invalid(Outcome::OutOfRange, span);
    }
    Verdict::on_scale(number.value, max_score, span)
}
