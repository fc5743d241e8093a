//! The search for the kept text that is most similar to a new one.

use std::ops::AddAssign;

use rustc_hash::FxHashSet;

use super::bound::{Best, f_measure};
use super::lcs::Scratch;
use super::postings::{Chained, Posting, Sorted};
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
        for &(word, place) in self.query.rare_first() {
            let rest = len - place as usize;
            let shortest = self.best.shortest(len);
            let Some(longest) = self.best.longest(len, rest).filter(|&l| l >= shortest) else {
                break;
            };
            self.sorted_list(sorted.list(word), rest, shortest, longest);
        }
    }

    /// Looks at the postings of one word whose lengths and places fit. They are
    /// sorted by these, so what does not fit is leapt over.
    fn sorted_list(&mut self, mut list: &[Posting], rest: usize, shortest: usize, longest: usize) {
        let long = Posting::LONG;
        list = skip(list, |posting| posting.len() < shortest.min(long));
        while let Some(&first) = list.first() {
            let len = first.len();
            if len > longest {
                return;
            }
            let least = self.best.least_common(self.query.words().len() + len);
            let end = if len == long {
                list.len()
            } else if least > len.min(rest) {
                0
            } else {
                let fits =
                    |posting: &Posting| posting.len() == len && posting.place() <= len - least;
                list.len() - skip(list, fits).len()
            };
            for posting in &list[..end] {
                self.meet(posting.index());
            }
            list = skip(&list[end..], |posting| posting.len() == len);
        }
    }

    /// Looks at the texts with chained postings, from position `from` on.
    pub fn chained(&mut self, chained: &Chained, from: usize) {
        self.counts.pairs += (self.store.len() - from) as u64;
        let len = self.query.words().len();
        for &(word, place) in self.query.rare_first() {
            let rest = len - place as usize;
            let shortest = self.best.shortest(len);
            let Some(longest) = self.best.longest(len, rest).filter(|&l| l >= shortest) else {
                break;
            };
            let recent = chained.list(word);
            for posting in recent.take_while(|posting| posting.index() >= from) {
                let other = posting.len();
                let fits = (shortest..=longest).contains(&other)
                    && self.best.least_common(len + other) + posting.place() <= other;
                if fits || other == Posting::LONG {
                    self.meet(posting.index());
                }
            }
        }
    }

    /// Compares the text at `index` with the query, unless a bound rules it out.
    fn meet(&mut self, index: usize) {
        self.counts.met += 1;
        let left = self.query.words().len();
        let right = self.store.words(index).len();
        let least = self.best.least_common(left + right);
        let difference = least_difference(self.query.signature(), self.store.signature(index));
        if difference + 2 * least > left + right || !self.seen.insert(index) {
            return;
        }
        self.counts.signature += 1;
        let pattern = self.query.pattern();
        let words = self.store.words(index);
        if !pattern.overlap(words, least, &mut self.scratch) {
            return;
        }
        self.counts.overlap += 1;
        if let Some(common) = pattern.subsequence(least, &mut self.scratch) {
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
