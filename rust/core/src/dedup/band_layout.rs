//! The bands of a MinHash signature.

use crate::Error;

/// The minimum probability with which a pair exactly at the threshold shares a
/// band and is found. It is higher for a pair above the threshold.
pub const RECALL: f64 = 0.99;

/// The maximum length of a signature.
pub const MAX_PERMUTATIONS: usize = 4096;

/// A signature of `bands * rows` values. Two texts are compared if all `rows`
/// values of any band agree, which has probability 1 - (1 - s^rows)^bands for a
/// pair of Jaccard similarity s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Banding {
    /// The number of bands, b.
    pub bands: usize,
    /// The number of values per band, r.
    pub rows: usize,
}

impl Banding {
    /// The longest bands, and so the fewest unnecessary comparisons, that reach
    /// [`RECALL`] at `threshold` with at most `permutations` values.
    ///
    /// # Errors
    ///
    /// If `threshold` is not above 0 and at most 1, `permutations` is not
    /// between 1 and 4096, or bands of one value do not reach [`RECALL`]
    /// either.
    pub fn choose(threshold: f64, permutations: usize) -> Result<Self, Error> {
        if !(threshold > 0.0 && threshold <= 1.0) {
            return Err(Error::InvalidJaccard { value: threshold });
        }
        if !(1..=MAX_PERMUTATIONS).contains(&permutations) {
            return Err(Error::InvalidPermutations {
                value: permutations as i64,
                max: MAX_PERMUTATIONS,
            });
        }
        let with_rows = |rows| Self {
            bands: permutations / rows,
            rows,
        };
        (1..=permutations)
            .rev()
            .map(with_rows)
            .find(|banding| banding.recall(threshold) >= RECALL)
            .ok_or_else(|| Error::TooFewPermutations {
                value: permutations,
                threshold,
                needed: permutations_needed(threshold),
            })
    }

    /// The probability that a pair of this Jaccard similarity shares a band.
    pub fn recall(self, similarity: f64) -> f64 {
        1.0 - (1.0 - similarity.powi(self.rows as i32)).powi(self.bands as i32)
    }
}

/// The minimum number of bands of one value that reach [`RECALL`].
fn permutations_needed(threshold: f64) -> usize {
    ((1.0 - RECALL).ln() / (1.0 - threshold).ln()).ceil() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_are_as_long_as_recall_allows() {
        let cases = [
            (0.8, 128, 21, 6),
            (0.5, 128, 42, 3),
            (0.9, 128, 12, 10),
            (0.1, 128, 128, 1),
            (0.8, 16, 8, 2),
            (1.0, 128, 1, 128),
        ];
        for (threshold, permutations, bands, rows) in cases {
            let banding = Banding::choose(threshold, permutations).unwrap();
            assert_eq!(banding, Banding { bands, rows }, "{threshold}");
            assert!(banding.recall(threshold) >= RECALL);
            assert!(banding.recall(threshold - 0.05) < banding.recall(threshold));
        }
    }

    #[test]
    fn values_out_of_range_are_errors() {
        let cases = [
            (
                0.0,
                128,
                "threshold is 0; use a number above 0 and at most 1",
            ),
            (1.1, 128, "threshold is 1.1;"),
            (f64::NAN, 128, "threshold is NaN;"),
            (0.8, 0, "permutations is 0; use a number from 1 to 4096"),
            (0.8, 4097, "permutations is 4097;"),
            (0.1, 16, "permutations is 16, too few"),
        ];
        for (threshold, permutations, text) in cases {
            let error = Banding::choose(threshold, permutations).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn the_suggested_number_suffices() {
        for threshold in [0.01, 0.1, 0.3, 0.6] {
            let needed = permutations_needed(threshold);
            assert!(Banding::choose(threshold, needed).is_ok());
            assert!(Banding::choose(threshold, needed - 1).is_err());
        }
    }
}
