//! Parsing the verdict in a judge's reply.
//!
//! The judge is a language model: it may reason first, quote the requested
//! format, correct itself, or continue with the next turn of the conversation.
//! A wrongly parsed score becomes a wrong preference pair, so a reply without
//! exactly one clear number on the scale gets another [`Outcome`]; the score is
//! never guessed.
//!
//! The rules, in order:
//!
//! 1. Only what the judge said counts: thoughts and further turns are left out
//!    ([`crate::reply`]). If a thought is never closed, the outcome is
//!    [`Outcome::Missing`].
//! 2. A label is the word `score`, followed by `:` or `=`, by `is` or `-` and a
//!    number on the same line, or by a number on the line below if it is a
//!    heading; or `total`, `final` or `overall` with `:` or as a heading. What
//!    stands before it must not make it another quantity's (`Relevance score`,
//!    an inner object) or prose (`to improve the score`).
//!    A label that the judge quotes (`it says 'Score: 5'`) does not count.
//! 3. Final labels count before others. Labels of the same rank that disagree
//!    are conflicting. Without a number, `the score is good` is prose, but
//!    `Score: good` is an unparseable verdict that overrides earlier ones.
//! 4. After the number only the end of the line or sentence, the scale, or a
//!    remark without further numbers may follow; anything else is conflicting.
//!    Otherwise a number outside the scale, or on another scale (`4/10`, `80%`,
//!    `4 on a scale of 1 to 10`), is out of range.

mod cursor;
mod expected;
mod label;
mod last_match;
mod name;
mod nesting;
mod number;
mod outcome;
mod owner;
mod parse;
mod quotes;
mod remark;
mod rules;
mod scale;
mod separator;
mod tally;
mod two_pass;
mod words;

pub use expected::expected_scores;
pub use outcome::{Outcome, Verdict};
pub use parse::parse;
pub use rules::Rules;

#[cfg(test)]
mod label_tests;
#[cfg(test)]
mod linear_time_tests;
#[cfg(test)]
mod tests;
