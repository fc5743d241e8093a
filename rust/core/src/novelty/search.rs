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

/// Up to this length a list is looked at in full rather than leapt through.
const SHORT_LIST: usize = 64;

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
        for (word, rest) in self.query.rare_first() {
            let Some(lengths) = self.lengths(rest) else {
                break;
            };
            let list = sorted.list(word);
            if list.len() <= SHORT_LIST {
                self.list(list, lengths);
            } else {
                self.sorted_list(list, rest, lengths);
            }
        }
    }

    /// Looks at the recent texts from position `from` on.
    pub fn recent(&mut self, recent: &Recent, from: usize) {
        self.counts.pairs += (self.store.len() - from) as u64;
        for (word, rest) in self.query.rare_first() {
            let Some(lengths) = self.lengths(rest) else {
                break;
            };
            self.list(recent.list(word, from), lengths);
        }
    }

    /// The lengths of texts that may be similar enough if at most `rest` words
    /// are in common. None if there are none: neither are there for fewer.
    fn lengths(&self, rest: usize) -> Option<RangeInclusive<usize>> {
        let len = self.query.words().len();
        let shortest = self.best.shortest(len);
        let longest = self.best.longest(len, rest)?;
        (shortest <= longest).then_some(shortest..=longest)
    }

    /// Looks at the postings of one word whose lengths and places fit.
    fn list(&mut self, list: &[Posting], lengths: RangeInclusive<usize>) {
        for &posting in list {
            let len = posting.len();
            let least = self.best.least_common(self.query.words().len() + len);
            let fits = lengths.contains(&len) & (least + posting.place() <= len);
            if fits || len == Posting::LONG {
                self.meet(posting, least);
            }
        }
    }

    /// The same for a sorted list: what does not fit is leapt over.
    fn sorted_list(&mut self, list: &[Posting], rest: usize, lengths: RangeInclusive<usize>) {
        let long = Posting::LONG;
        let mut list = skip(list, |posting| posting.len() < *lengths.start().min(&long));
        while let Some(len) = list.first().map(|posting| posting.len()) {
            if len > *lengths.end() {
                return;
            }
            let least = self.best.least_common(self.query.words().len() + len);
            let fits = |posting: &Posting| {
                posting.len() == len && (len == long || posting.place() + least <= len)
            };
            let after = if least <= rest || len == long {
                skip(list, fits)
            } else {
                list
            };
            for &posting in &list[..list.len() - after.len()] {
                self.meet(posting, least);
            }
            list = skip(after, |posting| posting.len() == len);
        }
    }

    /// Compares a text with the query, with which it must have `least` words in
    /// common, unless a bound rules it out.
    fn meet(&mut self, posting: Posting, least: usize) {
        self.counts.met += 1;
        let query = self.query;
        let difference = (posting.folded() ^ query.folded()).count_ones() as usize;
        let total = query.words().len() + posting.len();
        // A length that was cut off bounds nothing.
        if difference + 2 * least <= total || posting.len() == Posting::LONG {
            self.compare(posting.index());
        }
    }

    fn compare(&mut self, index: usize) {
        let query = self.query;
        let words = self.store.words(index);
        let (left, right) = (query.words().len(), words.len());
        let least = self.best.least_common(left + right);
        let difference = least_difference(query.signature(), self.store.signature(index));
        if difference + 2 * least > left + right || !self.seen.insert(index) {
            return;
        }
        self.counts.signature += 1;
        if !query.pattern().overlap(words, least, &mut self.scratch) {
            return;
        }
        self.counts.overlap += 1;
        if let Some(common) = query.pattern().subsequence(least, &mut self.scratch) {
            self.best.offer(f_measure(common, left, right), index);
        }
    }
}

/// The rest of a sorted list after those that `before` holds for, found in steps
/// that double, as most lists and leaps are short.
fn skip(list: &[Posting], before: impl Fn(&Posting) -> bool) -> &[Posting] {
    let mut step = 1;
    while step <= list.len() && before(&list[step - 1]) {
        step *= 2;
    }
    let start = step / 2;
    let end = list.len().min(step);
    &list[start + list[start..end].partition_point(before)..]
}
