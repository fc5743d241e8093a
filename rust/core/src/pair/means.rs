//! The mean score of each candidate over its verdicts.

use std::ops::Range;

use super::groups::run_bounds;
use crate::{Error, parallel};

/// Minimum number of verdicts per task.
const MIN_TASK_SIZE: usize = 1 << 16;

/// Scores are summed in units of 1e-9, as whole numbers, so that a sum depends
/// neither on the order of the verdicts nor on the binary form of a decimal.
const UNITS: f64 = 1e9;

/// Columns with one entry per candidate.
#[derive(Debug, Clone, PartialEq)]
pub struct Means {
    /// The mean of its scores; NaN if it has none.
    pub mean: Vec<f64>,
    /// The number of its scores.
    pub count: Vec<i64>,
}

/// The mean score of each candidate over its verdicts. Verdicts whose score is
/// NaN are ignored.
///
/// Scores are rounded to nine decimals and their sums are exact (as long as a
/// candidate's scores sum to less than 9e6), so equal means compare equal: the
/// mean of 1.1 and 2.2 is that of 1.65 and 1.65, in any order of the verdicts.
///
/// `candidate` has the candidate's row for each verdict, in any order; verdicts
/// sorted by candidate are fastest. `candidates` is the number of candidates;
/// by default it is one more than the largest row in `candidate`.
///
/// # Errors
/// [`Error::UnequalVerdicts`]; [`Error::NoCandidate`] for a row below 0 or not
/// below `candidates`. If `candidates` is not given, also for a row that is
/// implausibly large for the number of verdicts (for example an identifier
/// instead of a row).
pub fn mean_scores(
    candidate: &[i64],
    score: &[f64],
    candidates: Option<usize>,
) -> Result<Means, Error> {
    let len = candidate_count(candidate, candidates)?;
    let mut means = Means {
        mean: vec![0.0; len],
        count: vec![0; len],
    };
    mean_scores_into(candidate, score, &mut means.mean, &mut means.count)?;
    Ok(means)
}

/// The number of candidates that [`mean_scores`] returns: `candidates`, or one
/// more than the largest row.
///
/// # Errors
/// [`Error::NoCandidate`] as in [`mean_scores`], if `candidates` is not given.
pub fn candidate_count(candidate: &[i64], candidates: Option<usize>) -> Result<usize, Error> {
    if let Some(given) = candidates {
        return Ok(given);
    }
    check_rows(candidate, 16 * candidate.len() + 65_536, false)?;
    Ok(candidate.iter().max().map_or(0, |&last| last as usize + 1))
}

/// Like [`mean_scores`], but writes to `mean` and `count`, one entry per
/// candidate, so that the caller owns the memory.
///
/// # Errors
/// [`Error::UnequalVerdicts`], or [`Error::NoCandidate`] for a row below 0 or not
/// below the number of entries.
///
/// # Panics
/// If `mean` and `count` differ in length.
pub fn mean_scores_into(
    candidate: &[i64],
    score: &[f64],
    mean: &mut [f64],
    count: &mut [i64],
) -> Result<(), Error> {
    assert_eq!(
        mean.len(),
        count.len(),
        "one mean and one count per candidate"
    );
    if candidate.len() != score.len() {
        return Err(Error::UnequalVerdicts {
            candidates: candidate.len(),
            scores: score.len(),
        });
    }
    if !fill_in_order(candidate, score, mean, count) {
        check_rows(candidate, mean.len(), true)?;
        fill_in_any_order(candidate, score, mean, count);
    }
    Ok(())
}

fn check_rows(candidate: &[i64], limit: usize, is_given: bool) -> Result<(), Error> {
    // One vectorised pass; the invalid row is searched for only if there is
    // one. As an unsigned number a negative row is too large.
    let max = candidate.iter().fold(0, |max: u64, &at| max.max(at as u64));
    if candidate.is_empty() || max < limit as u64 {
        return Ok(());
    }
    match candidate.iter().position(|&at| at as u64 >= limit as u64) {
        Some(row) => Err(Error::NoCandidate {
            row,
            value: candidate[row],
            limit,
            is_given,
        }),
        None => Ok(()),
    }
}

/// The part of the result that starts at candidate `first`.
struct Part<'a> {
    first: usize,
    mean: &'a mut [f64],
    count: &'a mut [i64],
    /// The verdicts to process.
    rows: Range<usize>,
}

/// Splits the results at the ascending candidates `ends`, each with the rows to
/// process.
fn split<'a>(
    mut mean: &'a mut [f64],
    mut count: &'a mut [i64],
    ends: impl Iterator<Item = (usize, Range<usize>)>,
) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    let mut first = 0;
    for (end, rows) in ends {
        let (own_mean, other_mean) = mean.split_at_mut(end - first);
        let (own_count, other_count) = count.split_at_mut(end - first);
        parts.push(Part {
            first,
            mean: own_mean,
            count: own_count,
            rows,
        });
        (mean, count, first) = (other_mean, other_count, end);
    }
    parts
}

/// Fills the results from verdicts sorted by candidate. Returns false if they
/// turn out not to be sorted.
fn fill_in_order(candidate: &[i64], score: &[f64], mean: &mut [f64], count: &mut [i64]) -> bool {
    let bounds = run_bounds(candidate);
    // Parts end at the end of a run, and the results are split before the first
    // candidate of the next part.
    let inner = bounds[1..bounds.len() - 1].iter();
    let ends: Option<Vec<usize>> = inner
        .map(|&row| usize::try_from(candidate[row]).ok())
        .chain([Some(mean.len())])
        .collect();
    let Some(ends) = ends.filter(|ends| ends.is_sorted()) else {
        return false;
    };
    let rows = bounds.windows(2).map(|pair| pair[0]..pair[1]);
    let parts = split(mean, count, ends.into_iter().zip(rows));
    let complete = parallel::map_owned(parts, 2, |part| part.fill_in_order(candidate, score));
    complete.into_iter().all(|complete| complete)
}

fn fill_in_any_order(candidate: &[i64], score: &[f64], mean: &mut [f64], count: &mut [i64]) {
    // Each task scans all verdicts and sums those of its own candidates.
    let (len, tasks) = (
        mean.len(),
        parallel::tasks(candidate.len(), MIN_TASK_SIZE).min(8),
    );
    let ends = (1..=tasks).map(|task| (len * task / tasks, 0..candidate.len()));
    let parts = split(mean, count, ends);
    parallel::map_owned(parts, 1, |part| part.fill_in_any_order(candidate, score));
}

impl Part<'_> {
    /// Returns whether all verdicts of the part were used.
    fn fill_in_order(self, candidate: &[i64], score: &[f64]) -> bool {
        let candidate = &candidate[self.rows.clone()];
        let score = &score[self.rows];
        let mut verdicts = candidate.iter().zip(score).peekable();
        let first = self.first as i64;
        for (at, (mean, count)) in (first..).zip(self.mean.iter_mut().zip(self.count)) {
            let (mut sum, mut scored) = (0.0, 0_i64);
            while let Some((_, score)) = verdicts.next_if(|(candidate, _)| **candidate == at) {
                let is_scored = !score.is_nan();
                sum += if is_scored { in_units(*score) } else { 0.0 };
                scored += i64::from(is_scored);
            }
            *mean = mean_of(sum, scored);
            *count = scored;
        }
        verdicts.next().is_none()
    }

    fn fill_in_any_order(self, candidate: &[i64], score: &[f64]) {
        self.mean.fill(0.0);
        self.count.fill(0);
        for (&candidate, &score) in candidate.iter().zip(score) {
            // A candidate before `first` wraps to a very large number.
            let at = (candidate as usize).wrapping_sub(self.first);
            if at < self.mean.len() && !score.is_nan() {
                self.mean[at] += in_units(score);
                self.count[at] += 1;
            }
        }
        for (mean, &mut count) in self.mean.iter_mut().zip(self.count) {
            *mean = mean_of(*mean, count);
        }
    }
}

/// The score in units of 1e-9, rounded to a whole number (ties to even).
pub(super) fn in_units(score: f64) -> f64 {
    // Adding and subtracting 1.5 * 2^52 rounds without a call into libm.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const LIMIT: f64 = 2_251_799_813_685_248.0; // 2^51
    let scaled = score * UNITS;
    if scaled.abs() < LIMIT {
        (scaled + ROUND) - ROUND
    } else {
        scaled
    }
}

/// The mean for a sum in units of 1e-9: one rounding, so equal fractions give
/// equal means.
fn mean_of(sum: f64, count: i64) -> f64 {
    if count == 0 {
        f64::NAN
    } else {
        sum / (count as f64 * UNITS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(candidate: &[i64], score: &[f64], len: usize) -> Vec<(u64, i64)> {
        let of = |wanted: usize| {
            let own = candidate.iter().zip(score);
            let own = own.filter(|(at, score)| **at == wanted as i64 && !score.is_nan());
            let scores: Vec<f64> = own.map(|(_, score)| *score).collect();
            let mean = if scores.iter().all(|score| score.is_finite()) {
                let exact: i128 = scores
                    .iter()
                    .map(|score| (score * 1e9).round_ties_even() as i128)
                    .sum();
                exact as f64 / (scores.len() as f64 * 1e9)
            } else {
                f64::INFINITY
            };
            (mean.to_bits() << 1 >> 1, scores.len() as i64)
        };
        (0..len).map(of).collect()
    }

    /// The bits of the means, ignoring the sign of NaN.
    fn bits(means: &Means) -> Vec<(u64, i64)> {
        let bits = means.mean.iter().map(|mean| mean.to_bits() << 1 >> 1);
        bits.zip(means.count.iter().copied()).collect()
    }

    #[test]
    fn means_over_the_scored_verdicts() {
        let score = [4.0, f64::NAN, 5.0, 1.0, f64::NAN];
        let found = mean_scores(&[0, 0, 0, 3, 1], &score, Some(5)).unwrap();
        assert_eq!(found.count, [2, 0, 0, 1, 0]);
        assert_eq!((found.mean[0], found.mean[3]), (4.5, 1.0));
        assert!([1, 2, 4].iter().all(|&at: &usize| found.mean[at].is_nan()));
        let none = mean_scores(&[], &[], None).unwrap();
        assert_eq!((none.mean.len(), none.count.len()), (0, 0));
    }

    #[test]
    fn candidates_are_rows() {
        let cases: [(&[i64], Option<usize>, &str); 6] = [
            (
                &[0, -1],
                None,
                "candidate[1] is -1; use the row of a candidate",
            ),
            (
                &[5, 0],
                Some(5),
                "candidate[0] is 5; use the row of a candidate, at least 0 and below 5",
            ),
            (&[0, 5], Some(5), "candidate[1] is 5"),
            (&[0, i64::MAX], None, "or pass the number of `candidates`"),
            (&[i64::MAX, 0], None, "candidate[0] is 9223372036854775807"),
            (
                &[0],
                None,
                "column `score` has 2 rows but `candidate` has 1",
            ),
        ];
        for (candidate, candidates, message) in cases {
            let error = mean_scores(candidate, &[1.0, 2.0], candidates).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
        }
    }

    #[test]
    fn long_columns_are_the_same_in_parts() {
        let rows = 5 * MIN_TASK_SIZE;
        let score: Vec<f64> = (0..rows).map(|row| (row * 7 % 13) as f64 / 3.0).collect();
        for per_candidate in [1, 3, 1000, rows] {
            let sorted: Vec<i64> = (0..rows).map(|row| (row / per_candidate) as i64).collect();
            let len = rows.div_ceil(per_candidate);
            let found = mean_scores(&sorted, &score, None).unwrap();
            let mut expected = found.clone();
            let (mean, count) = (&mut expected.mean, &mut expected.count);
            fill_in_any_order(&sorted, &score, mean, count);
            assert_eq!(found.mean.len(), len);
            assert_eq!(bits(&found), bits(&expected));
            let one: f64 = score[..per_candidate].iter().sum();
            assert!((found.mean[0] - one / per_candidate as f64).abs() < 1e-8);
        }
    }

    #[test]
    fn equal_means_compare_equal() {
        let cases: [(&[f64], &[f64]); 6] = [
            (&[0.1, 0.2, 0.3], &[0.3, 0.2, 0.1]),
            (&[1.1, 2.2], &[1.65, 1.65]),
            (&[3.3, 1.1, 2.2], &[2.2]),
            (&[4.0, 3.0, 4.0], &[3.0, 3.0, 4.0, 4.0, 4.0, 4.0]),
            (&[0.7, 0.1], &[0.4]),
            (&[1e-10, 5.0], &[2.5]),
        ];
        for (left, right) in cases {
            let mean = |score: &[f64]| {
                mean_scores(&vec![0; score.len()], score, None)
                    .unwrap()
                    .mean[0]
            };
            assert_eq!(
                mean(left).to_bits(),
                mean(right).to_bits(),
                "{left:?} {right:?}"
            );
        }
        let apart = mean_scores(&[0, 0, 1, 1], &[4.0, 4.000_000_002, 4.0, 4.0], None).unwrap();
        assert!(apart.mean[0] > apart.mean[1]);
        assert_eq!(mean_scores(&[0], &[4.35], None).unwrap().mean, [4.35]);
        assert_eq!(
            mean_scores(&[0, 0], &[4e12, 6e12], None).unwrap().mean,
            [5e12]
        );
    }

    proptest! {
        #[test]
        fn means_do_not_depend_on_the_order_of_the_verdicts(
            verdicts in prop::collection::vec((0i64..4, 0.0..5.0), 1..60)
                .prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())),
        ) {
            let [one, other] = [verdicts.0, verdicts.1].map(|rows| {
                let (candidate, score): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
                mean_scores(&candidate, &score, Some(4)).unwrap()
            });
            prop_assert_eq!(bits(&one), bits(&other));
        }

        #[test]
        fn means_are_those_of_the_naive_way(
            verdicts in prop::collection::vec(
                (0i64..9, prop_oneof![Just(f64::NAN), Just(f64::INFINITY), -5.0..5.0]), 0..50),
            more in 0usize..3,
            sorted: bool,
        ) {
            let mut verdicts = verdicts;
            if sorted {
                verdicts.sort_by_key(|verdict| verdict.0);
            }
            let (candidate, score): (Vec<_>, Vec<_>) = verdicts.into_iter().unzip();
            let len = candidate.iter().max().map_or(0, |&last| last as usize + 1);
            let found = mean_scores(&candidate, &score, None).unwrap();
            prop_assert_eq!(bits(&found), naive(&candidate, &score, len));
            let found = mean_scores(&candidate, &score, Some(len + more)).unwrap();
            prop_assert_eq!(bits(&found), naive(&candidate, &score, len + more));
        }
    }
}
