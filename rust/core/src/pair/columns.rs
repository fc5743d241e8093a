//! The table of candidates, one row per answer.

use rustc_hash::FxHashMap;

use crate::Error;

/// The columns of the table of candidates; all have one entry per answer.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a, T> {
    /// Which prompt the answer belongs to; the rows of a prompt may lie apart.
    pub prompt: &'a [i64],
    /// The judge's score. An answer whose score is not finite (NaN where there
    /// is no verdict) takes no part.
    pub score: &'a [f64],
    /// The expected score under the judge's token probabilities, which settles
    /// ties; NaN where there is none.
    pub expected: &'a [f64],
    /// Whether the answer may be used at all, false for a truncated one.
    pub usable: &'a [bool],
    /// The answers.
    pub texts: &'a [T],
}

impl<T: AsRef<str>> Columns<'_, T> {
    /// Checks that all columns are as long as `prompt`.
    pub(super) fn check(&self) -> Result<(), Error> {
        let expected = self.prompt.len();
        let lengths = [
            ("score", self.score.len()),
            ("expected", self.expected.len()),
            ("usable", self.usable.len()),
            ("texts", self.texts.len()),
        ];
        match lengths.into_iter().find(|&(_, found)| found != expected) {
            Some((column, found)) => Err(Error::UnequalColumns {
                column,
                expected,
                found,
            }),
            None => Ok(()),
        }
    }

    /// Whether the row has a score.
    pub(super) fn is_scored(&self, row: usize) -> bool {
        self.score[row].is_finite()
    }

    /// Whether the row takes part.
    pub(super) fn takes_part(&self, row: usize) -> bool {
        self.usable[row] && self.is_scored(row)
    }

    /// The answer without the white space around it, by which answers compare.
    pub(super) fn trimmed(&self, row: usize) -> &str {
        self.texts[row].as_ref().trim()
    }
}

/// The rows of each prompt, prompts in the order of their first row and rows in
/// ascending order.
pub(super) fn groups(prompt: &[i64]) -> Vec<(i64, Vec<usize>)> {
    let mut place_of: FxHashMap<i64, usize> = FxHashMap::default();
    let mut groups: Vec<(i64, Vec<usize>)> = Vec::new();
    for (row, &id) in prompt.iter().enumerate() {
        let place = *place_of.entry(id).or_insert_with(|| {
            groups.push((id, Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(row);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_in_order_of_first_appearance() {
        let expected = vec![(7, vec![0, 2]), (-1, vec![1, 4]), (3, vec![3])];
        assert_eq!(groups(&[7, -1, 7, 3, -1]), expected);
    }

    #[test]
    fn unequal_columns_are_named() {
        let columns = Columns {
            prompt: &[0, 0],
            score: &[1.0, 2.0],
            expected: &[1.0],
            usable: &[true, true],
            texts: &["a", "b"],
        };
        let message = columns.check().unwrap_err().to_string();
        assert!(
            message.contains("`expected` has 1 rows but `prompt` has 2"),
            "{message}"
        );
    }
}
