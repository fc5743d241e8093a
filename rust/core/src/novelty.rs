//! Rejection of prompts that are too similar to kept ones, by ROUGE-L.
//!
//! Self-Instruct (Wang et al., arXiv 2212.10560, section 2.2) keeps a generated
//! prompt unless its ROUGE-L similarity to a kept one exceeds 0.7;
//! self-rewarding training generates its prompts in the same way.
//!
//! Similarities and decisions are those of comparing every new text with every
//! kept one. Most pairs are pruned by cheaper bounds, applied in this order:
//!
//! 1. the lengths: a much longer or shorter text cannot be similar enough;
//! 2. prefix filtering through an inverted index (Chaudhuri et al., "A
//!    primitive operator for similarity joins in data cleaning", 2006; Xiao et
//!    al., "Efficient similarity joins for near duplicate detection", 2008,
//!    with their positional filter): similar texts share one of the rarest
//!    words of both;
//! 3. a signature of 256 bits (Sandes et al., "Bitmap filter", 2020);
//! 4. the number of common words, regardless of order;
//! 5. the length that the longest common subsequence can still reach, while it
//!    is computed.

mod batch;
mod bound;
mod index;
mod lcs;
mod order;
mod postings;
mod query;
mod search;
mod signature;
mod store;
mod tokens;
mod vocabulary;

#[cfg(test)]
mod tests;

pub use batch::Decision;
pub use bound::Match;
pub use index::NoveltyIndex;
pub use search::Counts;
pub use tokens::Words;

use vocabulary::Vocabulary;

/// The ROUGE-L F-measure of two texts (Lin, "ROUGE: a package for automatic
/// evaluation of summaries", 2004, section 3.1, with beta 1): the harmonic mean
/// of precision and recall of the longest common subsequence.
///
/// With [`Words::RougeScore`] it equals the result of Google's `rouge_score`
/// exactly. With [`Words::Unicode`], a text without words has similarity 1 to
/// an identical text and 0 to any other.
pub fn rouge_l(a: &str, b: &str, words: Words) -> f64 {
    let mut vocabulary = Vocabulary::new(words);
    let split = vocabulary.split(a);
    let a_words = vocabulary.intern(split);
    let b_words = vocabulary.lookup(b);
    if a_words.is_empty() || b_words.is_empty() {
        return f64::from(words == Words::Unicode && a == b);
    }
    let common = lcs::Pattern::new(&a_words).common(&b_words);
    bound::f_measure(common, a_words.len(), b_words.len())
}

/// The words of a text that ROUGE-L compares, in lower case.
pub fn words(text: &str, words: Words) -> Vec<String> {
    let mut found = Vec::new();
    tokens::for_each_word(text, words, |word| found.push(word.to_owned()));
    found
}
