//! The inverted index: for each word the kept texts that have it.

use std::cmp::Reverse;
use std::ops::RangeInclusive;

use rayon::prelude::*;

use super::order::{Order, Place};
use super::signature::folded;
use super::store::Store;
use super::vocabulary::Word;
use crate::parallel;

/// How many texts one task sorts the words of.
const SMALLEST_TASK: usize = 64;

/// How many texts are prepared at a time, to hold no second copy of all.
const CHUNK: usize = 8192;

/// A text at one of its words.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Posting {
    /// The text's length (16 bits), the place of the word (16) and the position of
    /// the text (32).
    key: u64,
    /// The text's folded signature, to tell most texts apart without another
    /// look into memory.
    folded: u64,
}

impl Posting {
    /// From here on lengths are not told apart, and places not bounded.
    pub const LONG: usize = u16::MAX as usize;

    fn new(store: &Store, index: usize, place: u32) -> Self {
        let len = store.words(index).len().min(Self::LONG) as u64;
        let place = u64::from(place).min(Self::LONG as u64);
        Self {
            key: (len << 48) | (place << 32) | index as u64,
            folded: folded(store.signature(index)),
        }
    }

    /// The text's length, or [`Self::LONG`] if it is longer.
    pub fn len(self) -> usize {
        (self.key >> 48) as usize
    }

    /// How many words of the text are rarer.
    pub fn place(self) -> usize {
        (self.key >> 32) as usize & Self::LONG
    }

    /// The position of the text.
    pub fn index(self) -> usize {
        self.key as u32 as usize
    }

    /// The text's folded signature.
    pub fn folded(self) -> u64 {
        self.folded
    }
}

/// Lengths in classes that a quarter of a power of two spans, as a floating-point
/// number of two bits has them.
fn length_class(len: usize) -> usize {
    match len.min(Posting::LONG) {
        short @ 0..4 => short,
        len => {
            let exponent = len.ilog2() as usize;
            4 * (exponent - 1) + ((len >> (exponent - 2)) & 3)
        }
    }
}

/// For one share of common words, up to which length of query a posting fits.
///
/// Two texts of `a` and `b` words that share more than `s (a + b)` words need as
/// many of `b` from the place `p` of their rarest common word on, so
/// `s a < (1 - s) b - p`. The right side is a number of the posting alone.
#[derive(Debug, Clone, Copy, Default)]
struct Reach {
    share: f64,
    /// `1 - s` in units.
    slope: i64,
}

impl Reach {
    /// Numbers are in units of this part, rounded so that none fits less.
    const UNIT: f64 = 65536.0;

    fn new(share: f64) -> Self {
        let slope = ((1.0 - share) * Self::UNIT).ceil() as i64;
        Self { share, slope }
    }

    fn of(self, posting: Posting) -> i64 {
        if posting.len() == Posting::LONG {
            return i64::MAX;
        }
        posting.len() as i64 * self.slope - posting.place() as i64 * Self::UNIT as i64
    }

    fn needed(self, query_len: usize) -> i64 {
        (self.share * query_len as f64 * Self::UNIT) as i64
    }
}

/// Up to this length a list is shown in full rather than leapt through.
const SHORT_LIST: usize = if cfg!(test) { 2 } else { 32 };

/// Postings of most texts, those of each word sorted by classes of length, and
/// within a class so that the ones that fit come first, for one share of common
/// words and all that are higher.
#[derive(Default)]
pub(super) struct Sorted {
    texts: usize,
    reach: Reach,
    /// Where the postings of each word start, and the end of the last.
    starts: Vec<usize>,
    postings: Vec<Posting>,
}

impl Sorted {
    /// The postings of all texts, in which there are `words` different words,
    /// and the order that their places are in; for searches of at least this
    /// `share` of common words.
    pub fn build(store: &Store, words: usize, share: f64) -> (Self, Order) {
        let frequencies = frequencies(store, words);
        let order = Order::by_rarity(&frequencies);
        let mut starts = vec![0];
        starts.extend(frequencies.iter().scan(0, |end, &count| {
            *end += count as usize;
            Some(*end)
        }));
        let mut postings = vec![Posting::default(); starts[words]];
        fill(&mut postings, starts.clone(), store, &order);
        let (texts, reach) = (store.len(), Reach::new(share));
        sort_lists(&mut postings, &starts, reach);
        let sorted = Self {
            texts,
            reach,
            starts,
            postings,
        };
        (sorted, order)
    }

    /// How many texts have postings here: the first ones.
    pub fn len(&self) -> usize {
        self.texts
    }

    /// The share of common words that the postings are sorted for.
    pub fn share(&self) -> f64 {
        self.reach.share
    }

    /// Shows those postings of a word that may fit a query of `len` words with
    /// more than this `share` of words in common and a length among `lengths`,
    /// some at a time.
    pub fn look_up(
        &self,
        word: Word,
        len: usize,
        share: f64,
        lengths: &RangeInclusive<usize>,
        mut show: impl FnMut(&[Posting]),
    ) {
        let ends = self.starts.get(word as usize..word as usize + 2);
        let list = ends.map_or(&[][..], |ends| &self.postings[ends[0]..ends[1]]);
        if list.len() <= SHORT_LIST || share < self.reach.share {
            return show(list);
        }
        let (first, last) = (length_class(*lengths.start()), length_class(*lengths.end()));
        let needed = self.reach.needed(len);
        let mut rest = skip(list, |posting| length_class(posting.len()) < first);
        while let Some(next) = rest.first() {
            let class = length_class(next.len());
            if class > last {
                break;
            }
            let same = |posting: &Posting| length_class(posting.len()) == class;
            let after = skip(rest, |posting| {
                same(posting) && self.reach.of(*posting) >= needed
            });
            show(&rest[..rest.len() - after.len()]);
            rest = skip(after, same);
        }
    }

    /// The bytes held.
    pub fn memory(&self) -> usize {
        self.starts.capacity() * size_of::<usize>()
            + self.postings.capacity() * size_of::<Posting>()
    }
}

/// In how many texts each word is.
fn frequencies(store: &Store, words: usize) -> Vec<u32> {
    let (mut counts, mut last_seen) = (vec![0; words], vec![u32::MAX; words]);
    for index in 0..store.len() {
        for &word in store.words(index) {
            if last_seen[word as usize] != index as u32 {
                last_seen[word as usize] = index as u32;
                counts[word as usize] += 1;
            }
        }
    }
    counts
}

/// Puts the postings of each word from where they start.
fn fill(postings: &mut [Posting], mut next: Vec<usize>, store: &Store, order: &Order) {
    let all: Vec<usize> = (0..store.len()).collect();
    for chunk in all.chunks(CHUNK) {
        let places = parallel::map(chunk, SMALLEST_TASK, |&index| {
            order.rare_first(store.words(index))
        });
        for (&index, places) in chunk.iter().zip(places) {
            for (word, place) in places {
                let at = &mut next[word as usize];
                postings[*at] = Posting::new(store, index, place);
                *at += 1;
            }
        }
    }
}

fn sort_lists(postings: &mut [Posting], starts: &[usize], reach: Reach) {
    let mut lists = Vec::new();
    let mut rest = postings;
    for ends in starts.windows(2) {
        let (list, after) = rest.split_at_mut(ends[1] - ends[0]);
        lists.extend((list.len() > 1).then_some(list));
        rest = after;
    }
    let sort = |list: &mut [Posting]| {
        list.sort_unstable_by_key(|posting| {
            let class = length_class(posting.len());
            (class, Reverse(reach.of(*posting)), posting.index())
        });
    };
    if parallel::is_worthwhile(lists.len(), SMALLEST_TASK) {
        lists.into_par_iter().for_each(sort);
    } else {
        lists.into_iter().for_each(sort);
    }
}

/// The rest of a list after those that `before` holds for, which must come first.
/// It is found in steps that double, as most leaps are short.
fn skip(list: &[Posting], before: impl Fn(&Posting) -> bool) -> &[Posting] {
    let mut step = 1;
    while step <= list.len() && before(&list[step - 1]) {
        step *= 2;
    }
    let start = step / 2;
    let end = list.len().min(step);
    &list[start + list[start..end].partition_point(before)..]
}

/// Postings of the texts since the last sorting, for each word in the order of
/// keeping.
#[derive(Default)]
pub(super) struct Recent {
    lists: Vec<Vec<Posting>>,
}

impl Recent {
    /// Adds the text at `index`, which must be newer than all others.
    pub fn push(&mut self, store: &Store, index: usize, places: &[Place]) {
        for &(word, place) in places {
            let word = word as usize;
            if word >= self.lists.len() {
                self.lists.resize_with(word + 1, Vec::new);
            }
            self.lists[word].push(Posting::new(store, index, place));
        }
    }

    /// The postings of a word, those of texts from position `from` on.
    pub fn newest_first(&self, word: Word, from: usize) -> impl Iterator<Item = &Posting> {
        let list = self.lists.get(word as usize).map_or(&[][..], Vec::as_slice);
        let newest_first = list.iter().rev();
        newest_first.take_while(move |posting| posting.index() >= from)
    }

    /// The bytes held.
    pub fn memory(&self) -> usize {
        let postings: usize = self.lists.iter().map(Vec::capacity).sum();
        self.lists.capacity() * size_of::<Vec<Posting>>() + postings * size_of::<Posting>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_in_the_order_of_lengths() {
        let classes: Vec<usize> = (0..=70_000).map(length_class).collect();
        assert!(classes.is_sorted());
        assert_eq!(classes[..13], [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 9, 10]);
        assert_eq!(classes[Posting::LONG], classes[70_000]);
        assert_eq!(length_class(usize::MAX), classes[Posting::LONG]);
    }

    #[test]
    fn skipping() {
        let posting = |key| Posting { key, folded: 0 };
        for len in 0..20 {
            let list: Vec<Posting> = (0..len).map(posting).collect();
            for end in 0..=len {
                let rest = skip(&list, |posting| posting.key < end);
                assert_eq!(rest.len() as u64, len - end);
            }
        }
    }
}
