//! The error type of this crate.

/// Invalid arguments of a call. Every message says how to fix them. Text that a
/// model wrote is never an error: an unparseable reply is an
/// [outcome](crate::verdict::Outcome).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The custom verdict pattern is not a regular expression.
    #[error(
        "the verdict pattern {pattern:?} is not a valid regular expression; \
         fix it (syntax: https://docs.rs/regex): {reason}"
    )]
    InvalidPattern {
        /// The pattern as given.
        pattern: String,
        /// The message of the regex compiler.
        reason: String,
    },

    /// The custom verdict pattern does not capture the number.
    #[error(
        "the verdict pattern {pattern:?} has no group named `score`; \
         wrap the number in one, for example (?P<score>[0-9.]+)"
    )]
    NoScoreGroup {
        /// The pattern as given.
        pattern: String,
    },

    /// The upper end of the scale is invalid.
    #[error("max_score is {value}; use a finite number above 0, for example 5.0")]
    InvalidMaxScore {
        /// The value as given.
        value: f64,
    },

    /// A chat template has more turn marks than a search can hold.
    #[error("{count} turn marks are too many or too long; use fewer or shorter ones")]
    TooManyMarks {
        /// The number of marks.
        count: usize,
    },

    /// The minimum margin is not a finite non-negative number.
    #[error("min_margin is {value}; use a finite number of at least 0, for example 0.0")]
    InvalidMinMargin {
        /// The value as given.
        value: f64,
    },

    /// A count that must be at least 1 is 0.
    #[error("{name} is 0; use a whole number of at least 1")]
    ZeroCount {
        /// The name of the argument.
        name: &'static str,
    },

    /// The tier width of length control is outside [0, 1].
    #[error("rho is {value}; use a number from 0 to 1, for example 0.1")]
    InvalidRho {
        /// The value as given.
        value: f64,
    },

    /// Length control was requested without lengths.
    #[error("length_controlled needs the lengths of the answers; pass `texts` or `length`")]
    NoLength,

    /// The columns of verdicts have different lengths.
    #[error(
        "column `score` has {scores} rows but `candidate` has {candidates}; \
         both need one entry per verdict"
    )]
    UnequalVerdicts {
        /// The length of `candidate`.
        candidates: usize,
        /// The length of `score`.
        scores: usize,
    },

    /// A verdict refers to a candidate that does not exist.
    #[error(
        "candidate[{row}] is {value}; use the row of a candidate, at least 0 and below {limit}\
         {}", if *.is_given { "" } else { " (or pass the number of `candidates`)" }
    )]
    NoCandidate {
        /// The row of the verdict.
        row: usize,
        /// The candidate as given.
        value: i64,
        /// The number of candidates.
        limit: usize,
        /// Whether the caller passed the number of candidates.
        is_given: bool,
    },

    /// The score of a perfect answer is not finite.
    #[error("perfect is {value}; use a finite number, for example the judge's max_score")]
    InvalidPerfect {
        /// The value as given.
        value: f64,
    },

    /// The novelty threshold is outside [0, 1].
    #[error("threshold is {value}; use a number from 0 to 1, for example 0.7")]
    InvalidThreshold {
        /// The value as given.
        value: f64,
    },

    /// The columns of a table have different lengths.
    #[error(
        "column `{column}` has {found} rows but `prompt` has {expected}; \
         every column needs one entry per candidate"
    )]
    UnequalColumns {
        /// The column with the wrong length.
        column: &'static str,
        /// The length of `prompt`.
        expected: usize,
        /// The length of `column`.
        found: usize,
    },

    /// A `tokenizer.json` cannot be used.
    #[error(
        "the tokenizer cannot be used: {reason}; use a tokenizer.json that Hugging Face's \
         tokenizers can load"
    )]
    InvalidTokenizer {
        /// What is wrong with it.
        reason: String,
    },

    /// A tokenizer failed on a text.
    #[error("the tokenizer cannot encode a text: {reason}")]
    Tokenize {
        /// The message of `tokenizers`.
        reason: String,
    },

    /// A chat template cannot be compiled.
    #[error("the chat template cannot be used: {reason}")]
    InvalidTemplate {
        /// The message of the template compiler.
        reason: String,
    },

    /// A chat template rejects a conversation.
    #[error("the chat template rejects these messages: {reason}")]
    Template {
        /// The message that the template raised.
        reason: String,
    },

    /// Prompt and answer tokens cannot be separated.
    #[error(
        "the chat template renders a prompt differently when an answer follows, so the tokens of \
         prompt and answer cannot be separated; set model.chat_template to a template that does not"
    )]
    PromptChanges,

    /// The tokenizer lacks the token that ends an answer.
    #[error("the end token {token:?} is not in the tokenizer; set eos_token to a token that is")]
    UnknownEndToken {
        /// The token's string.
        token: String,
    },

    /// A message contains a special token that cannot be escaped.
    #[error(
        "a message contains {token:?}, a special token of one character that cannot be escaped \
         to plain text; remove it from the message"
    )]
    OneCharacterSpecial {
        /// The token's string.
        token: String,
    },

    /// A message's role contains a special token.
    #[error("the role {role:?} contains a special token; use a role such as \"user\"")]
    SpecialInRole {
        /// The role.
        role: String,
    },

    /// No unused character is left to escape special tokens with.
    #[error("a conversation contains every Unicode character; shorten its messages")]
    NoMarkLeft,

    /// An answer was passed neither as messages nor as ids.
    #[error("there is no answer; pass its messages or its ids")]
    NoAnswer,

    /// A row of a batch failed.
    #[error("row {row}: {source}")]
    InRow {
        /// The index of the row, from 0.
        row: usize,
        /// What is wrong with it.
        #[source]
        source: Box<Error>,
    },

    /// The Jaccard threshold of near duplicates is out of range.
    #[error("threshold is {value}; use a number above 0 and at most 1, for example 0.8")]
    InvalidJaccard {
        /// The value as given.
        value: f64,
    },

    /// The n of the n-grams is out of range.
    #[error("ngram is {value}; use a number from 1 to {max}, for example 3")]
    InvalidNgram {
        /// The value as given.
        value: i64,
        /// The maximum n.
        max: usize,
    },

    /// The unit of the n-grams is unknown.
    #[error("unit is {value:?}; use \"word\" or \"char\"")]
    InvalidUnit {
        /// The value as given.
        value: String,
    },

    /// The length of the MinHash signatures is out of range.
    #[error("permutations is {value}; use a number from 1 to {max}, for example 128")]
    InvalidPermutations {
        /// The value as given.
        value: i64,
        /// The maximum length of a signature.
        max: usize,
    },

    /// The MinHash signatures are too short for the threshold.
    #[error(
        "permutations is {value}, too few to find near duplicates at threshold {threshold}; \
         use at least {needed} or a higher threshold"
    )]
    TooFewPermutations {
        /// The value as given.
        value: usize,
        /// The threshold as given.
        threshold: f64,
        /// The minimum signature length for this threshold.
        needed: usize,
    },

    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// The error of the operating system.
        #[source]
        source: std::io::Error,
    },

    /// A file is not a saved index, or it is damaged.
    #[error(
        "{path}: {problem}; use a file that `NearDuplicateIndex.save` wrote, or rebuild the index"
    )]
    InvalidIndexFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },

    /// The word splitting is unknown.
    #[error("words is {value:?}; use \"rouge_score\" or \"unicode\"")]
    UnknownWords {
        /// The value as given.
        value: String,
    },

    /// The table of log-probabilities does not match the digits.
    #[error(
        "logps has {values} values, which is not a table with one column for each of {digits} digits; \
         pass an array of shape [replies, {digits}] and at least one digit"
    )]
    UnequalDigits {
        /// The number of log-probabilities.
        values: usize,
        /// The number of digits.
        digits: usize,
    },

    /// The value of a digit is not finite.
    #[error("digits[{at}] is {value}; use finite values, for example 0.0 to 5.0")]
    InvalidDigit {
        /// The position among the digits.
        at: usize,
        /// The value as given.
        value: f64,
    },

    /// The name of a field is not a path of keys.
    #[error("field is {field:?}; use the name of a field, or a path such as `chosen.0.content`")]
    InvalidField {
        /// The name as given.
        field: String,
    },

    /// Cumulative lengths of rows do not fit their packed ids.
    #[error(
        "offsets[{at}] is {value}, but offsets must start at 0, never fall, and end at the number \
         of ids ({tokens}); pass the cumulative lengths of the rows"
    )]
    InvalidOffsets {
        /// The position among the offsets.
        at: usize,
        /// The value as given, 0 if there is none.
        value: i64,
        /// The number of packed ids.
        tokens: usize,
    },

    /// A line of a file does not have the requested text.
    #[error("line {line}: {reason}")]
    InvalidLine {
        /// The number of the line, from 1.
        line: usize,
        /// What is wrong and how to fix it.
        reason: String,
    },
}

impl Error {
    /// Whether a chat template rejected the messages of the call or of a row.
    pub fn is_template_error(&self) -> bool {
        match self {
            Self::Template { .. } => true,
            Self::InRow { source, .. } => source.is_template_error(),
            _ => false,
        }
    }
}
