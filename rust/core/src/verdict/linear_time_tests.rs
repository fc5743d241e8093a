//! No text takes quadratic time.

use super::*;

/// Texts that would take quadratic time if any step scanned back or ahead
/// without a limit. Each takes a few milliseconds.
#[test]
fn long_texts_take_linear_time() {
    let pieces = [
        "Score:",
        "score ",
        "score is ",
        "Score - ",
        "Score (",
        "max score: 5 ",
        "<think>",
        "</think>",
        "\n",
        " ",
        "*",
        "User:",
        " User:",
        "\nuser:",
        "[",
        "c",
        "9",
        "9.",
        "Score: 4 ",
        "e\u{301}",
        "\u{202e}",
        "\0",
        "١",
        "-",
        "or ",
        "<think></think>",
        "\nUser: <think>",
        "<|im_end|",
        "[INST",
        "<",
        "U",
        "score of a total of ",
        "Total: 3, ",
        "Score: 4 because of a ",
        "{\"score\":",
        "{\"score\":[{",
        "(1+",
        "Score\n",
        "## ",
    ];
    let start = std::time::Instant::now();
    for piece in pieces {
        let long = piece.repeat(200_000 / piece.len());
        parse(&long, &Rules::default());
        parse(&format!("Score:{long}"), &Rules::default());
        parse(&format!("Score: 4{long}"), &Rules::default());
        parse(&format!("{long}score is"), &Rules::default());
        parse(&format!("{{\"score\": 4{long}"), &Rules::default());
    }
    assert!(start.elapsed().as_secs() < 60, "took {:?}", start.elapsed());
}

/// Patterns that scan to the end of the text at each of many matches. Longer
/// texts and more patterns are in tests/native/test_verdict.py, which uses the
/// release build.
#[test]
fn custom_patterns_take_linear_time() {
    let start = std::time::Instant::now();
    for pattern in [
        r"Score:(?:.*!)?(?P<score>\d)?",
        r"(?P<score>[a-z:]??)(?:.*\d\d)?",
    ] {
        let rules = Rules::custom(pattern, 5.0).unwrap();
        parse(&"Score:".repeat(30_000), &rules);
    }
    assert!(start.elapsed().as_secs() < 30, "took {:?}", start.elapsed());
}

/// Beyond the limit of the direct search the last match is still the same.
#[test]
fn the_last_match_of_a_long_text() {
    let rules = Rules::custom(r"Score:(?:.*!)?(?P<score>\d)?", 5.0).unwrap();
    let long = "Score:".repeat(10_000);
    let cases = [
        (format!("{long}3"), Outcome::Scored, Some(3.0)),
        (format!("{long}3 Score:"), Outcome::Missing, None),
        (format!("{long}!2{long}4 "), Outcome::Scored, Some(4.0)),
        (format!("{long}!2"), Outcome::Scored, Some(2.0)),
        (format!("{long}9"), Outcome::OutOfRange, None),
    ];
    for (reply, outcome, score) in cases {
        let verdict = parse(&reply, &rules);
        assert_eq!((verdict.outcome, verdict.score), (outcome, score));
        let end = reply.trim_end().len();
        assert!(verdict.span.is_none_or(|span| span == (end - 1, end)));
    }
}
