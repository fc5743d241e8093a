//! Expected scores: the mean of a score token's distribution over the digits.

use crate::{Error, parallel};

/// Minimum number of replies per task.
const MIN_TASK_SIZE: usize = 4096;

/// `sum(d p(d)) / sum(p(d))` for each reply, where `p = exp(logps)`. `logps`
/// holds log-probabilities in nats, [replies, `digits.len()`] in row-major
/// order, `-inf` for an impossible digit.
///
/// NaN for a row that is not a distribution: one with NaN or +inf, or with -inf
/// only. The maximum of each row is subtracted first to avoid under- and
/// overflow. Both sums run from left to right.
///
/// # Errors
/// [`Error::UnequalDigits`] if the length of `logps` is not a multiple of
/// `digits.len()` or there are no digits, [`Error::InvalidDigit`] if a digit is
/// not finite.
pub fn expected_scores<T>(logps: &[T], digits: &[f64]) -> Result<Vec<f64>, Error>
where
    T: Copy + Into<f64> + Sync,
{
    if digits.is_empty() || !logps.len().is_multiple_of(digits.len()) {
        return Err(Error::UnequalDigits {
            values: logps.len(),
            digits: digits.len(),
        });
    }
    if let Some(at) = digits.iter().position(|digit| !digit.is_finite()) {
        let value = digits[at];
        return Err(Error::InvalidDigit { at, value });
    }
    let rows: Vec<&[T]> = logps.chunks_exact(digits.len()).collect();
    Ok(parallel::map(&rows, MIN_TASK_SIZE, |row| {
        expected_score(row, digits)
    }))
}

fn expected_score<T: Copy + Into<f64>>(row: &[T], digits: &[f64]) -> f64 {
    let max = row
        .iter()
        .map(|&logp| logp.into())
        .fold(f64::NEG_INFINITY, f64::max);
    let (mut weighted, mut total) = (0.0, 0.0);
    for (&logp, digit) in row.iter().zip(digits) {
        let weight = (logp.into() - max).exp();
        weighted += weight * digit;
        total += weight;
    }
    weighted / total
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONE: f64 = f64::NEG_INFINITY;

    fn one(logps: &[f64], digits: &[f64]) -> f64 {
        expected_scores(logps, digits).unwrap()[0]
    }

    #[test]
    fn means_of_distributions() {
        let cases: [(&[f64], &[f64], f64); 7] = [
            (&[0.0], &[3.0], 3.0),
            (&[-1.0, -1.0], &[0.0, 5.0], 2.5),
            (&[NONE, -3.0], &[0.0, 5.0], 5.0),
            (&[-2000.0, -2000.0], &[1.0, 2.0], 1.5),
            (&[0.0, NONE, NONE], &[4.0, 1.0, 0.0], 4.0),
            (&[700.0, 700.0, 700.0], &[1.0, 2.0, 6.0], 3.0),
            (&[0.25_f64.ln(), 0.5_f64.ln()], &[0.0, 3.0], 2.0),
        ];
        for (logps, digits, expected) in cases {
            let found = one(logps, digits);
            assert!((found - expected).abs() < 1e-12, "{logps:?}: {found}");
        }
    }

    #[test]
    fn rows_without_a_distribution() {
        for row in [
            [NONE, NONE],
            [f64::NAN, 0.0],
            [0.0, f64::NAN],
            [f64::INFINITY, 0.0],
        ] {
            assert!(one(&row, &[0.0, 1.0]).is_nan(), "{row:?}");
        }
    }

    #[test]
    fn no_rows_and_both_widths() {
        assert!(expected_scores::<f64>(&[], &[1.0]).unwrap().is_empty());
        let narrow = expected_scores(&[-0.5_f32, -1.5], &[0.0, 1.0]).unwrap();
        assert_eq!(narrow, expected_scores(&[-0.5, -1.5], &[0.0, 1.0]).unwrap());
    }

    #[test]
    fn bad_digits() {
        let cases: [(&[f64], &[f64], &str); 4] = [
            (&[0.0; 3], &[0.0, 1.0], "logps has 3 values"),
            (&[], &[], "at least one digit"),
            (&[0.0], &[f64::NAN], "digits[0] is NaN; use finite"),
            (&[0.0; 2], &[1.0, f64::INFINITY], "digits[1] is inf"),
        ];
        for (logps, digits, part) in cases {
            let message = expected_scores(logps, digits).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    proptest! {
        #[test]
        fn every_mean_lies_between_the_digits(
            rows in prop::collection::vec(prop::array::uniform4(-50.0_f64..0.0), 1..50),
        ) {
            let digits = [0.0, 1.0, 2.0, 5.0];
            let found = expected_scores(rows.as_flattened(), &digits).unwrap();
            for (row, mean) in rows.iter().zip(found) {
                let weights = row.map(f64::exp);
                let naive = weights.iter().zip(digits).map(|(w, d)| w * d).sum::<f64>()
                    / weights.iter().sum::<f64>();
                prop_assert!((mean - naive).abs() < 1e-12);
                prop_assert!((0.0..=5.0).contains(&mean));
            }
        }
    }
}
