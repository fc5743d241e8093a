//! The parser of judge replies.

use super::outcome::Verdict;
use super::rules::Rules;
use crate::reply::{TurnMarks, split};

/// Parses the verdict in a judge's reply: in what the judge said ([`split`]).
/// Never panics. The time is linear in the length of the reply (with a custom
/// pattern: times the size of the pattern).
pub fn parse(reply: &str, rules: &Rules) -> Verdict {
    let reply = split(reply, &TurnMarks::default(), false);
    let verdict = rules.last_verdict(&reply.said);
    let verdict = verdict.unwrap_or_else(Verdict::missing);
    verdict.mapped(|at| reply.position(at))
}
