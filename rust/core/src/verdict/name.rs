//! What stands before a label, and so what the label is the label of.
//!
//! A label is the verdict's if it begins its clause, or follows a word that is
//! known to name no other quantity. Everything else before it (`Relevance
//! score`, `How to improve the score`) makes it another quantity, or prose.

use super::cursor::{DASHES, is_filler, is_line_break};
use super::owner::{Quantity, heading_above, owner_of};
use super::words::{CLAUSE, DETERMINERS, FINAL, MODIFIERS, SCALE_LABELS, is_in, last_word};

/// The maximum length, in bytes, of the text before a label that is examined.
const MAX_BEFORE: usize = 100;

/// Characters that begin a clause.
const CLAUSE_STARTS: [char; 16] = [
    '.', '!', ';', ',', '…', '。', '！', '；', '，', '、', '{', '}', '।', '؛', '،', '•',
];

/// The name of a label.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    pub quantity: Quantity,
    /// Whether nothing but marks and list signs precedes it on its line.
    pub opens_line: bool,
}

impl Name {
    fn other() -> Self {
        Self {
            quantity: Quantity::Other,
            opens_line: false,
        }
    }
}

/// The text before `start`, cut to the last [`MAX_BEFORE`] bytes.
fn window(text: &str, start: usize) -> &str {
    let mut from = start.saturating_sub(MAX_BEFORE);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..start]
}

/// The name of the label that starts at byte `start`.
pub(super) fn read(text: &str, start: usize) -> Name {
    let window = window(text, start);
    let line_start = window.rfind(is_line_break).map(|at| {
        let width = window[at..].chars().next().map_or(1, char::len_utf8);
        at + width
    });
    let line = &window[line_start.unwrap_or(0)..];
    let whole_line = line_start.is_some() || window.len() == start;
    let above = line_start.map_or("", |at| &window[..at]);
    let mut phrase = Phrase {
        rest: line,
        is_final: false,
    };
    match phrase.walk() {
        Start::Clause => phrase.name(false),
        Start::Owned(owner) => phrase.owned(owner, above, whole_line),
        Start::Maximum => Name {
            quantity: Quantity::Maximum,
            opens_line: false,
        },
        Start::Other => Name::other(),
    }
}

/// What precedes the noun phrase of a label.
enum Start<'a> {
    /// The end of another clause, or a word that introduces the label.
    Clause,
    /// A separator, or nothing; the text before it.
    Owned(&'a str),
    Maximum,
    Other,
}

/// The noun phrase of a label, read backwards.
struct Phrase<'a> {
    /// The text before the part that has been read.
    rest: &'a str,
    is_final: bool,
}

impl<'a> Phrase<'a> {
    fn name(&self, opens_line: bool) -> Name {
        let quantity = if self.is_final {
            Quantity::Final
        } else {
            Quantity::Bare
        };
        Name {
            quantity,
            opens_line,
        }
    }

    fn walk(&mut self) -> Start<'a> {
        if let Some(start) = self.joined() {
            return start;
        }
        for _ in 0..6 {
            let trimmed = self.rest.trim_end_matches(is_filler);
            let Some(last) = trimmed.chars().next_back() else {
                return Start::Owned("");
            };
            if !last.is_alphanumeric() {
                return separator(trimmed, last);
            }
            let word = last_word(trimmed);
            let before = &trimmed[..trimmed.len() - word.len()];
            if is_in(word, FINAL) {
                self.is_final = true;
            } else if is_in(word, SCALE_LABELS) {
                return Start::Maximum;
            } else if is_in(word, DETERMINERS) {
                return introduced(before);
            } else if word.eq_ignore_ascii_case("s") && before.ends_with(['\'', '’']) {
                let owner = last_word(before.trim_end_matches(['\'', '’']));
                return if is_in(owner, MODIFIERS) {
                    Start::Clause
                } else {
                    Start::Other
                };
            } else if !is_in(word, MODIFIERS) {
                return awarded(word, before);
            }
            self.rest = before;
        }
        Start::Other
    }

    /// A word joined to the label without a blank (`final_score`, `z-score`,
    /// `finalScore`): only a final word leaves it a label.
    fn joined(&mut self) -> Option<Start<'a>> {
        let last = self.rest.chars().next_back()?;
        let before = match last {
            c if c.is_alphanumeric() => self.rest,
            c if c == '_' || DASHES.contains(&c) => {
                let before = &self.rest[..self.rest.len() - c.len_utf8()];
                if !before.ends_with(char::is_alphanumeric) {
                    return None;
                }
                before
            }
            _ => return None,
        };
        let word = last_word(before);
        if !is_in(word, FINAL) {
            let maximum = before.len() < self.rest.len() && is_in(word, SCALE_LABELS);
            return Some(if maximum {
                Start::Maximum
            } else {
                Start::Other
            });
        }
        self.is_final = true;
        self.rest = &before[..before.len() - word.len()];
        // `relevance_total_score` is the label of another quantity, too.
        self.joined()
    }

    /// The name of a label that opens its line, or follows an owner on it.
    fn owned(&mut self, owner: &str, above: &str, whole_line: bool) -> Name {
        let signs = |c: char| !c.is_alphabetic();
        if !owner.chars().any(char::is_alphabetic) {
            if owner.chars().filter(char::is_ascii_digit).count() > 2 {
                return Name::other();
            }
            if let Some(heading) = heading_above(above) {
                match owner_of(heading) {
                    Quantity::Final => self.is_final = true,
                    Quantity::Other if !self.is_final => return Name::other(),
                    _ => {}
                }
            }
            return self.name(whole_line);
        }
        match owner_of(owner.trim_matches(signs)) {
            Quantity::Final => self.is_final = true,
            Quantity::Other => return Name::other(),
            _ => {}
        }
        self.name(false)
    }
}

/// What a character that is no letter, at the end of `trimmed`, says about the
/// label after it.
fn separator(trimmed: &str, last: char) -> Start<'_> {
    let before = &trimmed[..trimmed.len() - last.len_utf8()];
    if last == '.' && before.ends_with(|c: char| c.is_ascii_digit()) {
        // A list number, or a sentence that ends with a number.
        let number = before.trim_end_matches(|c: char| c.is_ascii_digit());
        return if number.trim_matches(is_filler).is_empty() {
            Start::Owned("")
        } else {
            Start::Clause
        };
    }
    if CLAUSE_STARTS.contains(&last) {
        return Start::Clause;
    }
    if last == '?' || last == '？' {
        // A question names what the label is about. Bytes that are not text are
        // read as question marks.
        return if before.contains(char::is_alphabetic) {
            Start::Other
        } else {
            Start::Clause
        };
    }
    let separators = |c: char| {
        matches!(
            c,
            '(' | '['
                | ')'
                | ']'
                | '（'
                | '）'
                | '【'
                | '】'
                | ':'
                | '：'
                | '='
                | '|'
                | '/'
                | '>'
                | '<'
                | '→'
                | '~'
                | '&'
                | '+'
        ) || DASHES.contains(&c)
    };
    if !separators(last) {
        return Start::Clause;
    }
    let owner = before.trim_end_matches(|c| separators(c) || is_filler(c));
    let from = owner
        .rfind(|c| CLAUSE_STARTS.contains(&c) || matches!(c, '|' | '?'))
        .map_or(0, |at| {
            at + owner[at..].chars().next().map_or(1, char::len_utf8)
        });
    let in_brackets = matches!(last, '(' | '（');
    if in_brackets && owner.chars().any(char::is_alphanumeric) {
        return Start::Other;
    }
    Start::Owned(&owner[from..])
}

/// Whether a label with a determiner begins its clause, given the text before.
fn introduced(before: &str) -> Start<'_> {
    let trimmed = before.trim_end_matches(is_filler);
    let Some(last) = trimmed.chars().next_back() else {
        return Start::Owned("");
    };
    if !last.is_alphanumeric() {
        return separator(trimmed, last);
    }
    let word = last_word(trimmed);
    awarded(word, &trimmed[..trimmed.len() - word.len()])
}

/// Whether `word` introduces a label: `so the score`, `I give it a score`, but
/// not `to get a score`.
fn awarded<'a>(word: &str, before: &str) -> Start<'a> {
    let previous = last_word(before.trim_end_matches(is_filler));
    if is_in(word, CLAUSE) && !previous.eq_ignore_ascii_case("to") {
        Start::Clause
    } else {
        Start::Other
    }
}
