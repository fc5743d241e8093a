//! A text prepared for the search.

use std::cell::OnceCell;

use super::lcs::Pattern;
use super::order::{Order, WordPosition};
use super::signature::{Signature, folded, signature};
use super::vocabulary::Word;

/// A text prepared for the search.
pub(super) struct Query {
    words: Vec<Word>,
    positions: Vec<WordPosition>,
    signature: Signature,
    folded: u64,
    /// Built when the first kept text passes the cheaper bounds.
    pattern: OnceCell<Pattern>,
}

impl Query {
    /// Prepares a text with these words for postings in this order.
    pub fn new(words: Vec<Word>, order: &Order) -> Self {
        let signature = signature(&words);
        Self {
            positions: order.rare_first(&words),
            folded: folded(&signature),
            signature,
            words,
            pattern: OnceCell::new(),
        }
    }

    /// The words, in text order.
    pub fn words(&self) -> &[Word] {
        &self.words
    }

    /// The distinct words that kept texts may contain, rarest first.
    pub fn positions(&self) -> &[WordPosition] {
        &self.positions
    }

    /// The same words, each with the number of words from its position on. This
    /// is the maximum number of words in common with a text that contains none
    /// of the rarer ones.
    pub fn rare_first(&self) -> impl Iterator<Item = (Word, usize)> + use<'_> {
        let len = self.words.len();
        let positions = self.positions.iter();
        positions.map(move |&(word, position)| (word, len - position as usize))
    }

    /// The signature of the words.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The signature folded to 64 bits.
    pub fn folded(&self) -> u64 {
        self.folded
    }

    /// The words as a [`Pattern`].
    pub fn pattern(&self) -> &Pattern {
        self.pattern.get_or_init(|| Pattern::new(&self.words))
    }
}
