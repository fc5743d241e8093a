//! No reply makes the verdict parser panic, return an inconsistent verdict or
//! take long.

#![no_main]

use std::sync::LazyLock;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use srlm_core::verdict::{Outcome, Rules, parse};

/// The default labels, and patterns that scan far ahead, match the empty string
/// or match anything as the number.
static RULES: LazyLock<Vec<Rules>> = LazyLock::new(|| {
    let patterns = [
        r"\[\[(?P<score>\d+(?:\.\d+)?)\]\]",
        r"(?i)rating\s*=\s*(?P<score>\S+)?",
        r"(?s)Score:(?:.*!)?(?P<score>[^!]?)",
        r"(?P<score>)|\b",
    ];
    let custom = patterns.map(|pattern| Rules::custom(pattern, 10.0).expect("a valid pattern"));
    let label = [5.0, 10.0, 0.5].map(|max_score| Rules::new(max_score).expect("a valid scale"));
    label.into_iter().chain(custom).collect()
});

fuzz_target!(|data: &[u8]| {
    let reply = String::from_utf8_lossy(data);
    for rules in RULES.iter() {
        let start = Instant::now();
        check(&reply, rules);
        assert!(
            start.elapsed().as_secs() < 2,
            "{} bytes took too long",
            reply.len()
        );
    }
});

fn check(reply: &str, rules: &Rules) {
    let verdict = parse(reply, rules);
    assert_eq!(verdict.score.is_some(), verdict.outcome == Outcome::Scored);
    assert_eq!(verdict.span.is_none(), verdict.outcome == Outcome::Missing);
    if let Some(score) = verdict.score {
        assert!((0.0..=rules.max_score()).contains(&score) && !score.is_sign_negative());
    }
    if let Some((start, end)) = verdict.span {
        let number = reply
            .get(start..end)
            .expect("a span on character boundaries");
        assert!(!number.trim().is_empty());
        if let (Ok(value), Some(score)) = (number.parse::<f64>(), verdict.score) {
            assert_eq!(value.abs(), score);
        }
    }
    // Text after the end of the turn changes nothing.
    let ended = format!("{reply}<|im_end|>");
    let longer = format!("{ended}\nScore: 1 [[1]] rating = 1");
    assert_eq!(parse(&longer, rules), parse(&ended, rules));
}
