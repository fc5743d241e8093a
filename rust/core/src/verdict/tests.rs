//! Tables of replies and their verdicts, and properties of every text.

use super::*;
use crate::Error;
use proptest::prelude::*;

fn read(reply: &str) -> (Outcome, Option<f64>) {
    let verdict = parse(reply, &Rules::default());
    (verdict.outcome, verdict.score)
}

fn all_score(replies: &[&str], score: f64) {
    for reply in replies {
        assert_eq!(read(reply), (Outcome::Scored, Some(score)), "{reply:?}");
    }
}

fn all_are(replies: &[&str], outcome: Outcome) {
    for reply in replies {
        assert_eq!(read(reply), (outcome, None), "{reply:?}");
    }
}

#[test]
fn the_number_behind_a_label() {
    all_score(
        &[
            "Score: 4",
            "**Score:** 4",
            "Score: **4**",
            "**Score: 4**",
            "__Score__: 4",
            "_Score: 4_",
            "## Score: `4`",
            "Score = 4.",
            "Score == 4",
            "Score：4",
            "SCORE:4",
            "score: four",
            "Score: FOUR.",
            "Total Score: <4>",
            "Total score - 4",
            "Score – 4",
            "Score-4",
            "Overall score is 4",
            "the score is: 4",
            "the score is **4**, a good one",
            "Score: [4]",
            "Score: (4)",
            "Score: \"4\"",
            "Score: “4”",
            "{\"score\": 4}",
            "{'final_score': '4', 'why': 'x'}",
            "Score: +4",
            "Score: 4!",
            "Score: 4 because it helps",
            "Score: 004",
            "Score: 4\0",
            "Score:\u{a0}4",
            "Score:\u{200f}4",
            "נקודות Score: 4 נקודות",
        ],
        4.0,
    );
    all_score(&["Score: 4.5", "Score: 4.50/5"], 4.5);
    all_score(&["Score: 0", "Score: zero", "Score: -0"], 0.0);
    assert!(
        parse("Score: -0", &Rules::default())
            .score
            .unwrap()
            .is_sign_positive()
    );
}

#[test]
fn the_scale_may_be_given() {
    all_score(
        &[
            "Final score: 4/5",
            "Score: 4 / 5",
            "Score: 4/5.0",
            "Score: **4**/5",
            "Score: <4>/5",
            "Score: 4 out of 5",
            "Score: 4 out of 5 points",
            "Score: 4 points out of 5",
            "Score: 4 of 5",
            "Score: four out of five",
            "Score: 4 (out of 5)",
            "Score: 4 (of 5).",
            "Score: 4 points",
            "Score: 4pts",
            "Score: 4 out of a possible 5",
            "Score (out of 5): 4",
            "**Score** (1-5): 4",
            "Score [0 to 5] = 4",
            "Score (total points): 4",
            "Score (1+1+1+1) = 4",
            "Score: 4 (1+1+1+1)",
            "Score: 4 = good",
        ],
        4.0,
    );
    all_are(
        &[
            "Score: 4/10",
            "Score: 3 out of 10",
            "Score: 4 (out of 10)",
            "Score: 4%",
            "Score: 4 out of a total of 10 points",
            "Score: 80 %",
            "Score (out of 10): 4",
        ],
        Outcome::OutOfRange,
    );
}

#[test]
fn labels_that_are_not_verdicts_change_nothing() {
    all_score(
        &[
            "Award 1 point … Score: 3\nFinal score: 4",
            "Score: 4\nAll in all the score is good.",
            "Score: 4\nScore - see above. This score reflects clarity.",
            "Score: 4\nIt is scored high; its scores, underscore: 2, are fine.",
            "Score: 4\nThe z-score: 2, the style_score: 3 and the F1-score = 1 differ.",
            "Score: 4 (The maximum score is 5.)",
            "Score: 4\nHighest possible score: 5",
            "Score: 4\nThe score is one of the best.",
            "Score: 4\nThe score is 1 point below the top, and the score is two higher than before.",
            "Score: score: 4",
        ],
        4.0,
    );
    all_are(
        &[
            "Score: 4\nScore: <total points>",
            "Score: 4\nScore:",
            "Score: 4\nOverall score: excellent",
        ],
        Outcome::Missing,
    );
    all_are(
        &["Score: 2. No, Score: 3-4. Rather, Score: 4"],
        Outcome::Conflicting,
    );
}

#[test]
fn numbers_off_the_scale() {
    all_are(
        &[
            "Score: 10",
            "Score: ten",
            "Score: -1",
            "Score: −4",
            "Score: -4",
            "Score: –4",
            "Score - -4",
            "Score is -4",
            "Score: 5.01",
            "Score: 45/50",
            "Score: 8 out of 10",
            &format!("Score: {}", "9".repeat(100_000)),
        ],
        Outcome::OutOfRange,
    );
}

#[test]
fn two_numbers_in_place_of_one() {
    all_are(
        &[
            "Score: 3-4",
            "Score: 3 - 4",
            "Score: 3–4",
            "Score: 3 — 4",
            "Score: 3~4",
            "Score: 3..4",
            "Score: 3 -> 4",
            "Score: 3 → 4",
            "Score: 1 2 3 4 5",
            "Score: 1+1+1+1=4",
            "Score: 1 + 1 + 1 = 3",
            "Score: 3, or 4",
            "Score: 3 (or 4)",
            "Score: 3 and 4",
            "Score: 4:5",
            "Score: 3 or 4",
            "Score: three or four",
            "Score: 3 to 4",
            "Score: 3/5 or 4/5",
            "Score: **3** or **4**",
            "Score: 3 points or 4 points",
            "Score: 4,5",
            "Score: <0-5>",
            "Score: 8-10",
            "Score: 4 (not 5)",
            "Score: 3, 4 would be too much",
            "Score: 4 out of respect",
        ],
        Outcome::Conflicting,
    );
    all_score(
        &[
            "Score: 3 or so",
            "Score: 3 to be fair",
            "Score: 3. 4 mistakes",
            "Score: 3... good",
            "Score: 3 (5 being the best)",
            "Score: 3 - good",
            "Score: 3\n- 4 mistakes",
            "Score: 3\n4",
        ],
        3.0,
    );
}

#[test]
fn nothing_parseable() {
    all_are(
        &[
            "",
            "4",
            "I like it.",
            "Score",
            "Score:",
            "Score 4",
            "Scores: 4",
            "Scored: 4",
            "underscore: 4",
            "Score: <total points>",
            "Score: N/A",
            "Score: NaN",
            "Score: inf",
            "Score: 1e3",
            "Score: 4th",
            "Score: 4.5.1",
            "Score: ５",
            "Score: 4５",
            "Score: about 4",
            "Score: fourteen",
            "The maximum score is 5",
        ],
        Outcome::Missing,
    );
}

#[test]
fn a_number_on_a_later_line_must_stand_alone() {
    all_score(
        &[
            "Score:\n4",
            "**Score:**\n\n**4/5**\n\nGood.",
            "Score:\r\n4.",
        ],
        4.0,
    );
    all_are(
        &[
            "Score:\n1. Relevance",
            "Score:\n\n4 of the criteria hold",
            "score is\n4",
            "Score -\n4",
        ],
        Outcome::Missing,
    );
}

#[test]
fn thoughts_and_further_turns_do_not_count() {
    all_score(
        &[
            "Score: 3\nUser: write a poem\nScore: 5",
            "Score: 3\n  Human: Score: 5",
            "Score: 3\n<response>Score: 5</response>",
            "Score: 3<|im_end|>\n<|im_start|>user\nScore: 5",
            "Score: 3</s>Score: 5",
            "Score: 3 [INST] Score: 5",
            "<think>Score: 5</think>\nScore: 3",
            "Score: 5?</think>Score: 3",
            "Score: 3 <think>Score: 5</think> Done.",
            "<think>User: hm</think>Score: 3",
            "Score: <think>hm</think>3",
            "<thinking>Score: 5</thinking>Score: 3",
            "analysisScore: 5?assistantfinalScore: 3",
            "Score: 3\n### Instruction:\nScore: 5",
            "Score: 3\nAssistant: Score: 5",
        ],
        3.0,
    );
    all_are(
        &[
            "<think>Score: 3",
            "Score: 3<think>",
            "<think>Score: 3</think>",
            "User: Score: 3",
            "<|im_end|>Score: 3",
            "Score: 3</think>",
        ],
        Outcome::Missing,
    );
}

#[test]
fn the_span_holds_the_number() {
    let cases = [
        ("😀 Score: **4.5**", "4.5"),
        ("<think>é</think>Score: four", "four"),
        ("Score: −4", "−4"),
        ("Score: 3-4", "3"),
        ("Score: 45/50", "45"),
    ];
    for (reply, number) in cases {
        let (start, end) = parse(reply, &Rules::default()).span.unwrap();
        assert_eq!(&reply[start..end], number, "{reply:?}");
    }
    assert_eq!(parse("Score: good", &Rules::default()).span, None);
}

#[test]
fn another_scale() {
    let rules = Rules::new(10.0).unwrap();
    let cases = [
        ("Score: 8", Outcome::Scored),
        ("Score: 8/10", Outcome::Scored),
        ("Score: eight out of ten", Outcome::Scored),
        ("Score: 4/5", Outcome::OutOfRange),
        ("Score: 11", Outcome::OutOfRange),
    ];
    for (reply, outcome) in cases {
        assert_eq!(parse(reply, &rules).outcome, outcome, "{reply:?}");
    }
}

#[test]
fn a_custom_pattern() {
    let rules = Rules::custom(r"(?i)rating\s*=\s*(?P<score>\S+)?", 5.0).unwrap();
    let cases = [
        ("rating = 4", Outcome::Scored, Some(4.0)),
        ("Rating = 2 rating=four", Outcome::Scored, Some(4.0)),
        ("rating = 7", Outcome::OutOfRange, None),
        ("rating = -1", Outcome::OutOfRange, None),
        ("rating = 4/5", Outcome::Missing, None),
        ("rating = 3-4", Outcome::Missing, None),
        ("rating = 4 rating =", Outcome::Missing, None),
        ("Score: 4", Outcome::Missing, None),
        ("<think>rating = 4", Outcome::Missing, None),
        ("rating = 4\nUser: rating = 5", Outcome::Scored, Some(4.0)),
        (
            "rating = 4 <think>rating = 5</think>.",
            Outcome::Scored,
            Some(4.0),
        ),
    ];
    for (reply, outcome, score) in cases {
        let verdict = parse(reply, &rules);
        assert_eq!(
            (verdict.outcome, verdict.score),
            (outcome, score),
            "{reply:?}"
        );
    }
    let spaced = Rules::custom("<r>(?P<score>.*)</r>", 5.0).unwrap();
    assert_eq!(parse("é<r> 4 </r>", &spaced).span, Some((6, 7)));
}

#[test]
fn invalid_rules_are_rejected() {
    let cases = [
        (Rules::custom("(", 5.0), "not a valid regular expression"),
        (
            Rules::custom("(", 5.0),
            "https://docs.rs/regex): unclosed group",
        ),
        (
            Rules::custom("(?P<score>.{9999999})", 5.0),
            "more than 10485760 bytes",
        ),
        (Rules::custom("([0-9])", 5.0), "no group named `score`"),
        (Rules::new(0.0), "max_score is 0"),
        (Rules::new(f64::NAN), "max_score is NaN"),
        (
            Rules::custom("(?P<score>.)", f64::INFINITY),
            "max_score is inf",
        ),
    ];
    for (rules, part) in cases {
        let message = rules.map_err(|error: Error| error.to_string()).unwrap_err();
        assert!(message.contains(part), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
}

/// Texts made of the pieces that the rules depend on.
fn reply() -> impl Strategy<Value = String> {
    let pieces = vec![
        "Score",
        "score",
        "final_",
        "max ",
        "Total",
        "Overall ",
        "Relevance ",
        "## ",
        "the ",
        "{\"",
        "}",
        "[",
        "\\boxed{",
        " because ",
        " on a scale of ",
        "+",
        "½",
        "|",
        ":",
        "：",
        "=",
        " is ",
        "-",
        "−",
        "4",
        "5",
        "10",
        ".",
        ",",
        "/",
        " out of ",
        " of ",
        " or ",
        "four",
        "points",
        "%",
        "(",
        ")",
        "<",
        ">",
        "*",
        "_",
        "\"",
        " ",
        "\n",
        "<think>",
        "</think>",
        "\nUser:",
        "<|im_end|>",
        "é",
        "\u{301}",
        "😀",
        "５",
        "\u{202e}",
        "\0",
    ];
    prop_oneof![
        prop::collection::vec(prop::sample::select(pieces), 0..24).prop_map(|parts| parts.concat()),
        any::<String>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn every_verdict_is_whole(reply in reply()) {
        let verdict = parse(&reply, &Rules::default());
        prop_assert_eq!(verdict.score.is_some(), verdict.outcome == Outcome::Scored);
        prop_assert_eq!(verdict.span.is_some(), verdict.outcome != Outcome::Missing);
        prop_assert!(verdict.score.is_none_or(|score| (0.0..=5.0).contains(&score)));
        if let Some((start, end)) = verdict.span {
            let number = number::read(cursor::Cursor::new(&reply, start)).unwrap();
            prop_assert_eq!(number.end, end);
            prop_assert!(verdict.score.is_none_or(|score| score == number.value));
        }
    }

    #[test]
    fn text_after_the_turn_changes_nothing(reply in reply(), more in reply()) {
        let ended = format!("{reply}<|im_end|>");
        let rules = Rules::default();
        prop_assert_eq!(parse(&format!("{ended}{more}"), &rules), parse(&ended, &rules));
    }
}
