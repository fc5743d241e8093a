//! Detection of a second number that conflicts with the first.

use super::cursor::{Cursor, DASHES, is_closer, is_opener};
use super::number;

/// `4,5` is ambiguous: 4.5 in some locales, two numbers in others.
pub(super) fn has_decimal_comma(mut after: Cursor) -> bool {
    after.eat_if(|c| c == ',').is_some() && after.peek().is_some_and(|c| c.is_ascii_digit())
}

/// Whether another number follows, as in `3-4`, `3 or 4`, `3 -> 4`, `1 2 3`.
/// This includes sums: in `1 + 1 + 1 = 3` the first number is not the verdict,
/// and the parser does not check whether the sum is correct.
pub(super) fn follows(after: Cursor) -> bool {
    let mut cursor = after;
    cursor.skip(is_closer);
    if cursor.at > after.at && cursor.peek().is_some_and(|c| c.is_ascii_digit()) {
        return true;
    }
    if !eat_sign(&mut cursor) && !eat_conjunction(&mut cursor) {
        return false;
    }
    cursor.skip(is_opener);
    number::read(cursor).is_some()
}

/// Skips a dash, an arrow, dots, or an arithmetic sign.
fn eat_sign(cursor: &mut Cursor) -> bool {
    if cursor.rest().starts_with("..") {
        cursor.skip(|c| c == '.');
        return true;
    }
    let found = cursor.eat_if(is_sign).is_some();
    if found {
        cursor.eat_if(|c| c == '>');
    }
    found
}

fn is_sign(c: char) -> bool {
    DASHES.contains(&c) || matches!(c, '~' | '→' | '…' | '+' | '=' | '≈' | '×' | '&' | '|' | ':')
}

/// Skips a word that joins two numbers, with a preceding comma or bracket, as
/// in `3, or 4` and `3 (or 4)`.
fn eat_conjunction(cursor: &mut Cursor) -> bool {
    cursor.eat_if(|c| c == ',');
    cursor.skip(is_opener);
    ["or", "to", "and"].iter().any(|word| cursor.eat_word(word))
}
