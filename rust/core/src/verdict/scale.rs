//! The scale of a number: a denominator, a percent sign, a phrase such as `on a
//! scale of 0 to 5`, a note in brackets.

use super::cursor::{Cursor, DASHES, is_closer, is_filler, is_opener};
use super::number;
use super::words::{
    FINAL, PERCENT, SCALE_ENDS, SCALE_MARKERS, SCALE_WORDS, UNITS, eat, is_in, words,
};

/// The maximum number of words and numbers in a phrase.
const MAX_TOKENS: usize = 14;

/// Skips the scale of a number (`/5`, `out of 5`, `%`, also in brackets) and
/// the unit before or after it. Appends the scale to `scales`.
pub(super) fn skip(cursor: &mut Cursor, scales: &mut Vec<f64>) {
    let mut ahead = *cursor;
    ahead.skip(is_closer);
    if number::eat_unit(&mut ahead) {
        *cursor = ahead;
        ahead.skip(is_closer);
    }
    let percent =
        ahead.eat_if(|c| matches!(c, '%' | '％' | '‰')).is_some() || eat(&mut ahead, PERCENT);
    if percent {
        scales.push(100.0);
        *cursor = ahead;
        return;
    }
    // Twice, since a scale may be repeated: `4/5 (on a scale of 0 to 5)`.
    for _ in 0..2 {
        let mut ahead = *cursor;
        ahead.skip(is_closer);
        let Some(scale) = read_range(&mut ahead).or_else(|| {
            ahead.eat_if(|c| matches!(c, ',' | ';'));
            ahead.skip(is_opener);
            read_phrase(&mut ahead)
        }) else {
            return;
        };
        scales.push(scale);
        *cursor = ahead;
        ahead.skip(is_closer);
        if number::eat_unit(&mut ahead) {
            *cursor = ahead;
        }
    }
}

/// Parses `(0-5)` and `[1 to 5]`: a range in brackets that starts at 0 or 1.
fn read_range(cursor: &mut Cursor) -> Option<f64> {
    let mut ahead = *cursor;
    ahead.eat_if(|c| matches!(c, '(' | '[' | '（'))?;
    let low = number::read(ahead)?;
    ahead.at = low.end;
    ahead.skip(is_filler);
    if ahead.eat_if(|c| DASHES.contains(&c)).is_none() && !ahead.eat_word("to") {
        return None;
    }
    ahead.skip(is_filler);
    let high = number::read(ahead)?;
    ahead.at = high.end;
    ahead.skip(is_filler);
    ahead.eat_if(|c| matches!(c, ')' | ']' | '）'))?;
    *cursor = ahead;
    (low.value == 0.0 || low.value == 1.0).then_some(high.value)
}

/// Parses `/ 5`, `out of 5`, `on a scale of 0 to 5`, `von 5`, `(max. 5)` and
/// the like; the cursor moves only on success. The scale is NaN if the numbers
/// are not those of one scale that starts at 0 or 1.
pub(super) fn read_phrase(cursor: &mut Cursor) -> Option<f64> {
    let mut ahead = *cursor;
    let mut end = ahead.at;
    let mut is_marked = ahead
        .eat_if(|c| matches!(c, '/' | '／' | '⁄' | '∕'))
        .is_some();
    let is_fraction = is_marked;
    let mut numbers: Vec<f64> = Vec::new();
    for _ in 0..MAX_TOKENS {
        let first = numbers.is_empty();
        ahead.skip(|c| is_opener(c) && (first || c != '('));
        if let Some(found) = read_unsigned(ahead) {
            ahead.at = found.end;
            end = ahead.at;
            numbers.push(found.value);
            if is_fraction {
                break;
            }
            ahead.skip(is_filler);
            ahead.eat_if(|c| DASHES.contains(&c));
            continue;
        }
        let Some(word) = eat_scale_word(&mut ahead) else {
            break;
        };
        is_marked |= word.is_marker;
        ahead.eat_if(|c| matches!(c, ':' | '：' | '.'));
        if word.ends && !numbers.is_empty() {
            end = ahead.at;
        }
    }
    let (&scale, lower) = numbers.split_last()?;
    if !is_marked {
        return None;
    }
    cursor.at = end;
    let is_scale = lower.iter().all(|&value| value == 0.0 || value == 1.0);
    Some(if is_scale { scale } else { f64::NAN })
}

/// The number at the cursor, without a sign.
fn read_unsigned(cursor: Cursor) -> Option<number::Number> {
    let first = cursor.peek()?;
    if !first.is_alphanumeric() {
        return None;
    }
    number::read(cursor)
}

struct ScaleWord {
    is_marker: bool,
    /// Whether a phrase may end with it.
    ends: bool,
}

/// Skips a word that can be part of a phrase.
fn eat_scale_word(cursor: &mut Cursor) -> Option<ScaleWord> {
    let mut ahead = *cursor;
    ahead.skip(char::is_alphabetic);
    let word = &cursor.text[cursor.at..ahead.at];
    if word.is_empty() || word.len() > 32 {
        return None;
    }
    let is_marker = is_in(word, SCALE_MARKERS);
    let is_unit = is_in(word, UNITS);
    if !is_in(word, SCALE_MARKERS.or(UNITS).or(SCALE_WORDS)) {
        return None;
    }
    cursor.at = ahead.at;
    Some(ScaleWord {
        is_marker,
        ends: is_unit || is_in(word, SCALE_ENDS),
    })
}

/// The scale in the note of a label: its largest number, as in `(out of 5)` and
/// `(1-5)`. None for a sum (`1+1+1`).
pub(super) fn from_note(note: &str) -> Option<f64> {
    if note.contains('+') {
        return None;
    }
    note.split(|c: char| !c.is_ascii_digit() && c != '.')
        .filter_map(|digits| digits.parse().ok())
        .reduce(f64::max)
}

/// Whether the note of a label holds nothing but a scale.
pub(super) fn is_note(note: &str) -> bool {
    let known = SCALE_MARKERS.or(SCALE_WORDS).or(UNITS).or(FINAL);
    words(note).all(|word| word.bytes().all(|byte| byte.is_ascii_digit()) || is_in(word, known))
}
