//! The eligible answers to one prompt, and their order.

use std::cmp::Ordering;
use std::hint::select_unpredictable;

use super::columns::Columns;
use super::drops::Drop;
use super::groups::Rows;

/// An eligible answer: it is usable, its score is finite, and it may be chosen
/// or rejected.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub row: usize,
    pub score: f64,
    /// The expected score; NaN if there is none.
    pub expected: f64,
}

impl Answer {
    /// Orders the best answer first: by score, then by expected score (answers
    /// without one last), then by row.
    pub fn best_first(&self, other: &Self) -> Ordering {
        order(other.score, self.score)
            .then_with(|| {
                let [own, others] =
                    [self, other].map(|answer| answer.expected_or(f64::NEG_INFINITY));
                order(others, own)
            })
            .then(self.row.cmp(&other.row))
    }

    /// Orders the worst answer first: by score, then by expected score (answers
    /// without one last), then by row.
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

impl<T> Columns<'_, T> {
    /// The answer of an eligible row.
    pub(super) fn answer(&self, row: usize) -> Answer {
        Answer {
            row,
            score: self.score[row],
            expected: self.expected.map_or(f64::NAN, |column| column[row]),
        }
    }

    fn is_better(&self, row: usize, other: usize) -> bool {
        self.answer(row).best_first(&self.answer(other)).is_lt()
    }

    fn is_worse(&self, row: usize, other: usize) -> bool {
        self.answer(row).worst_first(&self.answer(other)).is_lt()
    }
}

/// Compares two numbers that are not NaN.
pub(super) fn order(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right).unwrap_or(Ordering::Equal)
}

/// Calls `each` with every eligible row of `rows`, in ascending order, and
/// returns the best answer that may be chosen and the worst one that may be
/// rejected.
///
/// # Errors
/// The reason, if fewer than two answers are eligible, none of them may be
/// chosen, or none may be rejected.
pub(super) fn best_and_worst<T>(
    columns: &Columns<T>,
    rows: Rows<'_>,
    each: impl FnMut(usize),
) -> Result<(Answer, Answer), Drop> {
    match rows {
        Rows::Adjacent(rows) => best_and_worst_in_order(columns, rows, each),
        Rows::Listed(rows) => best_and_worst_in_order(columns, rows.iter().copied(), each),
    }
}

fn best_and_worst_in_order<T>(
    columns: &Columns<T>,
    rows: impl Iterator<Item = usize>,
    mut each: impl FnMut(usize),
) -> Result<(Answer, Answer), Drop> {
    let has_ties = columns.expected.is_some();
    // Initial values that every answer beats.
    let (mut best, mut worst) = (f64::NEG_INFINITY, f64::INFINITY);
    let (mut best_row, mut worst_row) = (0, 0);
    let (mut scored, mut eligible) = (0_usize, 0_usize);
    let (mut chosen, mut rejected) = (false, false);
    for row in rows {
        let score = columns.score[row];
        scored += usize::from(score.is_finite());
        let (choose, reject) = (columns.may_be_chosen(row), columns.may_be_rejected(row));
        if score.is_finite() && columns.is_usable(row) && (choose | reject) {
            eligible += 1;
            let better =
                (score > best) | (has_ties && score == best && columns.is_better(row, best_row));
            let worse =
                (score < worst) | (has_ties && score == worst && columns.is_worse(row, worst_row));
            let (is_best, is_worst) = (choose & better, reject & worse);
            (chosen, rejected) = (chosen | choose, rejected | reject);
            // Whether an answer is the new best is close to random, so a branch
            // would often be mispredicted.
            best = select_unpredictable(is_best, score, best);
            best_row = select_unpredictable(is_best, row, best_row);
            worst = select_unpredictable(is_worst, score, worst);
            worst_row = select_unpredictable(is_worst, row, worst_row);
            each(row);
        }
    }
    match eligible {
        _ if scored < 2 => Err(Drop::TooFewScored),
        0 | 1 => Err(Drop::TooFewUsable),
        _ if !(chosen && rejected) => Err(Drop::TooFewUsable),
        _ => Ok((columns.answer(best_row), columns.answer(worst_row))),
    }
}
