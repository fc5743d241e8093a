//! The default format: a label followed by a number.
//!
//! A label is the word `score`, or `total`, `final` or `overall` without it.
//! Hand-written instead of a regular expression, since the meaning of a label
//! depends on the text around it. Every label looks at a bounded number of
//! bytes before it and after its number, so the time is linear.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use super::cursor::{Cursor, is_closer, is_filler, is_line_break, is_opener};
use super::name::{self, Name};
use super::nesting::Nesting;
use super::number::{self, Number};
use super::outcome::{Outcome, Verdict};
use super::owner::Quantity;
use super::quotes::{Quote, Quotes};
use super::remark;
use super::scale;
use super::separator::{
    Note, Separator, eat_after_final, eat_after_score, eat_command, eat_separator, skip_underline,
};
use super::tally::{Rank, Reading, Tally};
use super::words::{COMPARISONS, FINAL, eat};

const WORD: &str = "score";

/// The labels without their first letter: `score` in every case, the others in
/// lower and upper case. Few enough for a vector search, which an automaton
/// that ignores case is not.
static TAILS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let score = (0..16).map(|upper| -> String {
        let letters = "core".char_indices();
        let cased = letters.map(|(at, c)| match upper >> at & 1 {
            0 => c,
            _ => c.to_ascii_uppercase(),
        });
        cased.collect()
    });
    let finals = ["otal", "inal", "verall", "OTAL", "INAL", "VERALL"].map(String::from);
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostFirst)
        .build(score.chain(finals))
        .expect("the fixed list of words is far below the automaton's limits")
});

/// The verdict of the labels in `text`; None if there is none.
pub(super) fn verdict(text: &str, max_score: f64) -> Option<Verdict> {
    let mut tally = Tally::default();
    let (mut nesting, mut quotes) = (None, None);
    for found in TAILS.find_iter(text) {
        let start = found.start().checked_sub(1);
        let start = start.filter(|&start| text.is_char_boundary(start));
        let Some(label) = start.and_then(|start| Label::at(text, start)) else {
            continue;
        };
        let place = nesting
            .get_or_insert_with(|| Nesting::new(text))
            .place(label.start);
        match label.name.quantity {
            Quantity::Maximum if label.exceeds(max_score) => tally.has_other_scale(),
            Quantity::Maximum | Quantity::Other => {}
            Quantity::Bare | Quantity::Final if place.quantity == Quantity::Other => {}
            Quantity::Bare | Quantity::Final => {
                let Some((verdict, is_template)) = label.verdict(max_score) else {
                    continue;
                };
                let end = verdict.span.map_or(label.after.at, |(_, end)| end);
                let quotes = quotes.get_or_insert_with(|| Quotes::new(text));
                let quote = quotes.around(place.outer.unwrap_or(label.start), end);
                if quote != Some(Quote::Word) {
                    let is_final = place.quantity == Quantity::Final || label.is_final();
                    tally.add(Reading {
                        verdict,
                        rank: match quote {
                            Some(_) => Rank::Unclear,
                            None => label.rank(&verdict, is_final),
                        },
                        depth: place.depth,
                        is_template,
                        has_word: label.has_word,
                    });
                }
            }
        }
    }
    tally.verdict()
}

/// A label and its separator.
struct Label<'a> {
    start: usize,
    name: Name,
    /// Whether it has the word `score`.
    has_word: bool,
    /// Whether it is a quoted key of an object.
    is_key: bool,
    scales: Vec<f64>,
    separator: Separator,
    /// The position after the separator.
    after: Cursor<'a>,
}

impl<'a> Label<'a> {
    /// The label whose first word starts at byte `start`, if there is one.
    fn at(text: &'a str, start: usize) -> Option<Self> {
        let mut cursor = Cursor::new(text, start);
        let has_word = cursor.eat_word(WORD);
        if !has_word && !eat(&mut cursor, FINAL) {
            return None;
        }
        let mut is_final = !has_word;
        let quoted = cursor.peek().filter(|c| matches!(c, '"' | '\''));
        cursor.skip(is_filler);
        if has_word {
            is_final |= eat_after_score(&mut cursor);
        } else if !eat_after_final(&mut cursor) {
            return None;
        }
        let mut note = Note::default();
        note.read(&mut cursor);
        let separator = eat_separator(&mut cursor, has_word)?;
        let mut name = name::read(text, start);
        if !has_word && text[..start].ends_with(char::is_alphanumeric)
            || separator == Separator::Heading && !name.opens_line
        {
            return None;
        }
        if note.names_another {
            name.quantity = Quantity::Other;
        } else if is_final && name.quantity == Quantity::Bare || note.is_final {
            name.quantity = Quantity::Final;
        }
        Some(Self {
            start,
            name,
            has_word,
            is_key: quoted.is_some() && separator == Separator::Colon,
            scales: note.scales,
            separator,
            after: cursor,
        })
    }

    fn is_final(&self) -> bool {
        self.name.quantity == Quantity::Final
    }

    fn rank(&self, verdict: &Verdict, is_final: bool) -> Rank {
        match verdict.outcome {
            _ if !is_final => Rank::Bare,
            Outcome::Conflicting if !self.has_word => Rank::Unclear,
            _ => Rank::Final,
        }
    }

    /// The number of the label. On a later line a number counts only if it is
    /// alone on that line: a list that starts there (`1. Relevance`) is not a
    /// verdict.
    fn number(&self) -> Option<(Number, Cursor<'a>)> {
        let mut cursor = self.after;
        if self.separator == Separator::Heading {
            skip_underline(&mut cursor);
        }
        let crosses = self.separator != Separator::Weak;
        loop {
            cursor.skip(|c| is_opener(c) || c == '}' || (crosses && is_line_break(c)));
            if !eat_command(&mut cursor) {
                break;
            }
        }
        let number = number::read(cursor)?;
        let after = Cursor::new(cursor.text, number.end);
        if number.is_word && is_count(after) {
            return None;
        }
        let crossed = cursor.text[self.after.at..cursor.at].contains(is_line_break);
        (!crossed || is_alone_on_line(after)).then_some((number, cursor))
    }

    /// The verdict of the label, and whether it may be a template; None if the
    /// label is prose.
    fn verdict(&self, max_score: f64) -> Option<(Verdict, bool)> {
        let Some((number, cursor)) = self.number() else {
            let counts = self.separator == Separator::Colon && self.has_word;
            return counts.then(|| (Verdict::missing(), false));
        };
        let after = Cursor::new(cursor.text, number.end);
        if self.separator == Separator::Weak && is_difference(after) {
            return None;
        }
        let openers = &cursor.text[self.after.at..cursor.at];
        let verdict = self.checked(&number, openers, max_score);
        let is_template = verdict.outcome == Outcome::Conflicting && openers.contains(['<', '[']);
        Some((verdict, is_template))
    }

    /// The verdict of the number, which depends on what follows.
    fn checked(&self, number: &Number, openers: &str, max_score: f64) -> Verdict {
        let span = (number.start, number.end);
        let mut cursor = Cursor::new(self.after.text, number.end);
        let mut scales = self.scales.clone();
        let clean = !remark::has_decimal_comma(cursor) && {
            scale::skip(&mut cursor, &mut scales);
            remark::is_clean(cursor, number.value, max_score, self.is_key)
                && are_closed(openers, number.end, cursor)
        };
        if !clean {
            return Verdict::invalid(Outcome::Conflicting, span);
        }
        if scales.iter().any(|&other| other != max_score) {
            return Verdict::invalid(Outcome::OutOfRange, span);
        }
        Verdict::on_scale(number.value, max_score, span)
    }

    /// Whether the label of a maximum names one above `max_score`.
    fn exceeds(&self, max_score: f64) -> bool {
        self.number()
            .is_some_and(|(number, _)| number.value.is_finite() && number.value > max_score)
    }
}

/// Whether a number word is a count, as in `one of the best`.
fn is_count(mut after: Cursor) -> bool {
    after.skip(is_filler);
    let mut denominator = after;
    after.eat_word("of") && scale::read_phrase(&mut denominator).is_none()
}

/// Whether a number is a difference, as in `the score is 1 point below the
/// top`.
fn is_difference(mut after: Cursor) -> bool {
    scale::skip(&mut after, &mut Vec::new());
    after.skip(is_filler);
    eat(&mut after, COMPARISONS)
}

fn is_alone_on_line(mut after: Cursor) -> bool {
    scale::skip(&mut after, &mut Vec::new());
    after.skip(|c| is_closer(c) || c == '.');
    after.peek().is_none_or(is_line_break)
}

/// Whether what opens before the number is closed after it: `<4>` is a number,
/// `<4` is a bound.
fn are_closed(openers: &str, end: usize, after: Cursor) -> bool {
    let mut cursor = after;
    cursor.skip(is_closer);
    let closers = &cursor.text[end..cursor.at];
    [('<', '>'), ('$', '$')]
        .iter()
        .all(|&(opener, closer)| !openers.contains(opener) || closers.contains(closer))
}
