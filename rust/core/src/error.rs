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

    /// A count that must be at least 1 is 0.
    #[error("{what} is 0; give a whole number of at least 1")]
    ZeroCount {
        /// The name of the argument.
        what: &'static str,
    },

    /// The width of the tiers of length control is no share.
    #[error("rho is {value}; give a share between 0 and 1, for example 0.1")]
    InvalidRho {
        /// The value as given.
        value: f64,
    },

    /// Length control has no lengths.
    #[error("length_controlled needs the lengths of the answers; give `texts` or `length`")]
    NoLength,

    /// The columns of verdicts have different lengths.
    #[error(
        "column `score` has {scores} rows but `candidate` has {candidates}; \
         give both one entry per verdict"
    )]
    UnequalVerdicts {
        /// The length of `candidate`.
        candidates: usize,
        /// The length of `score`.
        scores: usize,
    },

    /// A verdict is on no candidate.
    #[error(
        "candidate[{row}] is {value}; give the row of a candidate, at least 0 and below {limit}\
         {}", if *.is_given { "" } else { " (or give the number of `candidates`)" }
    )]
    NoCandidate {
        /// The row of the verdict.
        row: usize,
        /// The candidate as given.
        value: i64,
        /// How many candidates there can be.
        limit: usize,
        /// Whether the caller said how many there are.
        is_given: bool,
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
}
