//! The mapping from words to numbers.

use rustc_hash::FxHashMap;

use super::tokens::{self, Words};

/// A word as a number; equal words have equal numbers.
pub(super) type Word = u32;

/// The number of every word that no kept text contains; it never matches.
pub(super) const UNKNOWN: Word = Word::MAX;

/// The numbers of all words seen so far, from 0.
pub(super) struct Vocabulary {
    splitting: Words,
    numbers: FxHashMap<Box<str>, Word>,
    /// The bytes of all words, for [`Vocabulary::memory`].
    bytes: usize,
}

/// A text as numbers, and its words without a number with their indices.
pub(super) struct Split {
    words: Vec<Word>,
    unknown: Vec<(usize, Box<str>)>,
}

impl Vocabulary {
    /// A vocabulary without words.
    pub fn new(splitting: Words) -> Self {
        Self {
            splitting,
            numbers: FxHashMap::default(),
            bytes: 0,
        }
    }

    /// The definition of a word.
    pub fn splitting(&self) -> Words {
        self.splitting
    }

    /// The number of words.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// The numbers of a text's words, [`UNKNOWN`] for unknown words.
    pub fn lookup(&self, text: &str) -> Vec<Word> {
        let mut words = Vec::new();
        tokens::for_each_word(text, self.splitting, |word| {
            words.push(self.numbers.get(word).copied().unwrap_or(UNKNOWN));
        });
        words
    }

    /// The part of [`Vocabulary::intern`] that can run in parallel for many
    /// texts.
    pub fn split(&self, text: &str) -> Split {
        let (mut words, mut unknown) = (Vec::new(), Vec::new());
        tokens::for_each_word(text, self.splitting, |word| {
            match self.numbers.get(word) {
                Some(&number) => words.push(number),
                None => {
                    unknown.push((words.len(), word.into()));
                    words.push(UNKNOWN);
                }
            };
        });
        Split { words, unknown }
    }

    /// The numbers of a text's words; each new word gets the next number.
    pub fn intern(&mut self, split: Split) -> Vec<Word> {
        let Split { mut words, unknown } = split;
        for (index, word) in unknown {
            let next = Word::try_from(self.numbers.len()).unwrap_or(UNKNOWN);
            let len = word.len();
            words[index] = *self.numbers.entry(word).or_insert_with(|| {
                self.bytes += len;
                next
            });
        }
        words
    }

    /// The memory in bytes, without the overhead of the allocator.
    pub fn memory(&self) -> usize {
        // The hash table has one control byte per slot.
        self.bytes + self.numbers.capacity() * (size_of::<(Box<str>, Word)>() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_words_have_equal_numbers() {
        let mut vocabulary = Vocabulary::new(Words::RougeScore);
        let split = vocabulary.split("the cat, the dog");
        assert_eq!(vocabulary.intern(split), [0, 1, 0, 2]);
        // Two texts that were split before either was interned.
        let splits = ["A dog", "a cow"].map(|text| vocabulary.split(text));
        let [dog, cow] = splits.map(|split| vocabulary.intern(split));
        assert_eq!((dog, cow), (vec![3, 2], vec![3, 4]));
        assert_eq!(vocabulary.lookup("cow owl CAT"), [4, UNKNOWN, 1]);
        assert_eq!(vocabulary.len(), 5);
    }
}
