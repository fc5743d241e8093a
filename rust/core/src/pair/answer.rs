//! The answers to one prompt that take part, and their order.

use std::cmp::Ordering;

use super::Drop;
use super::columns::Columns;
use super::groups::Rows;

/// An answer that takes part: it is usable and its score is finite.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub row: usize,
    pub score: f64,
    /// NaN where there is none.
    pub expected: f64,
}

impl Answer {
    /// Orders the best answer first: by score, then by expected score, where an
    /// answer without one comes last, then by row.
    pub fn best_first(&self, other: &Self) -> Ordering {
        order(other.score, self.score)
            .then_with(|| {
                let [own, others] =
                    [self, other].map(|answer| answer.expected_or(f64::NEG_INFINITY));
                order(others, own)
            })
            .then(self.row.cmp(&other.row))
    }

    /// Orders the worst answer first; an answer without an expected score and
    /// the higher row come last here too.
    pub fn worst_first(&self, other: &Self) -> Ordering {
        order(self.score, other.score)
            .then_with(|| {
                let [own, others] = [self, other].map(|answer| answer.expected_or(f64::INFINITY));
                order(own, others)
            })
            .then(self.row.cmp(&other.row))
    }

    fn expected_or(&self, absent: f64) -> f64 {
        if self.expected.is_nan() {
            absent
        } else {
            self.expected
        }
    }
}

/// Compares two numbers that are not NaN.
fn order(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right).unwrap_or(Ordering::Equal)
}

/// Replaces `answers` by those of `rows` that take part, in ascending order of
/// rows.
///
/// # Errors
/// The reason why there are fewer than two.
pub(super) fn gather<T>(
    columns: &Columns<T>,
    rows: Rows<'_>,
    answers: &mut Vec<Answer>,
) -> Result<(), Drop> {
    answers.clear();
    let mut scored = 0;
    rows.for_each(|row| {
        let score = columns.score[row];
        scored += usize::from(score.is_finite());
        if score.is_finite() && columns.is_usable(row) {
            let expected = columns.expected.map_or(f64::NAN, |column| column[row]);
            answers.push(Answer {
                row,
                score,
                expected,
            });
        }
    });
    match answers.len() {
        _ if scored < 2 => Err(Drop::TooFewScored),
        0 | 1 => Err(Drop::TooFewUsable),
        _ => Ok(()),
    }
}

/// The best and the worst of at least one answer.
pub(super) fn extremes(answers: &[Answer]) -> (Answer, Answer) {
    let (mut best, mut worst) = (answers[0], answers[0]);
    for answer in &answers[1..] {
        // Rows ascend, so what is equal but for the row comes later in both orders.
        if answer.best_first(&best).is_lt() {
            best = *answer;
        }
        if answer.worst_first(&worst).is_lt() {
            worst = *answer;
        }
    }
    (best, worst)
}
