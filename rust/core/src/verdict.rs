//! Reading the verdict out of a judge's reply.
//!
//! The judge is a language model: it may think aloud, quote the format it was
//! asked for, correct itself, or go on and write the next turn of the
//! conversation by itself. A score read wrongly becomes a wrong preference
//! pair, so whatever is not plainly one number on the agreed scale is reported
//! as what it is ([`Outcome`]) and never guessed.
//!
//! The rules, in the order in which they apply:
//!
//! 1. A `<think>…</think>` block is no part of the reply, and neither is what
//!    comes before a `</think>` that nothing opened (some chat templates open
//!    the block in the prompt). If a `<think>` is not closed, there is no reply
//!    and the outcome is [`Outcome::Missing`].
//! 2. The reply ends where the model starts another turn: at a chat marker
//!    such as `<|im_end|>` anywhere, or at a line that begins with `User:`,
//!    `Human:` or `<response>` outside a think block.
//! 3. The last label counts. A label is the word `score`, followed by `:` or
//!    `=`, or by `is` or `-` and a number on the same line. Without a number
//!    `the score is good` is prose, but `Score: good` is a verdict that cannot
//!    be read, and so hides earlier ones.
//! 4. Two numbers in place of one (`3-4`, `3 or 4`, `4,5`, `1+1+1=3`) conflict. Otherwise
//!    a number outside the scale, or on another scale (`4/10`, `80%`), is out
//!    of range.

mod alternative;
mod cursor;
mod expected;
mod label;
mod last_match;
mod number;
mod reply;
mod rules;
mod scale;
mod two_pass;

pub use expected::expected_scores;
pub use rules::Rules;

use std::ops::Range;

/// How reading a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// One number on the scale.
    Scored,
    /// No label, or a label with nothing readable behind it.
    Missing,
    /// A number, but not on the agreed scale.
    OutOfRange,
    /// More than one number in place of one.
    Conflicting,
}

impl Outcome {
    /// The name used in files and in the Python API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scored => "scored",
            Self::Missing => "missing",
            Self::OutOfRange => "out_of_range",
            Self::Conflicting => "conflicting",
        }
    }
}

/// What a judge's reply says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// How reading ended.
    pub outcome: Outcome,
    /// The score; `Some` exactly when the outcome is [`Outcome::Scored`].
    pub score: Option<f64>,
    /// The bytes of the reply that hold the number (of several, the first);
    /// `None` exactly when the outcome is [`Outcome::Missing`].
    pub span: Option<(usize, usize)>,
}

impl Verdict {
    /// The verdict of a reply in which no number could be read.
    pub(crate) fn missing() -> Self {
        Self {
            outcome: Outcome::Missing,
            score: None,
            span: None,
        }
    }

    /// A number that is not a valid score for the reason `outcome`.
    pub(crate) fn refused(outcome: Outcome, span: (usize, usize)) -> Self {
        Self {
            outcome,
            score: None,
            span: Some(span),
        }
    }

    /// `value` as a score if it lies on the scale.
    pub(crate) fn on_scale(value: f64, max_score: f64, span: (usize, usize)) -> Self {
        if !(0.0..=max_score).contains(&value) {
            return Self::refused(Outcome::OutOfRange, span);
        }
        Self {
            outcome: Outcome::Scored,
            // Adding 0.0 turns the -0.0 of `Score: -0` into 0.0.
            score: Some(value + 0.0),
            span: Some(span),
        }
    }

    /// The same verdict for a text in which this one begins at byte `offset`.
    fn moved_by(mut self, offset: usize) -> Self {
        self.span = self.span.map(|(start, end)| (start + offset, end + offset));
        self
    }
}

/// Reads the verdict out of a judge's reply. Never panics; the time is linear
/// in the length of the reply (for a pattern of one's own, times its size).
pub fn parse(reply: &str, rules: &Rules) -> Verdict {
    let Some(parts) = reply::spoken_parts(reply) else {
        return Verdict::missing();
    };
    let last = parts.into_iter().rev().find_map(|part: Range<usize>| {
        let offset = part.start;
        rules
            .last_verdict(&reply[part])
            .map(|verdict| verdict.moved_by(offset))
    });
    last.unwrap_or_else(Verdict::missing)
}

#[cfg(test)]
mod long_tests;
#[cfg(test)]
mod tests;
