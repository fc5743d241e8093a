//! The search for the kept text that is most similar to a new one.

use std::ops::{AddAssign, RangeInclusive};

use rustc_hash::FxHashSet;

use super::bound::{Best, f_measure};
use super::lcs::Scratch;
use super::postings::{Posting, Recent, Sorted};
use super::query::Query;
use super::signature::least_difference;
use super::store::Store;

/// How many pairs of a new and a kept text each bound left over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All pairs.
    pub pairs: u64,
    /// Met at a rare word of both, with lengths that fit. A pair that shares
    /// several rare words counts more than once.
    pub met: u64,
    /// Of these, different pairs whose signatures are near enough.
    pub signature: u64,
    /// Of these, pairs with enough words in common: the ones whose longest common
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
    /// The search for what is better than `best`.
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

    /// Looks at all texts with sorted postings.
    pub fn sorted(&mut self, sorted: &Sorted) {
        self.counts.pairs += sorted.len() as u64;
        let len = self.query.words().len();
        for (word, rest) in self.query.rare_first() {
            let Some(lengths) = self.lengths(rest) else {
                break;
            };
            sorted.look_up(word, len, self.best.share(), &lengths, |postings| {
                self.look_at(postings.iter(), &lengths);
            });
        }
    }

    /// Looks at the recent texts from position `from` on.
    pub fn recent(&mut self, recent: &Recent, from: usize) {
        self.counts.pairs += (self.store.len() - from) as u64;
        for (word, rest) in self.query.rare_first() {
            let Some(lengths) = self.lengths(rest) else {
                break;
            };
            self.look_at(recent.newest_first(word, from), &lengths);
        }
    }

    /// The lengths of texts that may be similar enough if at most `rest` words
    /// are in common. None if there are none: neither are there for fewer.
    fn lengths(&self, rest: usize) -> Option<RangeInclusive<usize>> {
        if self.best.is_final(0) {
            return None;
        }
        let len = self.query.words().len();
        let shortest = self.best.shortest(len);
        let longest = self.best.longest(len, rest)?;
        (shortest <= longest).then_some(shortest..=longest)
    }

    /// Looks at the texts with the same word whose lengths and places fit, and
    /// compares those whose signatures do, too.
    fn look_at<'p>(
        &mut self,
        postings: impl Iterator<Item = &'p Posting>,
        lengths: &RangeInclusive<usize>,
    ) {
        let (query_len, folded) = (self.query.words().len(), self.query.folded());
        for posting in postings {
            let len = posting.len();
            // A length that was cut off bounds nothing.
            let cut_off = len == Posting::LONG;
            let least = self.best.least_common(query_len + len);
            let met = (lengths.contains(&len) & (least + posting.place() <= len)) | cut_off;
            self.counts.met += u64::from(met);
            let most = (query_len + len).saturating_sub(2 * least);
            let near = ((posting.folded() ^ folded).count_ones() as usize <= most) | cut_off;
            // One branch, as it is seldom taken; each condition alone is often met.
            if met & near && (cut_off || self.differ_by_at_most(most, posting.index())) {
                self.compare(posting.index());
            }
        }
    }

    /// Whether the query and the text at `index` may have no more than `most` words
    /// that the other has not.
    fn differ_by_at_most(&self, most: usize, index: usize) -> bool {
        least_difference(self.query.signature(), self.store.signature(index)) <= most
    }

    /// Compares a text with the query, unless the words in common rule it out.
    fn compare(&mut self, index: usize) {
        if self.best.is_final(index) || !self.seen.insert(index) {
            return;
        }
        self.counts.signature += 1;
        let (pattern, words) = (self.query.pattern(), self.store.words(index));
        let (left, right) = (self.query.words().len(), words.len());
        let least = self.best.least_common(left + right);
        if !pattern.overlap(words, least, &mut self.scratch) {
            return;
        }
        self.counts.overlap += 1;
        if let Some(common) = pattern.subsequence(least, &mut self.scratch) {
            self.best.offer(f_measure(common, left, right), index);
        }
    }
}
