//! The global order of words, by rarity.
//!
//! The words of every text are sorted by one global order, rarest first, with
//! equal words adjacent. If two texts have `c` words in common, at least `c -
//! 1` of these follow the rarest common word in both texts. So a pair that
//! needs `c` common words is found at a word whose position leaves enough words
//! after it, and postings at other positions can be skipped.
//!
//! The order uses the frequencies at the time when the postings were last
//! sorted; newer words come before all others. It is fixed until all texts are
//! sorted again, since all positions depend on it.

use super::vocabulary::{UNKNOWN, Word};

/// A word of a text, and its position: the number of the text's words that are
/// rarer.
pub(super) type WordPosition = (Word, u32);

/// The order of all words.
#[derive(Default)]
pub(super) struct Order {
    ranks: Vec<u32>,
}

impl Order {
    /// Orders words by the number of texts that contain them.
    pub fn by_rarity(frequencies: &[u32]) -> Self {
        let mut words: Vec<Word> = (0..frequencies.len() as Word).collect();
        words.sort_by_key(|&word| frequencies[word as usize]);
        let mut ranks = vec![0; frequencies.len()];
        for (rank, word) in words.into_iter().enumerate() {
            ranks[word as usize] = rank as u32;
        }
        Self { ranks }
    }

    /// The sort key of a word, with the word in the lower 32 bits.
    fn key(&self, word: Word) -> u64 {
        match self.ranks.get(word as usize) {
            Some(&rank) => (1 << 63) | (u64::from(rank) << 32) | u64::from(word),
            None => u64::from(word),
        }
    }

    /// The distinct words of a text with their positions. Unknown words, which
    /// are the rarest, occupy positions but are omitted.
    pub fn rare_first(&self, words: &[Word]) -> Vec<WordPosition> {
        let mut keys: Vec<u64> = Vec::with_capacity(words.len());
        keys.extend(
            words
                .iter()
                .filter(|&&word| word != UNKNOWN)
                .map(|&word| self.key(word)),
        );
        keys.sort_unstable();
        let mut position = (words.len() - keys.len()) as u32;
        let runs = keys.chunk_by(|left, right| left == right);
        let positions = runs.map(|run| {
            let first = (run[0] as Word, position);
            position += run.len() as u32;
            first
        });
        positions.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rarest_word_comes_first() {
        let order = Order::by_rarity(&[5, 1, 3]);
        // Words 3 and 4 are newer; an unknown word only occupies a position.
        let words = [0, 2, 4, 0, UNKNOWN, 1, 3, 2];
        assert_eq!(
            order.rare_first(&words),
            [(3, 1), (4, 2), (1, 3), (2, 4), (0, 6)]
        );
        assert_eq!(order.rare_first(&[]), []);
    }
}
