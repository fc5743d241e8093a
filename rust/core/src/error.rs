//! The one error type of this crate.

/// What can be wrong with the arguments of a call. Every message says how to
/// mend it. Text that a model wrote is never an error: an unreadable reply is
/// an [outcome](crate::verdict::Outcome).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The custom verdict pattern is no regular expression.
    #[error(
        "the verdict pattern {pattern:?} is not a valid regular expression; \
         correct it (syntax: https://docs.rs/regex): {reason}"
    )]
    InvalidPattern {
        /// The pattern as given.
        pattern: String,
        /// What the regex compiler said.
        reason: String,
    },

    /// The custom verdict pattern does not say where the number is.
    #[error(
        "the verdict pattern {pattern:?} has no group named `score`; \
         wrap the number in one, for example (?P<score>[0-9.]+)"
    )]
    NoScoreGroup {
        /// The pattern as given.
        pattern: String,
    },

    /// The upper end of the scale makes no scale.
    #[error("max_score is {value}; give a finite number above 0, for example 5.0")]
    InvalidMaxScore {
        /// The value as given.
        value: f64,
    },

    /// The smallest accepted margin is not a distance.
    #[error("min_margin is {value}; give a finite number of at least 0, for example 0.0")]
    InvalidMinMargin {
        /// The value as given.
        value: f64,
    },

    /// The score of a perfect answer is not a number.
    #[error("perfect is {value}; give a finite number, for example the judge's max_score")]
    InvalidPerfect {
        /// The value as given.
        value: f64,
    },

    /// The columns of a table have different lengths.
    #[error(
        "column `{column}` has {found} rows but `prompt` has {expected}; \
         give every column one entry per candidate"
    )]
    UnequalColumns {
        /// The column that does not fit.
        column: &'static str,
        /// The length of `prompt`.
        expected: usize,
        /// The length of `column`.
        found: usize,
    },

    /// The table of log-probabilities does not go with the digits.
    #[error(
        "logps holds {values} values, which is no table with one column for each of {digits} digits; \
         give an array of shape [replies, {digits}] and at least one digit"
    )]
    UnequalDigits {
        /// The number of log-probabilities.
        values: usize,
        /// The number of digits.
        digits: usize,
    },

    /// The value of a digit is not a number.
    #[error("digits[{at}] is {value}; give finite values, for example 0.0 to 5.0")]
    InvalidDigit {
        /// The position among the digits.
        at: usize,
        /// The value as given.
        value: f64,
    },

    /// The name of a field is not a path of keys.
    #[error("field is {field:?}; give the name of a field, or a path such as `chosen.0.content`")]
    InvalidField {
        /// The name as given.
        field: String,
    },

    /// A line of a file does not have the text that was asked for.
    #[error("line {line}: {reason}")]
    InvalidLine {
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong and how to mend it.
        reason: String,
    },
}
