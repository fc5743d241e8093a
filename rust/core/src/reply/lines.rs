//! Blanks, line breaks and code blocks.

use std::ops::Range;

use memchr::memmem;

/// White space within a line, and invisible characters that models write there
/// (control characters, zero-width spaces and joiners, direction marks, the byte order mark).
pub(crate) fn is_blank(c: char) -> bool {
    ((c.is_whitespace() || c.is_control()) && !is_line_break(c))
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

/// The characters that end a line (Unicode Standard Annex 14, mandatory breaks).
pub(crate) fn is_line_break(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// Whether a character is a line break or a blank.
pub(super) fn is_space(c: char) -> bool {
    is_blank(c) || is_line_break(c)
}

/// Whether only blanks stand between the start of the line and byte `at`.
pub(super) fn starts_line(text: &str, at: usize) -> bool {
    text[..at]
        .trim_end_matches(is_blank)
        .chars()
        .next_back()
        .is_none_or(is_line_break)
}

/// Whether `range` stands between two backticks.
pub(super) fn is_quoted(text: &str, range: &Range<usize>) -> bool {
    text[..range.start].ends_with('`') && text[range.end..].starts_with('`')
}

/// Whether a judge speaks about a control string in square brackets instead of
/// ending its turn with it: `the answer ends with "[/INST]"`, `several [/INST]
/// tags`. Control strings in angle brackets are rarely mentioned.
pub(super) fn is_mention(text: &str, range: &Range<usize>) -> bool {
    let (before, after) = (&text[..range.start], &text[range.end..]);
    let quoted = [('"', '"'), ('\'', '\''), ('“', '”')]
        .iter()
        .any(|&(open, close)| before.ends_with(open) && after.starts_with(close));
    let mut next = after.chars();
    let in_sentence = next.next() == Some(' ') && next.next().is_some_and(char::is_lowercase);
    text[range.clone()].starts_with('[') && (quoted || in_sentence)
}

/// The delimiter of code blocks.
const FENCE: &str = "```";

/// The first line that delimits a code block in `range`: its byte position.
pub(super) fn next_fence(text: &str, range: Range<usize>) -> Option<usize> {
    memmem::find_iter(&text.as_bytes()[range.clone()], FENCE)
        .map(|at| range.start + at)
        .find(|&at| starts_line(text, at))
}

/// Where the text after a delimiter at byte `at` starts.
pub(super) fn after_fence(at: usize) -> usize {
    at + FENCE.len()
}
