//! The default format: a label followed by a number.
//!
//! A label is the word `score`, or `total`, `final` or `overall` without it.
//! Hand-written instead of a regular expression, since the meaning of a label
//! depends on the text around it. Every label looks at a bounded number of
//! bytes before it and after its number, so the time is linear.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

use super::cursor::{Cursor, DASHES, is_closer, is_filler, is_line_break, is_opener};
use super::name::{self, Name, Quantity};
use super::nesting::Nesting;
use super::number::{self, Number};
use super::outcome::{Outcome, Verdict};
use super::remark;
use super::scale;
use super::tally::{Rank, Reading, Tally};
use super::words::{AFTER_LABEL, COMPARISONS, FINAL, FINAL_NOUNS, eat};

const WORD: &str = "score";

/// The maximum length, in characters, of a note in brackets between label and
/// separator, as in `Score (out of 5): 4`.
const MAX_NOTE_CHARS: usize = 40;

/// The first three letters of the labels in every case: few enough for a vector
/// search, which an automaton without case is not.
static PREFIXES: LazyLock<AhoCorasick> = LazyLock::new(|| {
    let prefixes = ["sco", "tot", "fin", "ove"].iter().flat_map(|prefix| {
        (0..8).map(|upper| -> String {
            let letters = prefix.char_indices();
            let cased = letters.map(|(at, c)| match upper >> at & 1 {
                0 => c,
                _ => c.to_ascii_uppercase(),
            });
            cased.collect()
        })
    });
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostFirst)
        .build(prefixes)
        .expect("the fixed list of prefixes is far below the automaton's limits")
});

/// The verdict of the labels in `text`; None if there is none.
pub(super) fn verdict(text: &str, max_score: f64) -> Option<Verdict> {
    let mut tally = Tally::default();
    let mut nesting = None;
    for found in PREFIXES.find_iter(text) {
        let Some(label) = Label::at(text, found.start()) else {
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
                if let Some((verdict, is_template)) = label.verdict(max_score) {
                    let is_final = place.quantity == Quantity::Final || label.is_final();
                    tally.add(Reading {
                        verdict,
                        rank: label.rank(&verdict, is_final),
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

/// The separator between label and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Separator {
    /// `:` or `=`: the label introduces a verdict even if it is unparseable.
    Colon,
    /// `is` or a dash: prose, unless a number follows directly.
    Weak,
    /// The end of a line that holds nothing but the label.
    Heading,
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

/// Skips words that may follow `score` (`score total`, `score for this
/// response`); returns whether one of them makes the label final.
fn eat_after_score(cursor: &mut Cursor) -> bool {
    let mut is_final = false;
    for _ in 0..6 {
        if eat(cursor, FINAL) {
            is_final = true;
        } else if !eat(cursor, AFTER_LABEL) {
            break;
        }
        cursor.skip(is_filler);
    }
    is_final
}

/// Skips nouns that may follow a final word; false if `score` follows, which is
/// a label itself.
fn eat_after_final(cursor: &mut Cursor) -> bool {
    for _ in 0..4 {
        if !eat(cursor, FINAL_NOUNS.or(FINAL)) {
            break;
        }
        cursor.skip(is_filler);
    }
    !cursor.at_alphanumeric()
}

/// What stands between label and separator.
#[derive(Default)]
struct Note {
    scales: Vec<f64>,
    is_final: bool,
    names_another: bool,
}

impl Note {
    /// Reads `out of 5`, or a short note in brackets, and the filler after it.
    fn read(&mut self, cursor: &mut Cursor) {
        if cursor
            .rest()
            .get(..3)
            .is_some_and(|word| word.eq_ignore_ascii_case("out"))
        {
            self.scales.extend(scale::read_phrase(cursor));
            cursor.skip(is_filler);
            return;
        }
        let Some(text) = eat_brackets(cursor) else {
            return;
        };
        self.scales.extend(scale::from_note(text));
        self.is_final = name::owner_of(text) == Quantity::Final;
        self.names_another = !self.is_final && !scale::is_note(text);
    }
}

/// Skips a short note in brackets and the filler after it; returns its text.
fn eat_brackets<'a>(cursor: &mut Cursor<'a>) -> Option<&'a str> {
    let mut ahead = *cursor;
    ahead.eat_if(|c| matches!(c, '(' | '[' | '（'))?;
    let start = ahead.at;
    for _ in 0..MAX_NOTE_CHARS {
        let end = ahead.at;
        let next = ahead.eat_if(|c| !is_line_break(c))?;
        if matches!(next, ')' | ']' | '）') {
            ahead.skip(is_filler);
            *cursor = ahead;
            return Some(&ahead.text[start..end]);
        }
    }
    None
}

fn eat_separator(cursor: &mut Cursor, has_word: bool) -> Option<Separator> {
    if cursor.eat_if(is_colon).is_some() {
        cursor.skip(is_colon);
        return Some(Separator::Colon);
    }
    if cursor.peek().is_some_and(is_line_break) {
        return Some(Separator::Heading);
    }
    if cursor.eat_word("is") {
        let mut ahead = *cursor;
        ahead.skip(is_filler);
        if ahead.eat_if(is_colon).is_some() {
            *cursor = ahead;
            return Some(Separator::Colon);
        }
        return has_word.then_some(Separator::Weak);
    }
    if !has_word {
        return None;
    }
    cursor
        .eat_if(|c| DASHES.contains(&c))
        .map(|_| Separator::Weak)
}

fn is_colon(c: char) -> bool {
    matches!(c, ':' | '：' | '=')
}

/// Skips the line of `=` or `-` under a heading.
fn skip_underline(cursor: &mut Cursor) {
    let mut ahead = *cursor;
    ahead.skip(is_line_break);
    let start = ahead.at;
    ahead.skip(|c| matches!(c, '=' | '-'));
    if ahead.at > start + 1 {
        ahead.skip(is_filler);
        if ahead.peek().is_some_and(is_line_break) {
            *cursor = ahead;
        }
    }
}

/// Skips the opening of a LaTeX command, as in `\boxed{4}`.
fn eat_command(cursor: &mut Cursor) -> bool {
    let mut ahead = *cursor;
    if ahead.eat_if(|c| c == '\\').is_none() {
        return false;
    }
    for command in ["boxed", "text", "textbf", "mathbf", "mathrm", "fbox"] {
        if ahead.eat_word(command) {
            if ahead.eat_if(|c| c == '{').is_none() {
                return false;
            }
            *cursor = ahead;
            return true;
        }
    }
    let opens = ahead.eat_if(|c| matches!(c, '(' | '[')).is_some();
    if opens {
        *cursor = ahead;
    }
    opens
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
