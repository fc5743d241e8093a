//! Adding the novel texts of a batch.

use super::bound::{Best, Match};
use super::index::NoveltyIndex;
use super::query::Query;
use super::search::{Counts, Search};
use crate::{Error, parallel};

/// The number of texts that are compared with the kept ones in parallel, before
/// they are compared with each other in order.
const BLOCK: usize = if cfg!(test) { 24 } else { 1024 };

/// Minimum number of texts per task.
const MIN_TASK_SIZE: usize = 8;

/// The decision on a new text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decision {
    /// No text kept before is more similar than the threshold.
    Kept,
    /// The most similar text kept before (the earliest of equally similar
    /// ones). Its similarity exceeds the threshold.
    Dropped(Match),
}

/// A new text, and its comparison with the texts kept before its block.
struct Compared {
    query: Query,
    best: Best,
    counts: Counts,
}

impl NoveltyIndex {
    /// Keeps each text whose similarity to every text kept before, including
    /// earlier ones of `texts`, is at most `threshold`.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidThreshold`] if `threshold` is not from 0 to 1.
    pub fn add_novel<T: AsRef<str> + Sync>(
        &mut self,
        texts: &[T],
        threshold: f64,
    ) -> Result<Vec<Decision>, Error> {
        if !(0.0..=1.0).contains(&threshold) {
            return Err(Error::InvalidThreshold { value: threshold });
        }
        self.threshold = threshold;
        let mut decisions = Vec::with_capacity(texts.len());
        for block in texts.chunks(BLOCK) {
            self.add_block(block, threshold, &mut decisions);
        }
        Ok(decisions)
    }

    fn add_block<T: AsRef<str> + Sync>(
        &mut self,
        block: &[T],
        threshold: f64,
        decisions: &mut Vec<Decision>,
    ) {
        self.sort_if_due();
        let words = self.split(block);
        let compared = parallel::map(&words, MIN_TASK_SIZE, |words| {
            let query = Query::new(words.clone(), &self.order);
            let search = self.search(&query, Best::above(threshold));
            let (best, counts) = (search.best, search.counts);
            Compared {
                query,
                best,
                counts,
            }
        });
        let first = self.len();
        for (compared, text) in compared.into_iter().zip(block) {
            decisions.push(self.decide(compared, text.as_ref(), first));
        }
    }

    /// Compares a text also with those kept since `first`, and keeps it if it
    /// is novel.
    fn decide(&mut self, compared: Compared, text: &str, first: usize) -> Decision {
        let query = compared.query;
        let mut search = Search::new(&query, &self.store, compared.best);
        search.recent(&self.recent, first);
        let (mut best, counts) = (search.best, search.counts);
        self.counts += compared.counts;
        self.counts += counts;
        if let (true, Some(&same)) = (query.words().is_empty(), self.wordless.get(text)) {
            best.offer(1.0, same);
        }
        if let Some(found) = best.found() {
            return Decision::Dropped(found);
        }
        let index = self.store_words(query.words(), text);
        self.recent.push(&self.store, index, query.positions());
        Decision::Kept
    }
}
