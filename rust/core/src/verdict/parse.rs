//! The parser of judge replies.

use std::ops::Range;

use super::outcome::Verdict;
use super::reply;
use super::rules::Rules;

/// Parses the verdict in a judge's reply. Never panics. The time is linear in
/// the length of the reply (with a custom pattern: times the size of the
/// pattern).
pub fn parse(reply: &str, rules: &Rules) -> Verdict {
    let Some(parts) = reply::reply_parts(reply) else {
        return Verdict::missing();
    };
    let last = parts.into_iter().rev().find_map(|part: Range<usize>| {
        let offset = part.start;
        rules
            .last_verdict(&reply[part])
            .map(|verdict| verdict.shifted_by(offset))
    });
    last.unwrap_or_else(Verdict::missing)
}
