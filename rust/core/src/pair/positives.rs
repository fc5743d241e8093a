//! The perfect answers of each prompt, for fine-tuning on positive examples
//! only.
//!
//! Training on perfect answers instead of pairs is the baseline of arXiv
//! 2401.10020, section 2.3 ("positive examples only").

use rustc_hash::FxHashSet;

use super::columns::Columns;
use super::groups::Groups;
use crate::Error;

/// The perfect answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positives {
    /// Their rows: prompts in order of first appearance, the rows of each
    /// ascending.
    pub rows: Vec<i64>,
    /// The number of prompts without a perfect answer.
    pub no_perfect_answer: usize,
    /// The number of perfect answers dropped because they repeat an earlier one
    /// of their prompt.
    pub same_text: usize,
}

/// All usable answers that may be chosen, with a score of at least `perfect`, each text once per
/// prompt. Expected scores are ignored.
///
/// # Errors
/// [`Error::UnequalColumns`], or [`Error::InvalidPerfect`] unless `perfect` is
/// finite.
pub fn positives<T: AsRef<str> + Sync>(
    columns: &Columns<T>,
    perfect: f64,
) -> Result<Positives, Error> {
    columns.check()?;
    if !perfect.is_finite() {
        return Err(Error::InvalidPerfect { value: perfect });
    }
    let parts = Groups::of(columns.prompt).map(|part| {
        let mut found = Positives::default();
        let mut seen = FxHashSet::default();
        part.for_each(|_, rows| {
            seen.clear();
            let mut perfect_answers = 0;
            rows.for_each(|row| {
                let score = columns.score[row];
                let allowed = columns.is_usable(row) && columns.may_be_chosen(row);
                if !(allowed && score.is_finite() && score >= perfect) {
                    return;
                }
                perfect_answers += 1;
                if columns.trimmed(row).is_none_or(|text| seen.insert(text)) {
                    found.rows.push(row as i64);
                } else {
                    found.same_text += 1;
                }
            });
            found.no_perfect_answer += usize::from(perfect_answers == 0);
        });
        found
    });
    let mut all = Positives::default();
    for part in parts {
        all.rows.extend(part.rows);
        all.no_perfect_answer += part.no_perfect_answer;
        all.same_text += part.same_text;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfect_answers_once_each() {
        let mut columns = Columns {
            prompt: &[1, 0, 1, 1, 0, 2, 1, 3],
            score: &[5.0, 5.0, 5.0, 4.9, f64::NAN, 5.0, 5.0, 1.0],
            expected: None,
            usable: Some(&[true, true, true, true, true, false, true, true]),
            may_be_chosen: None,
            may_be_rejected: None,
            texts: Some(&["a", "a", " a ", "b", "c", "d", "e", "f"]),
            length: None,
        };
        let expected = Positives {
            rows: vec![0, 6, 1],
            no_perfect_answer: 2,
            same_text: 1,
        };
        assert_eq!(positives(&columns, 5.0).unwrap(), expected);
        columns.texts = None;
        assert_eq!(positives(&columns, 5.0).unwrap().rows, [0, 2, 6, 1]);
    }

    #[test]
    fn perfect_must_be_a_number() {
        let columns: Columns<&str> = Columns {
            prompt: &[],
            score: &[],
            expected: None,
            usable: None,
            may_be_chosen: None,
            may_be_rejected: None,
            texts: None,
            length: None,
        };
        assert!(positives(&columns, f64::NAN).is_err());
    }
}
