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

    /// The similarity from which texts are near duplicates is none.
    #[error("threshold is {value}; give a number above 0 and at most 1, for example 0.8")]
    InvalidThreshold {
        /// The value as given.
        value: f64,
    },

    /// The n of the n-grams is out of range.
    #[error("ngram is {value}; give a number from 1 to {largest}, for example 3")]
    InvalidNgram {
        /// The value as given.
        value: i64,
        /// The largest n.
        largest: usize,
    },

    /// n-grams are made of something else.
    #[error("unit is {value:?}; give \"word\" or \"char\"")]
    InvalidUnit {
        /// The value as given.
        value: String,
    },

    /// The length of the MinHash signatures is out of range.
    #[error("permutations is {value}; give a number from 1 to {largest}, for example 128")]
    InvalidPermutations {
        /// The value as given.
        value: i64,
        /// The longest signature.
        largest: usize,
    },

    /// The MinHash signatures are too short for the threshold.
    #[error(
        "permutations is {value}, too few to find near duplicates at threshold {threshold}; \
         give at least {needed} or a higher threshold"
    )]
    TooFewPermutations {
        /// The value as given.
        value: usize,
        /// The threshold as given.
        threshold: f64,
        /// The shortest signature that suffices.
        needed: usize,
    },

    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },

    /// A file is no saved index, or a damaged one.
    #[error(
        "{path}: {problem}; give a file that `NearDuplicateIndex.save` wrote, or build it anew"
    )]
    InvalidIndexFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}
