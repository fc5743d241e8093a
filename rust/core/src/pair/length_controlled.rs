//! Two answers by their length, among those of nearly the best and nearly the
//! worst score; see [`Method::LengthControlled`](super::Method::LengthControlled).

use std::cmp::Reverse;

use super::answer::Answer;
use super::columns::Columns;
use super::select::ROUNDING;

/// The shortest answer of the tier of `best` and the longest of that of `worst`.
pub(super) fn by_length<T: AsRef<str>>(
    columns: &Columns<T>,
    answers: &[Answer],
    best: Answer,
    worst: Answer,
    rho: f64,
) -> (Answer, Answer) {
    // Written so that no range of finite scores is too wide for a number.
    let bound = |near: f64, far: f64| (1.0 - rho) * near + rho * far;
    let good = bound(best.score, worst.score) - ROUNDING;
    let bad = bound(worst.score, best.score) + ROUNDING;
    let (mut shortest, mut longest) = (best, worst);
    let mut least = columns.length(best.row);
    let mut most = columns.length(worst.row);
    for answer in answers {
        if answer.score < good && answer.score > bad {
            continue;
        }
        let length = columns.length(answer.row);
        let shorter = (length, answer.best_first(&shortest)) < (least, std::cmp::Ordering::Equal);
        if answer.score >= good && shorter {
            (shortest, least) = (*answer, length);
        }
        let key = (Reverse(length), answer.worst_first(&longest));
        if answer.score <= bad && key < (Reverse(most), std::cmp::Ordering::Equal) {
            (longest, most) = (*answer, length);
        }
    }
    (shortest, longest)
}
