//! No text takes quadratic time.

use super::*;

/// Texts that would take quadratic time if any step scanned back or ahead
/// without a limit.
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
    for piece in pieces {
        // Four times the text takes four times as long, and 16 times in
        // quadratic time.
        let quarter = seconds(piece, 20_000);
        let whole = seconds(piece, 80_000);
        assert!(
            whole < 9.0 * quarter + 2.0,
            "{piece:?}: {quarter} s, then {whole} s"
        );
    }
}

/// The time to parse texts of `len` bytes that repeat `piece`.
fn seconds(piece: &str, len: usize) -> f64 {
    let long = piece.repeat(len / piece.len());
    let start = std::time::Instant::now();
    for text in [
        long.clone(),
        format!("Score:{long}"),
        format!("Score: 4{long}"),
        format!("{long}score is"),
        format!("{{\"score\": 4{long}"),
        format!("It says '{long}score: 4'"),
    ] {
        parse(&text, &Rules::default());
    }
    start.elapsed().as_secs_f64()
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
