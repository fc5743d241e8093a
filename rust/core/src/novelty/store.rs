//! The kept texts, in flat arrays.

use super::signature::{Signature, signature};
use super::vocabulary::Word;

/// The words and the signature of every kept text.
#[derive(Default)]
pub(super) struct Store {
    words: Vec<Word>,
    /// The end of each text in `words`.
    ends: Vec<usize>,
    signatures: Vec<Signature>,
}

impl Store {
    /// The number of kept texts.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Keeps a text of these words.
    pub fn push(&mut self, words: &[Word]) {
        self.words.extend_from_slice(words);
        self.ends.push(self.words.len());
        self.signatures.push(signature(words));
    }

    /// The words of a text, in text order.
    pub fn words(&self, index: usize) -> &[Word] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.words[start..self.ends[index]]
    }

    /// The signature of a text.
    pub fn signature(&self, index: usize) -> &Signature {
        &self.signatures[index]
    }

    /// The memory in bytes.
    pub fn memory(&self) -> usize {
        self.words.capacity() * size_of::<Word>()
            + self.ends.capacity() * size_of::<usize>()
            + self.signatures.capacity() * size_of::<Signature>()
    }
}
