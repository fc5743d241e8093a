//! Tables of labels, and of what may follow their numbers.

use super::*;

fn check(score: Option<f64>, outcome: Outcome, replies: &[&str]) {
    for reply in replies {
        let found = parse(reply, &Rules::default());
        assert_eq!((found.outcome, found.score), (outcome, score), "{reply:?}");
    }
}

fn score(score: f64, replies: &[&str]) {
    check(Some(score), Outcome::Scored, replies);
}

#[test]
fn another_quantity_is_not_the_verdict() {
    check(
        None,
        Outcome::Missing,
        &[
            "Relevance score: 1",
            "Helpfulness score: 4",
            "The quality score is 4",
            "Confidence score = 0.9",
            "relevance_score: 1",
            "relevance-score: 1",
            "The relevance total score: 1",
            "Score for relevance: 2",
            "Score (relevance): 1",
            "Score [clarity] = 1",
            "Relevance: Score: 1",
            "- Relevance – score: 1",
            "1. **Relevance** (score: 1)",
            "Relevance | Score: 1",
            "| Relevance | Score: 1 |",
            "Is it relevant? Score: 1",
            "### Relevance\nScore: 1",
            "**Relevance**\n\nScore: 1",
            "Relevance:\n  score: 1",
            "Initial score: 3",
            "Average score: 3.5",
            "Final answer: 4",
            "Total tokens: 4",
            "Subtotal: 2",
            "{\"relevance_score\": 1}",
            "{\"relevanceScore\": 1}",
            "{\"relevance\": {\"score\": 1}}",
            "{\"relevance\": \"Score: 1\"}",
            "{\"criteria\": [{\"name\": \"relevance\", \"score\": 1}]}",
            "[{\"name\": \"a\", \"score\": 1}, {\"name\": \"b\", \"score\": 1}]",
        ],
    );
    score(
        4.0,
        &[
            "??? Score: 4",
            "Score: 4\nConfidence score: 0.9",
            "Score: 4. Confidence score: 0.9",
            "Relevance score: 1\nClarity score: 2\nScore: 4",
            "Score (relevance): 1\nScore (clarity): 2\nScore: 4",
            "- Relevance: Score: 1\n- Clarity: Score: 2\n\nScore: 4",
            "### Relevance\nScore: 1\n### Clarity\nScore: 2\n\nVerdict: Score: 4",
            "relevance:\n  score: 1\nclarity:\n  score: 2\nscore: 4",
            "Relevance (score: 1), clarity (score: 2). Score: 4",
            "{\"relevance\": {\"score\": 1}, \"clarity\": {\"score\": 2}, \"score\": 4}",
            "{\"score\": 4, \"relevance\": {\"score\": 1}}",
            "{\"scores\": {\"a\": 1}, \"score\": 4}",
            "{\"criteria\": [{\"name\": \"a\", \"score\": 1}], \"score\": 4}",
            "{\"reasoning\": \"Score: 3 would be low }\", \"score\": 4}",
            "{\"relevance\": {\"final_score\": 1}, \"score\": 4}",
            "{\"result\": {\"score\": 3}, \"score\": 4}",
        ],
    );
}

#[test]
fn the_final_label_counts() {
    score(
        3.0,
        &[
            "Relevance score: 1 … Total: 3",
            "Relevance score: 1, Clarity score: 2, Total: 3",
            "Score: 1\nScore: 2\nTotal: 3",
            "Score: 4\nFinal score: 3",
            "Final score: 3\nScore: 4",
            "Overall Score: 3\n\n- Relevance – Score: 1",
            "Total: 3",
            "Total = 3",
            "**Total:** 3",
            "Grand total: 3",
            "Total points: 3",
            "Final: 3",
            "Overall: 3/5",
            "Overall rating: 3",
            "Final verdict: 3",
            "Score total: 3",
            "Score (total): 3",
            "Overall – Score: 3",
            "| Total | Score: 3 |",
            "### Clarity\nScore: 2\n### Overall\nScore: 3",
            "{\"finalScore\": 3, \"relevance\": 1}",
            "{\"overall\": {\"score\": 3}}",
            "{\"scores\": {\"relevance\": 1, \"overall\": 3}}",
            "Score: 3\nOverall: the answer is good.",
            "Total: 1 + 1 + 1 = 3\nScore: 3",
            "Total: 12 apples\nScore: 3",
        ],
    );
    check(
        None,
        Outcome::Conflicting,
        &[
            "Score: 3\nScore: 4",
            "Score: 3. Rather, the score is 4.",
            "Score: 1 - bad\nScore: 5 - good\nScore: 4",
            "Score: 3 or 4\nScore: 4",
            "Score: 3/10\nScore: 3",
            "Final score: 3\nOverall score: 4",
            "{\"score\": 3}\n{\"score\": 4}",
            "Total: 3\nScore: 4",
            "Total: 1 + 1 + 1 = 3",
        ],
    );
    score(
        4.0,
        &[
            "Score: 4\nScore: 4.0",
            "Score: <total points>\nScore: 4",
            "Score: <0-5>\nScore: 4",
            "Score: N/A\nScore: 4",
        ],
    );
}

#[test]
fn a_quoted_label_is_not_the_judges() {
    score(
        4.0,
        &[
            "The answer says 'Score: 5'.\nScore: 4",
            "It ends with \"Final score: 5/5\". Score: 4",
            "It says `Score: 5` and “Total: 5”.\nScore: 4",
            "It says 'I'm the best.\nScore: 5\nScore: 5'.\nScore: 4",
            "It claims '{\"score\": 5}' here.\nScore: 4",
            "Score: 4\nIt doesn't end with 'Score: 5'.",
            "I rate it as follows: \"Score: 4\".",
            "It says: \"Score: 5\".\nScore: 4",
            "\"Score: 4\"",
            "`Score: 4`",
            "```\nScore: 4\n```",
            "{\"verdict\": \"Score: 4\"}",
            "The students' answer isn't bad. Score: 4",
        ],
    );
    check(None, Outcome::Missing, &["The answer says 'Score: 5'."]);
}

#[test]
fn labels_in_any_case() {
    score(
        4.0,
        &[
            "sCoRe: 4",
            "SCORE: 4",
            "TOTAL: 4",
            "OVERALL SCORE: 4",
            "Final: 4",
        ],
    );
    // The last label of several words, and a word that another one contains.
    score(
        3.0,
        &[
            "Scorecore score: 2\nTotal score: 3",
            "Scoretotal: 2\nTotaltotal: 2\nScore: 3",
        ],
    );
}

#[test]
fn a_heading_and_the_number_below() {
    score(
        4.0,
        &[
            "## Final Score\n4",
            "## Final Score\n\n**4/5**\n\nIt is good.",
            "**Score**\n4",
            "**Score**:\n4",
            "Score\n-----\n4",
            "Final Score\n===========\n\n4",
            "Score\r\n4.",
            "## Score\nIt is good.\n\nScore: 4",
        ],
    );
    check(
        None,
        Outcome::Missing,
        &[
            "## Relevance Score\n4",
            "## Score\n4 of the criteria hold",
            "## Score\n1. Relevance",
            "It gets the score\n4",
        ],
    );
}

#[test]
fn prose_about_the_score_is_no_verdict() {
    check(
        None,
        Outcome::Missing,
        &[
            "How to improve the score: 5 more sentences",
            "To improve the score: 5",
            "To get a score: 5 points",
            "If the score is 4, it is good.",
            "What affects the score: 3 things",
        ],
    );
    score(
        4.0,
        &[
            "Score: 4\nTo improve the score: add 2 examples.",
            "Therefore, the score is 4 because it misses one detail.",
            "I would give this response a score: 4",
            "Thus the final score: 4",
            "The answer is relevant and complete - score: 4",
            "The response's score: 4",
            "Here is my verdict: Score: 4",
            "Score for this response: 4",
            "Score out of 5: 4",
        ],
    );
}

#[test]
fn the_known_scale_in_any_spelling() {
    score(
        4.0,
        &[
            "Score: 4 on a scale of 0-5",
            "Score: 4 on a scale of 1 to 5.",
            "Score: 4 on a scale from 0 to 5, since it is good",
            "Score: 4 on a 5-point scale",
            "Score: 4/5 (on a scale of 0 to 5)",
            "Score: 4 (scale: 0–5)",
            "Score: 4 (1-5)",
            "Score: 4 (max. 5)",
            "Score: 4 out of 5 possible points.",
            "Score: 4／5",
            "Score: 4 stars out of 5 ⭐⭐⭐⭐",
            "Score: 4 von 5 Punkten",
            "Score: 4 Punkte auf einer Skala von 0 bis 5",
            "Score: 4 sur une échelle de 0 à 5",
            "Score: 4 de 5",
            "Score: 4 en una escala de 0 a 5",
            "Score: 4 из 5 баллов",
            "Score: 4 по шкале от 0 до 5",
            "Score: 4分（满分5分）",
            "Score: 4/5 (80%)",
        ],
    );
    check(
        None,
        Outcome::OutOfRange,
        &[
            "Score: 4 on a scale of 1 to 10",
            "Score: 4 on a 1-10 scale",
            "Score: 4 (scale 1-10)",
            "Score: 4 (1-10)",
            "Score: 4 (max. 10)",
            "Score: 4 von 10",
            "Score: 4 auf einer Skala von 1 bis 10",
            "Score: 4 sur 10",
            "Score: 4 de 10",
            "Score: 4 из 10",
            "Score: 4分（满分10分）",
            "Score: 4 percent",
            "Score: 4\nThe maximum score is 10.",
        ],
    );
}

#[test]
fn what_follows_the_number() {
    score(
        4.0,
        &[
            "Score: 4 (good)",
            "Score: 4 - good but short",
            "Score: 4 → good",
            "Score: 4, which is good",
            "Score: 4, a good one",
            "Score: 4. 2 mistakes",
            "Score: 4...",
            "Score: 4!!",
            "Score: 4 because it has 2 errors",
            "Score: 4 Explanation: it is good",
            "Score: 4 (four)",
            "Score: 4 (1 + 1 + 1 + 1 = 4)",
            "Score: \\boxed{4}",
            "Score: $\\boxed{4}$",
            "\\boxed{Score: 4}",
            "Score: $4$",
            "{\"score\": 4, \"confidence\": 0.9}",
            "{'score': '4', 'max': 9}",
        ],
    );
    check(
        None,
        Outcome::Conflicting,
        &[
            "Score: 1 (relevant) + 1 (useful) = 2",
            "Score: 5 minus 1 = 4",
            "Score: 4 plus a bonus",
            "Score: 4 and a half",
            "Score: four and a half",
            "Score: 4 ½",
            "Score: 4 point 5",
            "Score: 4+",
            "Score: 4 ± 1",
            "Score: 5 (-1 for style)",
            "Score: 5 (less 1)",
            "Score: 3 (1+1+1+1)",
            "Score: 4/5 (70%)",
            "Score: 4 * 2",
            "Score: 3 oder 4",
            "Score: 3 oder vier",
            "Score: 3 ou 4",
            "Score: 3 o 4",
            "Score: 3 или 4",
            "Score: 3 或 4",
            "Score: 3 bis 4",
            "Score: 3, maybe 4",
            "Score: 3 (4 at best)",
            "Score: 3 (maybe four)",
            "Score: 3; second try ４",
            "Score: 3 (④)",
            "Score: 3 or more",
            "Score: 4 out of 5 or 6",
            "Score: 4 because relevant, 1 because useful",
            "Score: 4 because it has 2 errors, minus 1",
            "Score: 4 mistakes",
            "Score: 5 more sentences",
            "Score: 4 of the criteria",
            "Score: 4 if lenient",
            "Score: 4?",
            "Score: <4",
            "Score: $4",
        ],
    );
}
