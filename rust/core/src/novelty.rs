//! Rejecting prompts that resemble kept ones, by ROUGE-L.
//!
//! Self-Instruct (Wang et al., arXiv 2212.10560, section 2.2) keeps a generated
//! prompt only if its ROUGE-L similarity to every kept one is below 0.7, and
//! self-rewarding training makes its new prompts in the same way.

mod entry;
mod index;
mod lcs;
mod tokens;

pub use index::{Match, NoveltyIndex};

/// The ROUGE-L F1 of two texts: twice the length of their longest common
/// subsequence of words over the sum of their lengths (Lin, "ROUGE", 2004).
///
/// Words are those of Google's `rouge_score` without stemming, see [`words`].
/// A text without any word has similarity 1 to an identical text and 0 to any
/// other.
pub fn rouge_l(a: &str, b: &str) -> f64 {
    let mut index = NoveltyIndex::new();
    index.push(a);
    index.max_similarity(b).0
}

/// The words of a text as ROUGE-L compares them: lower case, runs of letters
/// and digits.
///
/// A text without letters outside ASCII is split as `rouge_score` does it, at
/// everything but `a-z0-9`. That would leave nothing of most other languages, so
/// any other text is split at everything but Unicode letters and digits, and
/// each Chinese or Japanese character is a word, since those languages do not
/// separate words.
pub fn words(text: &str) -> Vec<String> {
    tokens::words(text)
}
