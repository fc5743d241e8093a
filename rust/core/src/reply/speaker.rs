//! Lines that start with a speaker: `User:`, `### Human:`, `**Assistant:**`.

use std::ops::Range;

use super::lines::{is_blank, is_line_break};

/// Maximum length in bytes of what stands before the colon on its line.
const MAX_LABEL: usize = 48;

/// The user in the three spellings of chat formats, and in Chinese ones.
const USERS: [&str; 8] = [
    "User", "USER", "user", "Human", "HUMAN", "human", "用户", "人类",
];
const ASSISTANTS: [&str; 4] = ["Assistant", "ASSISTANT", "assistant", "助手"];

/// Speakers that count only in a heading: `### Instruction:` (Alpaca).
const HEADED_USERS: [&str; 2] = ["Instruction", "System"];
const HEADED_ASSISTANTS: [&str; 1] = ["Response"];

/// What may stand around a name: markdown marks and brackets.
const DECORATION: [char; 5] = ['#', '*', '_', '[', ']'];

/// A speaker's label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Speaker {
    /// From the start of the label to what it says.
    pub range: Range<usize>,
    /// Whether it is the assistant.
    pub own: bool,
    /// Whether nothing but the label stands before the colon on its line. Else
    /// a tag ends where the label starts: it counts if that tag ends a thought.
    pub at_line_start: bool,
}

/// Whether the byte before a colon may end a speaker's label: the last letter of
/// a name, or what may follow it. Most colons follow other words.
pub(super) fn may_end_label(bytes: &[u8], colon: usize) -> bool {
    let before = colon.checked_sub(1).map_or(0, |at| bytes[at]);
    !before.is_ascii()
        || matches!(
            before,
            b'r' | b'R' | b'n' | b'N' | b't' | b'T' | b'e' | b'm'
        )
        || !before.is_ascii_alphanumeric()
}

/// The speaker whose colon is at byte `colon`, which may be a full-width one.
pub(super) fn speaker_at(text: &str, colon: usize) -> Option<Speaker> {
    if !ends_with_name(&text[..colon]) {
        return None;
    }
    let line = line_start(text, colon);
    let window = line.unwrap_or_else(|| window_start(text, colon));
    let tag_end = text[window..colon]
        .rfind(['>', '▷', ']'])
        .map(|at| window + at + text[window + at..].chars().next().map_or(0, char::len_utf8));
    let after_tag = tag_end.and_then(|start| Some((start, false, role(&text[start..colon])?)));
    // `[User]:` ends with a bracket as well.
    let on_line = || line.and_then(|start| Some((start, true, role(&text[start..colon])?)));
    let (start, at_line_start, own) = after_tag.or_else(on_line)?;
    let after = &text[colon..];
    let after = &after[after.chars().next().map_or(0, char::len_utf8)..];
    if after.starts_with('/') {
        return None; // a URL
    }
    let after = after.trim_start_matches(['*', '_']);
    Some(Speaker {
        range: start..text.len() - after.len(),
        own,
        at_line_start,
    })
}

/// Whether a text ends with a name, apart from what may stand around it.
fn ends_with_name(text: &str) -> bool {
    let inner = text.trim_end_matches(|c| is_blank(c) || DECORATION.contains(&c));
    let groups: [&[&str]; 4] = [&USERS, &ASSISTANTS, &HEADED_USERS, &HEADED_ASSISTANTS];
    groups
        .iter()
        .any(|names| names.iter().any(|name| inner.ends_with(name)))
}

/// The first character boundary within [`MAX_LABEL`] bytes before `at`.
fn window_start(text: &str, at: usize) -> usize {
    let first = at.saturating_sub(MAX_LABEL);
    (first..at)
        .find(|&it| text.is_char_boundary(it))
        .unwrap_or(at)
}

/// The start of the line, if it is at most [`MAX_LABEL`] bytes before `at`.
fn line_start(text: &str, at: usize) -> Option<usize> {
    for (before, c) in text[..at].char_indices().rev() {
        if is_line_break(c) {
            return Some(before + c.len_utf8());
        }
        if at - before > MAX_LABEL {
            return None;
        }
    }
    Some(0)
}

/// Whether `label` names the assistant (true) or the user (false).
fn role(label: &str) -> Option<bool> {
    let label = label.trim_matches(is_blank);
    let headed = label.starts_with('#');
    let name = label.trim_matches(|c| is_blank(c) || DECORATION.contains(&c));
    if USERS.contains(&name) || headed && HEADED_USERS.contains(&name) {
        return Some(false);
    }
    (ASSISTANTS.contains(&name) || headed && HEADED_ASSISTANTS.contains(&name)).then_some(true)
}
