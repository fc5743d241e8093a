//! The order in which the words of all texts are looked at.
//!
//! All texts are looked at with their words sorted by one order, the rarest
//! first and equal ones side by side. If two texts have `c` words in common, the
//! rarest common word has at least `c - 1` of their words after it in both. So a
//! pair that needs `c` is found at a word whose place leaves enough words, and a
//! posting whose place does not can be passed over.
//!
//! The order is that of the frequencies when the postings were last sorted, and
//! words that are new since then come before all others. It stays as it is until
//! all texts are sorted again, since all places depend on it.

use super::vocabulary::{UNKNOWN, Word};

/// A word of a text, and how many of the text's words are rarer.
pub(super) type Place = (Word, u32);

/// The order of all words.
#[derive(Default)]
pub(super) struct Order {
    ranks: Vec<u32>,
}

impl Order {
    /// Words by the number of texts that have them.
    pub fn by_rarity(frequencies: &[u32]) -> Self {
        let mut words: Vec<Word> = (0..frequencies.len() as Word).collect();
        words.sort_by_key(|&word| frequencies[word as usize]);
        let mut ranks = vec![0; frequencies.len()];
        for (rank, word) in words.into_iter().enumerate() {
            ranks[word as usize] = rank as u32;
        }
        Self { ranks }
    }

    /// The place of a word among all, with the word in the lower half.
    fn key(&self, word: Word) -> u64 {
        match self.ranks.get(word as usize) {
            Some(&rank) => (1 << 63) | (u64::from(rank) << 32) | u64::from(word),
            None => u64::from(word),
        }
    }

    /// The different words of a text with their places. Unknown words take
    /// places, since they are the rarest, but are left out.
    pub fn rare_first(&self, words: &[Word]) -> Vec<Place> {
        let mut keys: Vec<u64> = Vec::with_capacity(words.len());
        keys.extend(
            words
                .iter()
                .filter(|&&word| word != UNKNOWN)
                .map(|&word| self.key(word)),
        );
        keys.sort_unstable();
        let mut place = (words.len() - keys.len()) as u32;
        let runs = keys.chunk_by(|left, right| left == right);
        let places = runs.map(|run| {
            let first = (run[0] as Word, place);
            place += run.len() as u32;
            first
        });
        places.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rarest_word_comes_first() {
        let order = Order::by_rarity(&[5, 1, 3]);
        // Words 3 and 4 are new since; of an unknown word only the place is left.
        let words = [0, 2, 4, 0, UNKNOWN, 1, 3, 2];
        assert_eq!(
            order.rare_first(&words),
            [(3, 1), (4, 2), (1, 3), (2, 4), (0, 6)]
        );
        assert_eq!(order.rare_first(&[]), []);
    }
}
