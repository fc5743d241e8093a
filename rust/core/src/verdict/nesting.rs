//! Nested objects in a reply: which labels are inside another quantity's.

use memchr::memchr;

use super::owner::{Quantity, owner_of};

/// The maximum length of a key, in bytes.
const MAX_KEY: usize = 60;

/// Follows the braces, brackets and strings of a text up to a position.
pub(super) struct Nesting<'a> {
    text: &'a str,
    at: usize,
    /// The open braces and brackets, with what their key names.
    open: Vec<(u8, Quantity)>,
    /// The start of the string that is being read, and what its key names.
    string: Option<(usize, Quantity)>,
    /// The numbers of open brackets whose keys name another quantity, and of
    /// those whose keys name the final score.
    others: usize,
    finals: usize,
    /// The start of the outermost open bracket.
    outer: usize,
    has_braces: bool,
}

/// The position of a label in nested objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of enclosing objects and lists, at least 1.
    pub depth: usize,
    /// What the keys around it name.
    pub quantity: Quantity,
    /// The first byte of the outermost of them.
    pub outer: Option<usize>,
}

impl<'a> Nesting<'a> {
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            open: Vec::new(),
            string: None,
            others: 0,
            finals: 0,
            outer: 0,
            has_braces: memchr(b'{', text.as_bytes()).is_some(),
        }
    }

    /// The place of byte `at`. Positions must come in ascending order.
    pub fn place(&mut self, at: usize) -> Place {
        if self.has_braces {
            while self.at < at {
                self.step();
            }
        }
        let in_value = self.string.filter(|&(start, _)| self.is_value(start));
        let value = in_value.map(|(_, quantity)| quantity);
        let quantity = if self.others > 0 || value == Some(Quantity::Other) {
            Quantity::Other
        } else if self.finals > 0 || value == Some(Quantity::Final) {
            Quantity::Final
        } else {
            Quantity::Bare
        };
        Place {
            depth: (self.open.len() + usize::from(value.is_some())).max(1),
            quantity,
            outer: (!self.open.is_empty()).then_some(self.outer),
        }
    }

    fn push(&mut self, bracket: u8, quantity: Quantity) {
        if self.open.is_empty() {
            self.outer = self.at;
        }
        self.others += usize::from(quantity == Quantity::Other);
        self.finals += usize::from(quantity == Quantity::Final);
        self.open.push((bracket, quantity));
    }

    /// Closes the innermost bracket; returns which it was.
    fn pop(&mut self) -> Option<u8> {
        let (bracket, quantity) = self.open.pop()?;
        self.others -= usize::from(quantity == Quantity::Other);
        self.finals -= usize::from(quantity == Quantity::Final);
        Some(bracket)
    }

    fn step(&mut self) {
        let byte = self.text.as_bytes()[self.at];
        match (byte, self.string) {
            (b'\\', Some(_)) => self.at += 1,
            (b'"', Some(_)) => self.string = None,
            (_, Some(_)) => {}
            (b'"', None) if !self.open.is_empty() => {
                self.string = Some((self.at, self.key_before(self.at)));
            }
            (b'{', None) => {
                let in_list = self.open.last().is_some_and(|&(open, _)| open == b'[');
                let quantity = if in_list {
                    Quantity::Other
                } else {
                    self.key_before(self.at)
                };
                self.push(b'{', quantity);
            }
            (b'[', None) if self.text[self.at + 1..].trim_start().starts_with('{') => {
                self.push(b'[', self.key_before(self.at));
            }
            (b'}', None) => while self.pop().is_some_and(|open| open != b'{') {},
            (b']', None) if self.open.last().is_some_and(|&(open, _)| open == b'[') => {
                self.pop();
            }
            _ => {}
        }
        self.at += 1;
    }

    /// Whether the string that starts at byte `start` is the value of a key.
    fn is_value(&self, start: usize) -> bool {
        self.text[..start].trim_end().ends_with([':', '='])
    }

    /// What the key of the value at byte `at` names.
    fn key_before(&self, at: usize) -> Quantity {
        let mut from = at.saturating_sub(MAX_KEY);
        while !self.text.is_char_boundary(from) {
            from += 1;
        }
        let before = self.text[from..at].trim_end();
        let Some(key) = before.strip_suffix([':', '=']) else {
            return Quantity::Bare;
        };
        let key = key.trim_end().trim_end_matches(['"', '\'']);
        let start = key
            .rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | ' ')))
            .map_or(0, |at| {
                at + key[at..].chars().next().map_or(1, char::len_utf8)
            });
        owner_of(&key[start..])
    }
}
