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
         correct it (syntax: https://docs.rs/regex): {source}"
    )]
    InvalidPattern {
        /// The pattern as given.
        pattern: String,
        /// What the regex compiler said.
        #[source]
        source: Box<regex::Error>,
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

    /// The similarity above which a text is dropped is no similarity.
    #[error("threshold is {value}; give a number from 0 to 1, for example 0.7")]
    InvalidThreshold {
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

    /// There is no such way to split a text into words.
    #[error("words is {value:?}; give \"rouge_score\" or \"unicode\"")]
    UnknownWords {
        /// The value as given.
        value: String,
    },
}
