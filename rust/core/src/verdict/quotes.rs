//! Quotations in a reply: a label that the judge quotes is not the judge's.

use std::ops::Range;

use super::cursor::{is_blank, is_line_break};

/// Quotation marks, each with the mark that closes it.
const MARKS: [(char, char); 7] = [
    ('\'', '\''),
    ('"', '"'),
    ('`', '`'),
    ('“', '”'),
    ('‘', '’'),
    ('„', '“'),
    ('«', '»'),
];

/// How a quotation is introduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quote {
    /// By a word, as in `it says 'Score: 5'`.
    Word,
    /// By a colon, as in `I rate it as follows: "Score: 5"`.
    Colon,
}

/// The quotations of a text that begin after other words on their line: `It
/// says 'Score: 5'`. One at the start of a line may be the verdict itself.
pub(super) struct Quotes {
    /// In ascending order, without overlaps.
    ranges: Vec<(Range<usize>, Quote)>,
}

impl Quotes {
    pub fn new(text: &str) -> Self {
        let mut ranges = Vec::new();
        // The mark that closes, the start, and what precedes it on its line.
        let mut open: Option<(char, usize, Option<Quote>)> = None;
        let (mut before, mut quote) = ('\n', None);
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let after = chars.peek().map_or('\n', |&(_, next)| next);
            match open {
                Some((closer, start, quote))
                    if c == closer && !is_space(before) && !after.is_alphanumeric() =>
                {
                    open = None;
                    ranges.extend(quote.map(|quote| (start..at, quote)));
                }
                Some(_) => {}
                None if !before.is_alphanumeric() && !is_space(after) => {
                    let mark = MARKS.iter().find(|&&(opener, _)| opener == c);
                    open = mark.map(|&(_, closer)| (closer, at, quote));
                }
                None => {}
            }
            quote = match c {
                _ if is_line_break(c) => None,
                _ if c.is_alphanumeric() => Some(Quote::Word),
                ':' | '：' => quote.map(|_| Quote::Colon),
                _ => quote,
            };
            before = c;
        }
        Self { ranges }
    }

    /// The quotation that holds the bytes from `start` to `end`.
    pub fn around(&self, start: usize, end: usize) -> Option<Quote> {
        let after = self
            .ranges
            .partition_point(|(range, _)| range.start <= start);
        let (range, quote) = self.ranges.get(after.checked_sub(1)?)?;
        (range.end >= end).then_some(*quote)
    }
}

fn is_space(c: char) -> bool {
    is_blank(c) || is_line_break(c)
}
