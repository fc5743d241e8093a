//! The skeleton of a text: what it looks like.

use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_security::skeleton as confusables;

/// A character of a skeleton.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Glyph {
    /// What it looks like, in lower case.
    pub c: char,
    /// The byte of the text from which it comes.
    pub at: usize,
    /// Whether white space or a slash stands before it.
    pub after_gap: bool,
}

/// Brackets that look like `<` or two of them and are not among the confusables
/// of Unicode, and those that close.
const OPENING: [char; 14] = [
    '«', '≪', '⋘', '《', '⟪', '〈', '〈', '⟨', '❬', '❰', '❮', '⧼', '˂', '‹',
];

static ASCII: LazyLock<Vec<Vec<char>>> = LazyLock::new(|| {
    (0..128u8)
        .map(|byte| prototypes(char::from(byte)))
        .collect()
});

/// The skeleton of a text without white space, slashes, invisible characters and
/// combining marks.
pub(super) fn skeleton(text: &str) -> Vec<Glyph> {
    let mut glyphs = Vec::with_capacity(text.len());
    let mut after_gap = false;
    let mut add = |at: usize, found: &[char], after_gap: &mut bool| {
        for &c in found {
            if c.is_whitespace() || matches!(c, '/' | '\\') {
                *after_gap = true;
            } else {
                glyphs.push(Glyph {
                    c,
                    at,
                    after_gap: *after_gap,
                });
                *after_gap = false;
            }
        }
    };
    for (at, c) in text.char_indices() {
        match ASCII.get(c as usize) {
            Some(found) => add(at, found, &mut after_gap),
            None => add(at, &prototypes(c), &mut after_gap),
        }
    }
    glyphs
}

/// What a character looks like. Case is folded before the look-up, since capitals
/// have look-alikes of their own (`I` and `l`), and after it.
fn prototypes(c: char) -> Vec<char> {
    if c.is_ascii_whitespace() || c.is_whitespace() || c == '\u{2800}' {
        return vec![' '];
    }
    if OPENING.contains(&c) {
        return vec!['<'];
    }
    let folded: String = c.to_string().nfkd().flat_map(char::to_lowercase).collect();
    confusables(&folded)
        .flat_map(char::to_lowercase)
        .filter(|&c| !is_combining_mark(c))
        .collect()
}
