//! A position in a text, with the operations of the label scanner.

pub(super) use crate::reply::{is_blank, is_line_break};

/// Hyphens and dashes that models write as a separator, a range or a sign:
/// hyphen-minus, hyphen, non-breaking hyphen, en dash, em dash, minus sign,
/// full-width hyphen.
pub(super) const DASHES: [char; 7] = ['-', '‐', '‑', '–', '—', '−', '－'];

/// Markdown marks and quotes.
pub(super) fn is_mark(c: char) -> bool {
    matches!(
        c,
        '*' | '_' | '`' | '#' | '"' | '\'' | '“' | '”' | '„' | '‘' | '’' | '«' | '»'
    )
}

/// Blanks and marks.
pub(super) fn is_filler(c: char) -> bool {
    is_blank(c) || is_mark(c)
}

/// Characters allowed between separator and number.
pub(super) fn is_opener(c: char) -> bool {
    is_filler(c) || matches!(c, '<' | '[' | '(' | '（' | '【' | '$')
}

/// Characters allowed directly after the number.
pub(super) fn is_closer(c: char) -> bool {
    is_filler(c) || matches!(c, '>' | ']' | ')' | '}' | '）' | '】' | '$')
}

/// A byte position in `text`, always on a character boundary.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    pub text: &'a str,
    pub at: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at byte `at`, which must be a character boundary.
    pub fn new(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    /// The rest of the text.
    pub fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The next character.
    pub fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Whether the next character is a letter or a digit of any script.
    pub fn at_alphanumeric(&self) -> bool {
        self.peek().is_some_and(char::is_alphanumeric)
    }

    /// Skips the next character if it satisfies `accept`.
    pub fn eat_if(&mut self, accept: impl Fn(char) -> bool) -> Option<char> {
        let next = self.peek().filter(|&c| accept(c))?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Skips all characters that satisfy `accept`.
    pub fn skip(&mut self, accept: impl Fn(char) -> bool) {
        while self.eat_if(&accept).is_some() {}
    }

    /// Skips `word` (ASCII, case-insensitive) if it is next, as a whole word.
    pub fn eat_word(&mut self, word: &str) -> bool {
        let Some(head) = self.text.as_bytes().get(self.at..self.at + word.len()) else {
            return false;
        };
        let after = Cursor::new_if_boundary(self.text, self.at + word.len());
        match after {
            Some(after)
                if head.eq_ignore_ascii_case(word.as_bytes()) && !after.at_alphanumeric() =>
            {
                self.at = after.at;
                true
            }
            _ => false,
        }
    }

    fn new_if_boundary(text: &'a str, at: usize) -> Option<Self> {
        text.is_char_boundary(at).then_some(Self { text, at })
    }
}
