//! A text, ready to be searched for.

use std::cell::OnceCell;

use super::lcs::Pattern;
use super::order::{Order, Place};
use super::signature::{Signature, folded, signature};
use super::vocabulary::Word;

/// A text, ready to be searched for.
pub(super) struct Query {
    words: Vec<Word>,
    places: Vec<Place>,
    signature: Signature,
    folded: u64,
    /// Made when a first kept text is near enough.
    pattern: OnceCell<Pattern>,
}

impl Query {
    /// Prepares a text of these words for postings in this order.
    pub fn new(words: Vec<Word>, order: &Order) -> Self {
        let signature = signature(&words);
        Self {
            places: order.rare_first(&words),
            folded: folded(&signature),
            signature,
            words,
            pattern: OnceCell::new(),
        }
    }

    /// The words, in the order of the text.
    pub fn words(&self) -> &[Word] {
        &self.words
    }

    /// The different words that kept texts may have, the rarest first.
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The same words, each with the number of words from it on: so many at most
    /// are in common with a text that has none of the rarer ones.
    pub fn rare_first(&self) -> impl Iterator<Item = (Word, usize)> + use<'_> {
        let len = self.words.len();
        let places = self.places.iter();
        places.map(move |&(word, place)| (word, len - place as usize))
    }

    /// The signature of the words.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The signature folded to 64 bits.
    pub fn folded(&self) -> u64 {
        self.folded
    }

    /// The words as [`Pattern`].
    pub fn pattern(&self) -> &Pattern {
        self.pattern.get_or_init(|| Pattern::new(&self.words))
    }
}
