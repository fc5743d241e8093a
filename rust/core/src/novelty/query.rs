//! A text, ready to be searched for.

use std::cell::OnceCell;

use super::lcs::Pattern;
use super::postings::{Order, Place};
use super::signature::{Signature, signature};
use super::vocabulary::Word;

/// A text, ready to be searched for.
pub(super) struct Query {
    words: Vec<Word>,
    rare_first: Vec<Place>,
    signature: Signature,
    /// Made when a first kept text is near enough.
    pattern: OnceCell<Pattern>,
}

impl Query {
    /// Prepares a text of these words for postings in this order.
    pub fn new(words: Vec<Word>, order: &Order) -> Self {
        Self {
            rare_first: order.rare_first(&words),
            signature: signature(&words),
            words,
            pattern: OnceCell::new(),
        }
    }

    /// The words, in the order of the text.
    pub fn words(&self) -> &[Word] {
        &self.words
    }

    /// The different words that kept texts may have, the rarest first.
    pub fn rare_first(&self) -> &[Place] {
        &self.rare_first
    }

    /// The signature of the words.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The words as [`Pattern`].
    pub fn pattern(&self) -> &Pattern {
        self.pattern.get_or_init(|| Pattern::new(&self.words))
    }
}
