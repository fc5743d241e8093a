//! The columns of the candidate table, one row per answer.

use crate::Error;

/// The columns of the candidate table. Every column that is set has one entry
/// per answer.
#[derive(Debug)]
pub struct Columns<'a, T> {
    /// The prompt of each answer; the rows of a prompt need not be adjacent.
    pub prompt: &'a [i64],
    /// The judge's score. Answers without a finite score (NaN if there is no
    /// verdict) are ignored.
    pub score: &'a [f64],
    /// The expected score under the judge's token probabilities, which breaks
    /// ties; NaN if there is none.
    pub expected: Option<&'a [f64]>,
    /// Whether the answer may be used; false for a truncated one. Without this
    /// column every answer is usable.
    pub usable: Option<&'a [bool]>,
    /// Whether the answer may be the chosen one of a pair. Without this column
    /// every answer may.
    pub may_be_chosen: Option<&'a [bool]>,
    /// Whether the answer may be the rejected one of a pair. Without this
    /// column every answer may.
    pub may_be_rejected: Option<&'a [bool]>,
    /// The answers. Without them no two answers count as the same text.
    pub texts: Option<&'a [T]>,
    /// The lengths of the answers, in any unit. Default: code points of
    /// `texts`.
    pub length: Option<&'a [i64]>,
}

impl<T> Columns<'_, T> {
    /// Checks that all columns have the length of `prompt`.
    pub(super) fn check(&self) -> Result<(), Error> {
        let expected = self.prompt.len();
        let lengths = [
            ("score", Some(self.score.len())),
            ("expected", self.expected.map(<[f64]>::len)),
            ("usable", self.usable.map(<[bool]>::len)),
            ("may_be_chosen", self.may_be_chosen.map(<[bool]>::len)),
            ("may_be_rejected", self.may_be_rejected.map(<[bool]>::len)),
            ("texts", self.texts.map(<[T]>::len)),
            ("length", self.length.map(<[i64]>::len)),
        ];
        for (column, found) in lengths {
            let found = found.unwrap_or(expected);
            if found != expected {
                return Err(Error::UnequalColumns {
                    column,
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }

    /// Whether the answer of the row is usable.
    pub(super) fn is_usable(&self, row: usize) -> bool {
        self.usable.is_none_or(|usable| usable[row])
    }

    /// Whether the answer of the row may be the chosen one of a pair.
    pub(super) fn may_be_chosen(&self, row: usize) -> bool {
        self.may_be_chosen.is_none_or(|allowed| allowed[row])
    }

    /// Whether the answer of the row may be the rejected one of a pair.
    pub(super) fn may_be_rejected(&self, row: usize) -> bool {
        self.may_be_rejected.is_none_or(|allowed| allowed[row])
    }
}

impl<'a, T: AsRef<str>> Columns<'a, T> {
    /// The answer without surrounding white space, which is the text that is
    /// compared; `None` without the column.
    pub(super) fn trimmed(&self, row: usize) -> Option<&'a str> {
        self.texts.map(|texts| texts[row].as_ref().trim())
    }

    /// Whether two answers are known to be the same text.
    pub(super) fn same_text(&self, left: usize, right: usize) -> bool {
        self.texts.is_some() && self.trimmed(left) == self.trimmed(right)
    }

    /// The length of the answer; 0 without lengths and texts.
    pub(super) fn length(&self, row: usize) -> i64 {
        match (self.length, self.texts) {
            (Some(length), _) => length[row],
            (None, Some(texts)) => texts[row].as_ref().chars().count() as i64,
            (None, None) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unequal_columns_are_named() {
        let columns = Columns {
            prompt: &[0, 0],
            score: &[1.0, 2.0],
            expected: Some(&[1.0]),
            usable: None,
            may_be_chosen: None,
            may_be_rejected: None,
            texts: Some(&["a", "b"]),
            length: None,
        };
        let message = columns.check().unwrap_err().to_string();
        assert!(
            message.contains("`expected` has 1 rows but `prompt` has 2"),
            "{message}"
        );
        let columns = Columns {
            expected: None,
            length: Some(&[1, 2, 3]),
            ..columns
        };
        let message = columns.check().unwrap_err().to_string();
        assert!(message.contains("`length` has 3 rows"), "{message}");
    }

    #[test]
    fn lengths_are_code_points_unless_given() {
        let mut columns = Columns {
            prompt: &[0, 0],
            score: &[1.0, 2.0],
            expected: None,
            usable: None,
            may_be_chosen: None,
            may_be_rejected: None,
            texts: Some(&[" é😀", "a"]),
            length: None,
        };
        assert_eq!((columns.length(0), columns.length(1)), (3, 1));
        columns.length = Some(&[7, 9]);
        assert_eq!((columns.length(0), columns.length(1)), (7, 9));
    }
}
