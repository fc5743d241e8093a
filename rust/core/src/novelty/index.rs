//! The index of kept texts, and the search for the most similar one.

use rustc_hash::FxHashMap;

use super::bound::Best;
use super::order::Order;
use super::postings::{Recent, Sorted};
use super::query::Query;
use super::search::{Counts, Search};
use super::store::Store;
use super::tokens::Words;
use super::vocabulary::{Vocabulary, Word};
use crate::parallel;

/// Minimum number of texts per task.
const MIN_TASK_SIZE: usize = 64;

/// The number of texts that are split at a time, before their words are added
/// to the vocabulary.
const CHUNK: usize = 8192;

/// The minimum number of unsorted texts before postings are sorted.
const MIN_UNSORTED: usize = if cfg!(test) { 16 } else { 1024 };

/// The floors that [`NoveltyIndex::max_similarity`] tries in order: the higher
/// the floor, the fewer texts are compared.
const FLOORS: [f64; 5] = [0.7, 0.5, 0.3, 0.15, 0.0];

/// The kept texts, indexed for comparison with new ones.
pub struct NoveltyIndex {
    pub(super) vocabulary: Vocabulary,
    pub(super) store: Store,
    pub(super) order: Order,
    pub(super) sorted: Sorted,
    pub(super) recent: Recent,
    /// Texts without words and the index of their first occurrence, if `words`
    /// compares them by identity.
    pub(super) wordless: FxHashMap<Box<str>, usize>,
    pub(super) counts: Counts,
    /// The threshold for which the postings will be sorted next.
    pub(super) threshold: f64,
}

impl Default for NoveltyIndex {
    fn default() -> Self {
        Self::new(Words::default())
    }
}

impl NoveltyIndex {
    /// An index without texts.
    pub fn new(words: Words) -> Self {
        Self {
            vocabulary: Vocabulary::new(words),
            store: Store::default(),
            order: Order::default(),
            sorted: Sorted::default(),
            recent: Recent::default(),
            wordless: FxHashMap::default(),
            counts: Counts::default(),
            threshold: 0.7,
        }
    }

    /// The number of kept texts.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Whether no text is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The memory of the index in bytes, except for texts without words.
    pub fn memory(&self) -> usize {
        self.vocabulary.memory() + self.store.memory() + self.sorted.memory() + self.recent.memory()
    }

    /// The number of pairs that passed each bound, over all calls of
    /// [`NoveltyIndex::add_novel`].
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Keeps a text.
    pub fn push(&mut self, text: &str) {
        self.extend(&[text]);
    }

    /// Keeps several texts, in order. Splits them into words in parallel.
    pub fn extend<T: AsRef<str> + Sync>(&mut self, texts: &[T]) {
        let before = self.len();
        for chunk in texts.chunks(CHUNK) {
            for (words, text) in self.split(chunk).into_iter().zip(chunk) {
                self.store_words(&words, text.as_ref());
            }
        }
        if self.sort_if_due() {
            return;
        }
        for index in before..self.len() {
            let positions = self.order.rare_first(self.store.words(index));
            self.recent.push(&self.store, index, &positions);
        }
    }

    /// The words of texts; new words are added to the vocabulary.
    pub(super) fn split<T: AsRef<str> + Sync>(&mut self, texts: &[T]) -> Vec<Vec<Word>> {
        let splits = parallel::map(texts, MIN_TASK_SIZE, |text| {
            self.vocabulary.split(text.as_ref())
        });
        let interned = splits.into_iter();
        interned
            .map(|split| self.vocabulary.intern(split))
            .collect()
    }

    /// Keeps a text without adding postings; returns its index.
    pub(super) fn store_words(&mut self, words: &[Word], text: &str) -> usize {
        let index = self.len();
        self.store.push(words);
        if words.is_empty() && self.vocabulary.splitting() == Words::Unicode {
            self.wordless.entry(text.into()).or_insert(index);
        }
        index
    }

    /// Sorts the postings of all texts if a fifth of the texts is unsorted (so
    /// the total work of sorting stays proportional to the number of texts), or
    /// if they are sorted for a higher threshold.
    pub(super) fn sort_if_due(&mut self) -> bool {
        let unsorted = self.len() - self.sorted.len();
        let too_high = Best::above(self.threshold).share() < self.sorted.share();
        let due = unsorted > MIN_UNSORTED.max(self.sorted.len() / 4) || too_high;
        if due {
            self.sort();
        }
        due
    }

    /// Sorts the postings of all texts.
    pub(super) fn sort(&mut self) {
        // Frees the old postings first to limit the peak memory.
        (self.sorted, self.recent) = Default::default();
        let share = Best::above(self.threshold).share();
        (self.sorted, self.order) = Sorted::build(&self.store, self.vocabulary.len(), share);
    }

    /// The similarity and the index of the most similar kept text (the earliest
    /// of equally similar ones); 0 and None if the index is empty.
    pub fn max_similarity(&self, text: &str) -> (f64, Option<usize>) {
        if self.is_empty() {
            return (0.0, None);
        }
        let words = self.vocabulary.lookup(text);
        if words.is_empty() {
            let same = self.wordless.get(text);
            return same.map_or((0.0, Some(0)), |&index| (1.0, Some(index)));
        }
        let query = Query::new(words, &self.order);
        for floor in FLOORS {
            let search = self.search(&query, Best::above(floor));
            if let Some(found) = search.best.found() {
                return (found.similarity, Some(found.index));
            }
        }
        (0.0, Some(0))
    }

    /// Searches all kept texts.
    pub(super) fn search<'a>(&'a self, query: &'a Query, best: Best) -> Search<'a> {
        let mut search = Search::new(query, &self.store, best);
        search.sorted(&self.sorted);
        search.recent(&self.recent, self.sorted.len());
        search
    }
}
