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

    /// The description of a tokenizer cannot be used.
    #[error(
        "the tokenizer cannot be used: {reason}; give a tokenizer.json that Hugging Face's \
         tokenizers can read"
    )]
    InvalidTokenizer {
        /// What is wrong with it.
        reason: String,
    },

    /// A tokenizer gave up on a text.
    #[error("the tokenizer gives up on a text: {reason}")]
    Tokenize {
        /// What it said.
        reason: String,
    },

    /// A chat template cannot be compiled.
    #[error("the chat template cannot be used: {reason}")]
    InvalidTemplate {
        /// What the compiler said.
        reason: String,
    },

    /// A chat template refuses a conversation.
    #[error("the chat template refuses these messages: {reason}")]
    Template {
        /// What it raised.
        reason: String,
    },

    /// Prompt and answer cannot be told apart.
    #[error(
        "the chat template renders a prompt differently once an answer follows, so that answers \
         cannot be told apart from prompts; set model.chat_template to one that does not"
    )]
    PromptChanges,

    /// The tokenizer lacks the token that ends an answer.
    #[error("the end token {token:?} is not in the tokenizer; set its eos_token to one that is")]
    UnknownEndToken {
        /// The token's string.
        token: String,
    },

    /// A message holds a special token that cannot be told from text.
    #[error(
        "a message holds {token:?}, which is a special token of one character and cannot be kept \
         as text; remove it from the message"
    )]
    OneCharacterSpecial {
        /// The token's string.
        token: String,
    },

    /// A message's role holds a special token.
    #[error("the role {role:?} holds a special token; name a role such as \"user\"")]
    SpecialInRole {
        /// The role.
        role: String,
    },

    /// There is no character left to break up special tokens with.
    #[error("a conversation holds every character of Unicode; shorten its messages")]
    NoMarkLeft,

    /// An answer was given neither as messages nor as ids.
    #[error("there is no answer; give its messages or its ids")]
    NoAnswer,

    /// A row of a batch failed.
    #[error("row {row}: {source}")]
    InRow {
        /// Its number, from 0.
        row: usize,
        /// What is wrong with it.
        #[source]
        source: Box<Error>,
    },

    /// The similarity from which texts are near duplicates is none.
    #[error("threshold is {value}; give a number above 0 and at most 1, for example 0.8")]
    InvalidJaccard {
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

    /// There is no such way to split a text into words.
    #[error("words is {value:?}; give \"rouge_score\" or \"unicode\"")]
    UnknownWords {
        /// The value as given.
        value: String,
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

impl Error {
    /// Whether a chat template refused, in whatever row.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Template { .. } => true,
            Self::InRow { source, .. } => source.is_refusal(),
            _ => false,
        }
    }
}
