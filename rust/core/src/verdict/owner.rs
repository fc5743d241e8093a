//! What the owner of a label names: a heading, the words before it on its line,
//! a key.

use super::cursor::{is_filler, is_line_break};
use super::words::{CLAUSE, DETERMINERS, FINAL, MODIFIERS, OWNERS, VERBS, classes, words};

/// What a label names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    /// The score, without a word that makes it the final one.
    Bare,
    /// The final, total or overall score.
    Final,
    /// The upper end of the scale.
    Maximum,
    /// Something else.
    Other,
}

/// What a label under a heading, behind an owner (`Verdict: Score: 4`) or in an
/// object of that key names.
pub(super) fn owner_of(owner: &str) -> Quantity {
    let known = OWNERS.or(DETERMINERS).or(CLAUSE).or(MODIFIERS);
    let (mut is_final, mut is_other) = (false, false);
    for word in words(owner) {
        let classes = classes(word);
        if classes.has(VERBS) {
            return Quantity::Bare;
        }
        if classes.has(FINAL) || starts_final(word) {
            is_final = true;
        } else if !classes.has(known) && !word.bytes().all(|byte| byte.is_ascii_digit()) {
            is_other = true;
        }
    }
    match (is_other, is_final) {
        (true, _) => Quantity::Other,
        (false, true) => Quantity::Final,
        (false, false) => Quantity::Bare,
    }
}

/// Whether a word is a final word, or begins with one (`overallScore`).
fn starts_final(word: &str) -> bool {
    ["total", "final", "overall"].iter().any(|entry| {
        word.get(..entry.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(entry))
    })
}

/// The heading on the last line of `above` that is not blank: a line that
/// starts with `#`, is bold as a whole, or ends with a colon.
pub(super) fn heading_above(above: &str) -> Option<&str> {
    let line = above.trim_end().rsplit(is_line_break).next()?.trim();
    let line = line.trim_start_matches(|c: char| {
        c.is_ascii_digit() || matches!(c, '.' | ')' | '-' | '+' | '>' | '{' | ' ')
    });
    let bold = ["**", "__"]
        .iter()
        .any(|mark| line.len() > 4 && line.starts_with(mark) && line.ends_with(mark));
    let colon = line.trim_end_matches(is_filler).ends_with([':', '：']);
    let digits = line.bytes().any(|byte| byte.is_ascii_digit());
    let is_heading = line.starts_with('#') || bold || colon;
    (is_heading && !digits).then_some(line)
}
