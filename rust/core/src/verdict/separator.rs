//! What stands between the word of a label and its number.

use super::cursor::{Cursor, DASHES, is_filler, is_line_break};
use super::owner::{Quantity, owner_of};
use super::scale;
use super::words::{AFTER_LABEL, FINAL, FINAL_NOUNS, eat};

/// The maximum length, in characters, of a note in brackets between label and
/// separator, as in `Score (out of 5): 4`.
const MAX_NOTE_CHARS: usize = 40;

/// The separator between label and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Separator {
    /// `:` or `=`: the label introduces a verdict even if it is unparseable.
    Colon,
    /// `is` or a dash: prose, unless a number follows directly.
    Weak,
    /// The end of a line that holds nothing but the label.
    Heading,
}

/// Skips words that may follow `score` (`score total`, `score for this
/// response`); returns whether one of them makes the label final.
pub(super) fn eat_after_score(cursor: &mut Cursor) -> bool {
    let mut is_final = false;
    for _ in 0..6 {
        if eat(cursor, FINAL) {
            is_final = true;
        } else if !eat(cursor, AFTER_LABEL) {
            break;
        }
        cursor.skip(is_filler);
    }
    is_final
}

/// Skips nouns that may follow a final word; false if `score` follows, which is
/// a label itself.
pub(super) fn eat_after_final(cursor: &mut Cursor) -> bool {
    for _ in 0..4 {
        if !eat(cursor, FINAL_NOUNS.or(FINAL)) {
            break;
        }
        cursor.skip(is_filler);
    }
    !cursor.at_alphanumeric()
}

/// A scale or a note in brackets between label and separator.
#[derive(Default)]
pub(super) struct Note {
    pub scales: Vec<f64>,
    pub is_final: bool,
    /// Whether it is more than a scale, as in `Score (relevance): 1`.
    pub names_another: bool,
}

impl Note {
    /// Reads `out of 5`, or a short note in brackets, and the filler after it.
    pub fn read(&mut self, cursor: &mut Cursor) {
        if cursor
            .rest()
            .get(..3)
            .is_some_and(|word| word.eq_ignore_ascii_case("out"))
        {
            self.scales.extend(scale::read_phrase(cursor));
            cursor.skip(is_filler);
            return;
        }
        let Some(text) = eat_brackets(cursor) else {
            return;
        };
        self.scales.extend(scale::from_note(text));
        self.is_final = owner_of(text) == Quantity::Final;
        self.names_another = !self.is_final && !scale::is_note(text);
    }
}

/// Skips a short note in brackets and the filler after it; returns its text.
fn eat_brackets<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
    let mut ahead = *cursor;
    ahead.eat_if(|c| matches!(c, '(' | '[' | '（'))?;
    let start = ahead.at;
    for _ in 0..MAX_NOTE_CHARS {
        let end = ahead.at;
        let next = ahead.eat_if(|c| !is_line_break(c))?;
        if matches!(next, ')' | ']' | '）') {
            ahead.skip(is_filler);
            *cursor = ahead;
            return Some(&ahead.text[start..end]);
        }
    }
    None
}

pub(super) fn eat_separator(cursor: &mut Cursor, has_word: bool) -> Option<Separator> {
    if cursor.eat_if(is_colon).is_some() {
        cursor.skip(is_colon);
        return Some(Separator::Colon);
    }
    if cursor.peek().is_some_and(is_line_break) {
        return Some(Separator::Heading);
    }
    if cursor.eat_word("is") {
        let mut ahead = *cursor;
        ahead.skip(is_filler);
        if ahead.eat_if(is_colon).is_some() {
            *cursor = ahead;
            return Some(Separator::Colon);
        }
        return has_word.then_some(Separator::Weak);
    }
    if !has_word {
        return None;
    }
    cursor
        .eat_if(|c| DASHES.contains(&c))
        .map(|_| Separator::Weak)
}

fn is_colon(c: char) -> bool {
    matches!(c, ':' | '：' | '=')
}

/// Skips the line of `=` or `-` under a heading.
pub(super) fn skip_underline(cursor: &mut Cursor) {
    let mut ahead = *cursor;
    ahead.skip(is_line_break);
    let start = ahead.at;
    ahead.skip(|c| matches!(c, '=' | '-'));
    if ahead.at > start + 1 {
        ahead.skip(is_filler);
        if ahead.peek().is_some_and(is_line_break) {
            *cursor = ahead;
        }
    }
}

/// Skips the opening of a LaTeX command, as in `\boxed{4}`.
pub(super) fn eat_command(cursor: &mut Cursor) -> bool {
    let mut ahead = *cursor;
    if ahead.eat_if(|c| c == '\\').is_none() {
        return false;
    }
    for command in ["boxed", "text", "textbf", "mathbf", "mathrm", "fbox"] {
        if ahead.eat_word(command) {
            if ahead.eat_if(|c| c == '{').is_none() {
                return false;
            }
            *cursor = ahead;
            return true;
        }
    }
    let opens = ahead.eat_if(|c| matches!(c, '(' | '[')).is_some();
    if opens {
        *cursor = ahead;
    }
    opens
}
