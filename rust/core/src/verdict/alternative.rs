//! Whether a second number stands in place of the first or beside it.

use super::cursor::{Cursor, DASHES, is_closer, is_opener};
use super::number;

/// `4,5` is 4.5 to some writers and two numbers to others.
pub(super) fn has_decimal_comma(mut after: Cursor) -> bool {
    after.eat_if(|c| c == ',').is_some() && after.peek().is_some_and(|c| c.is_ascii_digit())
}

/// Whether another number follows, as in `3-4`, `3 or 4`, `3 -> 4`, `1 2 3`. An
/// unfinished sum is one of them: in `1 + 1 + 1 = 3` the first number is not the
/// verdict, and whether the sum is right is not for a reader of verdicts to say.
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

/// Steps over a dash, an arrow, dots, or a sign of arithmetic.
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

/// Steps over a word that joins two numbers, with what may stand before it, as
/// in `3, or 4` and `3 (or 4)`.
fn eat_conjunction(cursor: &mut Cursor) -> bool {
    cursor.eat_if(|c| c == ',');
    cursor.skip(is_opener);
    ["or", "to", "and"].iter().any(|word| cursor.eat_word(word))
}
