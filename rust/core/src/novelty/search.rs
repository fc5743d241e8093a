//! The search for the most similar kept text.

use std::ops::{AddAssign, RangeInclusive};

use rustc_hash::FxHashSet;

use super::bound::{Best, f_measure};
use super::lcs::Scratch;
use super::postings::{Posting, Recent, Sorted};
use super::query::Query;
use super::signature::min_difference;
use super::store::Store;

/// The number of pairs of a new and a kept text that passed each bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All pairs.
    pub pairs: u64,
    /// Pairs found at a common rare word, with compatible lengths. A pair that
    /// shares several rare words counts more than once.
    pub met: u64,
    /// Of these, distinct pairs whose signatures are similar enough.
    pub signature: u64,
    /// Of these, pairs with enough common words, for which the longest common
    /// subsequence was computed.
    pub overlap: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.pairs += other.pairs;
        self.met += other.met;
        self.signature += other.signature;
        self.overlap += other.overlap;
    }
}

/// The search for one text.
pub(super) struct Search<'a> {
    query: &'a Query,
    store: &'a Store,
    pub best: Best,
    pub counts: Counts,
    scratch: Scratch,
    seen: FxHashSet<usize>,
}

impl<'a> Search<'a> {
    /// A search for a better match than `best`.
    pub fn new(query: &'a Query, store: &'a Store, best: Best) -> Self {
        Self {
            query,
            store,
            best,
            counts: Counts::default(),
            scratch: Scratch::default(),
            seen: FxHashSet::default(),
        }
    }

    /// Searches all texts with sorted postings.
    pub fn sorted(&mut self, sorted: &Sorted) {
        self.counts.pairs += sorted.len() as u64;
        let len = self.query.words().len();
        for (word, rest) in self.query.rare_first() {
            let Some(lengths) = self.lengths(rest) else {
                break;
            };
            sorted.look_up(word, len, self.best.share(), &lengths, |postings| {
                self.compare_postings(postings.iter(), &lengths);
            });
        }
    }

    /// Searches the recent texts from index `from` on.
    pub fn recent(&mut self, recent: &Recent, from: usize) {
        self.counts.pairs += (self.store.len() - from) as u64;
        for (word, rest) in self.query.rare_first() {
            let Some(lengths) = self.lengths(rest) else {
                break;
            };
            self.compare_postings(recent.newest_first(word, from), &lengths);
        }
    }

    /// The lengths of texts that can be similar enough with at most `rest`
    /// words in common. If None, then also for any smaller `rest`.
    fn lengths(&self, rest: usize) -> Option<RangeInclusive<usize>> {
        if self.best.is_final(0) {
            return None;
        }
        let len = self.query.words().len();
        let min_len = self.best.min_len(len);
        let max_len = self.best.max_len(len, rest)?;
        (min_len <= max_len).then_some(min_len..=max_len)
    }

    /// Compares the texts that contain the same word and whose lengths,
    /// positions and signatures qualify.
    fn compare_postings<'p>(
        &mut self,
        postings: impl Iterator<Item = &'p Posting>,
        lengths: &RangeInclusive<usize>,
    ) {
        let (query_len, folded) = (self.query.words().len(), self.query.folded());
        for posting in postings {
            let len = posting.len();
            // A saturated length gives no bound.
            let is_saturated = len == Posting::LONG;
            let min_common = self.best.min_common(query_len + len);
            let met =
                (lengths.contains(&len) & (min_common + posting.position() <= len)) | is_saturated;
            self.counts.met += u64::from(met);
            let max_difference = (query_len + len).saturating_sub(2 * min_common);
            let near = ((posting.folded() ^ folded).count_ones() as usize <= max_difference)
                | is_saturated;
            // A single branch, since it is rarely taken while each condition
            // alone often holds.
            if met & near
                && (is_saturated || self.differ_by_at_most(max_difference, posting.index()))
            {
                self.compare(posting.index());
            }
        }
    }

    /// Whether the signatures allow that the query and the text at `index`
    /// differ in at most `max_difference` words.
    fn differ_by_at_most(&self, max_difference: usize, index: usize) -> bool {
        min_difference(self.query.signature(), self.store.signature(index)) <= max_difference
    }

    /// Compares a text with the query, unless the number of common words rules
    /// it out.
    fn compare(&mut self, index: usize) {
        if self.best.is_final(index) || !self.seen.insert(index) {
            return;
        }
        self.counts.signature += 1;
        let (pattern, words) = (self.query.pattern(), self.store.words(index));
        let (left, right) = (self.query.words().len(), words.len());
        let min_common = self.best.min_common(left + right);
        if !pattern.overlap(words, min_common, &mut self.scratch) {
            return;
        }
        self.counts.overlap += 1;
        if let Some(common) = pattern.subsequence(min_common, &mut self.scratch) {
            self.best.offer(f_measure(common, left, right), index);
        }
    }
}
