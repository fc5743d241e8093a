//! Parsing one number: digits, a decimal fraction, or a small number word.

use super::cursor::{Cursor, DASHES};
use super::words::{UNITS, is_in};

/// Number words; the index is the value. They exceed the usual scale so that
/// `Score: ten` is out of range rather than missing.
const WORDS: [&str; 11] = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
];

/// A number in a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number {
    /// The value; infinite if it overflows a double.
    pub value: f64,
    /// The first byte, including the sign.
    pub start: usize,
    /// The end of the number, exclusive.
    pub end: usize,
    /// Whether it is written as a word.
    pub is_word: bool,
}

/// The number that starts exactly at the cursor. None if there is none, or if
/// it is a prefix of something else (`1e3`, `4.5.1`, `4th`, `fourth`).
pub(super) fn read(mut cursor: Cursor) -> Option<Number> {
    let start = cursor.at;
    let sign = cursor.eat_if(|c| c == '+' || DASHES.contains(&c));
    let negative = sign.is_some_and(|c| c != '+');
    let (magnitude, is_word) = match cursor.peek() {
        Some(c) if c.is_ascii_digit() => (read_digits(&mut cursor)?, false),
        _ => (read_word(&mut cursor)?, true),
    };
    Some(Number {
        value: if negative { -magnitude } else { magnitude },
        start,
        end: cursor.at,
        is_word,
    })
}

fn read_digits(cursor: &mut Cursor) -> Option<f64> {
    let start = cursor.at;
    cursor.skip(|c| c.is_ascii_digit());
    skip_fraction(cursor);
    let digits = &cursor.text[start..cursor.at];
    let mut next = *cursor;
    let continues = skip_fraction(&mut next) || (cursor.at_alphanumeric() && !at_unit(*cursor));
    if continues { None } else { digits.parse().ok() }
}

/// Skips a decimal point and at least one digit.
fn skip_fraction(cursor: &mut Cursor) -> bool {
    let mut ahead = *cursor;
    if ahead.eat_if(|c| c == '.').is_none() || ahead.eat_if(|c| c.is_ascii_digit()).is_none() {
        return false;
    }
    ahead.skip(|c| c.is_ascii_digit());
    *cursor = ahead;
    true
}

/// Skips the unit of a score, which may follow a digit without a blank.
pub(super) fn eat_unit(cursor: &mut Cursor) -> bool {
    let mut ahead = *cursor;
    ahead.skip(char::is_alphabetic);
    let word = &cursor.text[cursor.at..ahead.at];
    let is_unit = !word.is_empty() && word.len() <= 20 && is_in(word, UNITS);
    if is_unit && !ahead.at_alphanumeric() {
        *cursor = ahead;
        return true;
    }
    // Chinese and Japanese write the unit and the scale without a blank.
    cursor.eat_if(|c| matches!(c, '分' | '点' | '點')).is_some()
}

fn at_unit(mut cursor: Cursor) -> bool {
    eat_unit(&mut cursor)
}

fn read_word(cursor: &mut Cursor) -> Option<f64> {
    let value = WORDS.iter().position(|word| cursor.eat_word(word))?;
    Some(value as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<f64> {
        read(Cursor::new(text, 0)).map(|number| number.value)
    }

    #[test]
    fn numbers() {
        let cases = [
            ("4", Some(4.0)),
            ("4.", Some(4.0)),
            ("4.5", Some(4.5)),
            ("+4", Some(4.0)),
            ("-1", Some(-1.0)),
            ("−1", Some(-1.0)),
            ("004", Some(4.0)),
            ("FOUR", Some(4.0)),
            ("ten", Some(10.0)),
            ("4pts", Some(4.0)),
            ("4_", Some(4.0)),
        ];
        for (text, expected) in cases {
            assert_eq!(value(text), expected, "{text:?}");
        }
    }

    #[test]
    fn no_numbers() {
        let cases = [
            "", "x", "- 4", "--4", "fourth", "fourteen", "1e3", "0x4", "4th", "4½", "4５", "５",
            ".5", "4.5.1", "NaN", "inf", "-inf", "é",
        ];
        for text in cases {
            assert_eq!(value(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_number_ends_where_its_last_digit_does() {
        let number = read(Cursor::new("a −4.5 b", 2)).unwrap();
        assert_eq!((number.start, number.end), (2, 2 + "−4.5".len()));
    }

    #[test]
    fn digits_beyond_a_double_are_infinite() {
        assert_eq!(value(&"9".repeat(1000)), Some(f64::INFINITY));
    }
}
