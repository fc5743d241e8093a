//! The perfect answers of each prompt, for fine-tuning on positives only.
//!
//! Training on the perfect answers instead of on pairs is the variant that arXiv
//! 2401.10020, section 2.3 ("positive examples only"), compares with.

use rustc_hash::FxHashSet;

use super::columns::{Columns, groups};
use crate::Error;

/// The perfect answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positives {
    /// Their rows: prompts in the order of their first row, rows of one prompt
    /// ascending.
    pub rows: Vec<usize>,
    /// How many prompts have none.
    pub no_perfect_answer: usize,
    /// How many perfect answers repeat an earlier one of their prompt and were
    /// left out.
    pub same_text: usize,
}

/// All usable answers of each prompt whose score reaches `perfect`, each text
/// once. The expected scores are not looked at.
///
/// # Errors
/// [`Error::UnequalColumns`], or [`Error::InvalidPerfect`] unless `perfect` is
/// finite.
pub fn positives<T: AsRef<str>>(columns: &Columns<T>, perfect: f64) -> Result<Positives, Error> {
    columns.check()?;
    if !perfect.is_finite() {
        return Err(Error::InvalidPerfect { value: perfect });
    }
    let mut positives = Positives::default();
    for (_, mut rows) in groups(columns.prompt) {
        rows.retain(|&row| columns.takes_part(row) && columns.score[row] >= perfect);
        if rows.is_empty() {
            positives.no_perfect_answer += 1;
        }
        let found = rows.len();
        let mut seen = FxHashSet::default();
        rows.retain(|&row| seen.insert(columns.trimmed(row)));
        positives.same_text += found - rows.len();
        positives.rows.extend(rows);
    }
    Ok(positives)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfect_answers_once_each() {
        let columns = Columns {
            prompt: &[1, 0, 1, 1, 0, 2, 1, 3],
            score: &[5.0, 5.0, 5.0, 4.9, f64::NAN, 5.0, 5.0, 1.0],
            expected: &[f64::NAN; 8],
            usable: &[true, true, true, true, true, false, true, true],
            texts: &["a", "a", " a ", "b", "c", "d", "e", "f"],
        };
        let expected = Positives {
            rows: vec![0, 6, 1],
            no_perfect_answer: 2,
            same_text: 1,
        };
        assert_eq!(positives(&columns, 5.0).unwrap(), expected);
    }

    #[test]
    fn perfect_must_be_a_number() {
        let columns: Columns<&str> = Columns {
            prompt: &[],
            score: &[],
            expected: &[],
            usable: &[],
            texts: &[],
        };
        assert!(positives(&columns, f64::NAN).is_err());
    }
}
