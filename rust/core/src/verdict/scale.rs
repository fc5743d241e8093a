//! The scale of a number: a denominator, a percent sign, a note in brackets.

use super::cursor::{Cursor, is_blank, is_closer, is_opener};
use super::number;

/// Words between `out of` and the number, as in `out of a total of 5`.
const OUT_OF: [&str; 6] = ["a", "possible", "maximum", "max", "total", "of"];

/// Skips the scale of a number (`/5`, `out of 5`, `%`, also in brackets) and
/// the unit before or after it. Appends the scale to `scales`.
pub(super) fn skip(cursor: &mut Cursor, scales: &mut Vec<f64>) {
    let mut ahead = *cursor;
    ahead.skip(is_closer);
    if number::eat_unit(&mut ahead) {
        *cursor = ahead;
        ahead.skip(is_closer);
    }
    if ahead.eat_if(|c| matches!(c, '%' | '％' | '‰')).is_some() {
        scales.push(100.0);
        *cursor = ahead;
        return;
    }
    ahead.skip(is_opener);
    if let Some(scale) = read_denominator(&mut ahead) {
        scales.push(scale);
        *cursor = ahead;
        ahead.skip(is_closer);
        if number::eat_unit(&mut ahead) {
            *cursor = ahead;
        }
    }
}

/// Parses `/ 5`, `out of 5` or `of 5`; the cursor moves only on success.
pub(super) fn read_denominator(cursor: &mut Cursor) -> Option<f64> {
    let mut ahead = *cursor;
    if ahead.eat_if(|c| matches!(c, '/' | '／' | '⁄')).is_none() {
        if ahead.eat_word("out") {
            ahead.skip(is_blank);
        }
        if !ahead.eat_word("of") {
            return None;
        }
        ahead.skip(is_blank);
        while OUT_OF.iter().any(|word| ahead.eat_word(word)) {
            ahead.skip(is_blank);
        }
    }
    ahead.skip(is_opener);
    let number = number::read(ahead)?;
    cursor.at = number.end;
    Some(number.value)
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
