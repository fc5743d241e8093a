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
pub(super) struct Quotes<'a> {
    text: &'a str,
    /// The last quotation mark: most replies have none after their verdict.
    last: Option<usize>,
    /// In ascending order, without overlaps; built on first use.
    ranges: Option<Vec<(Range<usize>, Quote)>>,
}

impl<'a> Quotes<'a> {
    pub fn new(text: &'a str) -> Self {
        let closes = |c| MARKS.iter().any(|&(_, closer)| closer == c);
        Self {
            text,
            last: text.rfind(closes),
            ranges: None,
        }
    }

    fn ranges(text: &str) -> Vec<(Range<usize>, Quote)> {
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
        ranges
    }

    /// The quotation that holds the bytes from `start` to `end`.
    pub fn around(&mut self, start: usize, end: usize) -> Option<Quote> {
        if self.last.is_none_or(|last| last < end) {
            return None;
        }
        let ranges = self.ranges.get_or_insert_with(|| Self::ranges(self.text));
        let after = ranges.partition_point(|(range, _)| range.start <= start);
        let (range, quote) = ranges.get(after.checked_sub(1)?)?;
        (range.end >= end).then_some(*quote)
    }
}

fn is_space(c: char) -> bool {
    is_blank(c) || is_line_break(c)
}
