//! The kept texts, and the search for the most similar one.

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::entry::Entry;
use super::lcs::{Query, Word};
use super::tokens;
use crate::parallel;

/// Stands for every word that no kept text holds, so it never matches.
const UNKNOWN: Word = Word::MAX;

/// How many texts one task splits or looks at.
const CHUNK: usize = 512;

/// A kept text that resembles a new one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Match {
    /// The ROUGE-L similarity.
    pub similarity: f64,
    /// The position of the kept text, in the order of adding.
    pub index: usize,
}

impl Match {
    /// The better of two, on a tie the earlier text.
    fn better(self, other: Self) -> Self {
        let by_similarity = self.similarity.total_cmp(&other.similarity);
        if by_similarity.then(other.index.cmp(&self.index)).is_lt() {
            other
        } else {
            self
        }
    }
}

/// The kept texts, ready to be compared with new ones.
#[derive(Default)]
pub struct NoveltyIndex {
    vocabulary: FxHashMap<String, Word>,
    entries: Vec<Entry>,
}

impl NoveltyIndex {
    /// An index without texts.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many texts are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no text is kept.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Keeps a text.
    pub fn push(&mut self, text: &str) {
        self.push_words(tokens::words(text), text);
    }

    /// Keeps several texts, in order; splits them into words in parallel.
    pub fn extend<T: AsRef<str> + Sync>(&mut self, texts: &[T]) {
        let split = parallel::map(texts, CHUNK, |text| tokens::words(text.as_ref()));
        for (words, text) in split.into_iter().zip(texts) {
            self.push_words(words, text.as_ref());
        }
    }

    fn push_words(&mut self, words: Vec<String>, text: &str) {
        let numbers = words.into_iter().map(|word| self.intern(word)).collect();
        self.entries.push(Entry::new(numbers, text));
    }

    fn intern(&mut self, word: String) -> Word {
        let next = Word::try_from(self.vocabulary.len()).unwrap_or(UNKNOWN);
        *self.vocabulary.entry(word).or_insert(next)
    }

    /// The similarity of the most similar kept text, and its position (the
    /// earliest of equally similar ones); 0 and None while nothing is kept.
    pub fn max_similarity(&self, text: &str) -> (f64, Option<usize>) {
        match self.best_match(text, 0.0) {
            Some(found) => (found.similarity, Some(found.index)),
            None => (0.0, None),
        }
    }

    /// Keeps a text if its similarity to every kept one is below `threshold`.
    /// None if it was kept; otherwise the kept text it resembles most.
    pub fn add_if_novel(&mut self, text: &str, threshold: f64) -> Option<Match> {
        let found = self.best_match(text, threshold);
        if found.is_none() {
            self.push(text);
        }
        found
    }

    /// The most similar kept text whose similarity is at least `floor`.
    fn best_match(&self, text: &str, floor: f64) -> Option<Match> {
        let words = tokens::words(text);
        let numbers: Vec<Word> = words
            .iter()
            .map(|word| self.vocabulary.get(word).copied().unwrap_or(UNKNOWN))
            .collect();
        let query = Query::new(&numbers);
        let entry = Entry::new(numbers, text);
        let search = |(chunk, entries): (usize, &[Entry])| {
            best_in_chunk(&entry, &query, entries, chunk * CHUNK, floor)
        };
        if !parallel::is_worthwhile(self.entries.len(), CHUNK) {
            let found = self.entries.chunks(CHUNK).enumerate().filter_map(search);
            return found.reduce(Match::better);
        }
        self.entries
            .par_chunks(CHUNK)
            .enumerate()
            .filter_map(search)
            .reduce_with(Match::better)
    }
}

/// The best match among `entries`, the first of which is kept at `offset`. An
/// entry is compared in full only if its upper bounds exceed the best so far:
/// first by the lengths alone, then by the words in common.
fn best_in_chunk(
    text: &Entry,
    query: &Query,
    entries: &[Entry],
    offset: usize,
    floor: f64,
) -> Option<Match> {
    let mut best: Option<Match> = None;
    for (place, entry) in entries.iter().enumerate() {
        let promising = |bound: f64| match best {
            Some(best) => bound > best.similarity,
            None => bound >= floor,
        };
        let Some(similarity) = entry.similarity_if(text, query, promising) else {
            continue;
        };
        let index = offset + place;
        best = Some(Match { similarity, index });
    }
    best
}

#[cfg(test)]
mod tests {
    use super::super::rouge_l;
    use super::*;
    use proptest::prelude::*;

    /// The values of Google's `rouge_score` (rougeL, no stemming) where it sees
    /// all words.
    #[test]
    fn similarities() {
        let cases = [
            ("the cat sat on the mat", "the cat sat on the mat", 1.0),
            ("the cat sat on the mat", "the cat on a mat", 8.0 / 11.0),
            ("a b c", "c b a", 1.0 / 3.0),
            ("a", "b", 0.0),
            ("The CAT!", "the-cat", 1.0),
            ("Напиши письмо", "напиши рассказ", 0.5),
            ("", "", 1.0),
            ("?!", "?!", 1.0),
            ("?!", "...", 0.0),
            ("", "a", 0.0),
            ("a a a", "a", 0.5),
        ];
        for (a, b, expected) in cases {
            assert!((rouge_l(a, b) - expected).abs() < 1e-12, "{a:?} {b:?}");
            assert!((rouge_l(b, a) - expected).abs() < 1e-12, "{b:?} {a:?}");
        }
    }

    #[test]
    fn an_empty_index_resembles_nothing() {
        let index = NoveltyIndex::new();
        assert!(index.is_empty());
        assert_eq!(index.max_similarity("a"), (0.0, None));
    }

    #[test]
    fn the_earliest_of_equal_texts_is_found() {
        let mut index = NoveltyIndex::new();
        index.extend(&["x y", "a b", "a b", "a c"]);
        assert_eq!(index.len(), 4);
        assert_eq!(index.max_similarity("a b"), (1.0, Some(1)));
        assert_eq!(index.max_similarity("nothing alike"), (0.0, Some(0)));
    }

    #[test]
    fn only_novel_texts_are_added() {
        let mut index = NoveltyIndex::new();
        assert_eq!(index.add_if_novel("write a poem about the sea", 0.7), None);
        let found = index
            .add_if_novel("write a poem about the sky", 0.7)
            .unwrap();
        assert_eq!(found.index, 0);
        assert!((found.similarity - 5.0 / 6.0).abs() < 1e-12);
        assert_eq!(index.add_if_novel("explain how tides work", 0.7), None);
        assert_eq!(index.len(), 2);
    }

    /// A similarity equal to the threshold is no longer novel.
    #[test]
    fn the_threshold_itself_is_too_similar() {
        let mut index = NoveltyIndex::new();
        index.push("a b");
        assert!(index.add_if_novel("a c", 0.5).is_some());
        assert!(index.add_if_novel("a c", 0.51).is_none());
    }

    #[test]
    fn many_texts_are_searched_in_parallel() {
        let texts: Vec<String> = (0..5 * CHUNK)
            .map(|n| format!("text {n} of {}", n % 97))
            .collect();
        let mut index = NoveltyIndex::new();
        index.extend(&texts);
        for at in [0, 1, CHUNK, 3 * CHUNK + 1, 5 * CHUNK - 1] {
            assert_eq!(index.max_similarity(&texts[at]), (1.0, Some(at)));
        }
        assert_eq!(index.max_similarity("none"), (0.0, Some(0)));
    }

    proptest! {
        #[test]
        fn pruning_changes_nothing(
            kept in prop::collection::vec("[a-e ]{0,12}", 0..30),
            text in "[a-f ]{0,12}",
        ) {
            let mut index = NoveltyIndex::new();
            index.extend(&kept);
            let mut best = (0.0, None);
            for (at, other) in kept.iter().enumerate() {
                let similarity = rouge_l(other, &text);
                if best.1.is_none() || similarity > best.0 {
                    best = (similarity, Some(at));
                }
            }
            prop_assert_eq!(index.max_similarity(&text), best);
        }
    }
}
