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
//! 2. The last label counts. A label is the word `score`, followed by `:` or
//!    `=`, or by `is` or `-` and a number on the same line. Without a number,
//!    `the score is good` is prose, but `Score: good` is an unparseable verdict
//!    that overrides earlier ones.
//! 3. More than one number (`3-4`, `3 or 4`, `4,5`, `1+1+1=3`) is conflicting.
//!    Otherwise a number outside the scale, or on another scale (`4/10`,
//!    `80%`), is out of range.

mod cursor;
mod expected;
mod label;
mod last_match;
mod name;
mod nesting;
mod number;
mod outcome;
mod parse;
mod remark;
mod rules;
mod scale;
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
