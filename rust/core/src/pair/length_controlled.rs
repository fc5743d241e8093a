//! Length control: two answers selected by length from the tiers near the best
//! and the worst score; see
//! [`Method::LengthControlled`](super::Method::LengthControlled).

use std::cmp::Reverse;

use super::answer::Answer;
use super::columns::Columns;
use super::rules::SCORE_TOLERANCE;

/// The shortest answer of the tier of `best` and the longest answer of the tier
/// of `worst`.
pub(super) fn by_length<T: AsRef<str>>(
    columns: &Columns<T>,
    answers: &[Answer],
    best: Answer,
    worst: Answer,
    rho: f64,
) -> (Answer, Answer) {
    // Written so that it cannot overflow for finite scores.
    let bound = |near: f64, far: f64| (1.0 - rho) * near + rho * far;
    let good = bound(best.score, worst.score) - SCORE_TOLERANCE;
    let bad = bound(worst.score, best.score) + SCORE_TOLERANCE;
    let (mut shortest, mut longest) = (best, worst);
    let mut min_length = columns.length(best.row);
    let mut max_length = columns.length(worst.row);
    for answer in answers {
        if answer.score < good && answer.score > bad {
            continue;
        }
        let length = columns.length(answer.row);
        let shorter =
            (length, answer.best_first(&shortest)) < (min_length, std::cmp::Ordering::Equal);
        if answer.score >= good && shorter && columns.may_be_chosen(answer.row) {
            (shortest, min_length) = (*answer, length);
        }
        let key = (Reverse(length), answer.worst_first(&longest));
        let longer = key < (Reverse(max_length), std::cmp::Ordering::Equal);
        if answer.score <= bad && longer && columns.may_be_rejected(answer.row) {
            (longest, max_length) = (*answer, length);
        }
    }
    (shortest, longest)
}
