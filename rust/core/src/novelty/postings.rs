//! The inverted index: for each word, the kept texts that contain it.

use std::cmp::Reverse;
use std::ops::RangeInclusive;

use rayon::prelude::*;

use super::order::{Order, WordPosition};
use super::signature::folded;
use super::store::Store;
use super::vocabulary::Word;
use crate::parallel;

/// Minimum number of texts per task.
const MIN_TASK_SIZE: usize = 64;

/// The number of texts that are prepared at a time, to limit the memory.
const CHUNK: usize = 8192;

/// An entry of the inverted index: a text that contains the word.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Posting {
    /// The length of the text (upper 16 bits), the position of the word (16
    /// bits) and the index of the text (32 bits).
    key: u64,
    /// The folded signature of the text, which prunes most texts without
    /// another memory access.
    folded: u64,
}

impl Posting {
    /// The value at which lengths and positions saturate.
    pub const LONG: usize = u16::MAX as usize;

    fn new(store: &Store, index: usize, position: u32) -> Self {
        let len = store.words(index).len().min(Self::LONG) as u64;
        let position = u64::from(position).min(Self::LONG as u64);
        Self {
            key: (len << 48) | (position << 32) | index as u64,
            folded: folded(store.signature(index)),
        }
    }

    /// The length of the text, or [`Self::LONG`] if it is longer.
    pub fn len(self) -> usize {
        (self.key >> 48) as usize
    }

    /// The number of rarer words in the text.
    pub fn position(self) -> usize {
        (self.key >> 32) as usize & Self::LONG
    }

    /// The index of the text.
    pub fn index(self) -> usize {
        self.key as u32 as usize
    }

    /// The folded signature of the text.
    pub fn folded(self) -> u64 {
        self.folded
    }
}

/// The length class: classes span a quarter of a power of two, like
/// floating-point numbers with a mantissa of two bits.
fn length_class(len: usize) -> usize {
    match len.min(Posting::LONG) {
        short @ 0..4 => short,
        len => {
            let exponent = len.ilog2() as usize;
            4 * (exponent - 1) + ((len >> (exponent - 2)) & 3)
        }
    }
}

/// The maximum query length for which a posting qualifies, given a share of
/// common words.
///
/// If two texts of `a` and `b` words have more than `s (a + b)` words in
/// common, these follow the position `p` of their rarest common word in `b`, so
/// `s a < (1 - s) b - p`. The right side depends on the posting only.
#[derive(Debug, Clone, Copy, Default)]
struct Reach {
    share: f64,
    /// `1 - s` in units.
    slope: i64,
}

impl Reach {
    /// Fixed-point scale. Rounding never excludes a posting.
    const UNIT: f64 = 65536.0;

    fn new(share: f64) -> Self {
        let slope = ((1.0 - share) * Self::UNIT).ceil() as i64;
        Self { share, slope }
    }

    fn of(self, posting: Posting) -> i64 {
        if posting.len() == Posting::LONG {
            return i64::MAX;
        }
        posting.len() as i64 * self.slope - posting.position() as i64 * Self::UNIT as i64
    }

    fn needed(self, query_len: usize) -> i64 {
        (self.share * query_len as f64 * Self::UNIT) as i64
    }
}

/// Lists up to this length are returned in full instead of being searched.
const SHORT_LIST: usize = if cfg!(test) { 2 } else { 32 };

/// The postings of most texts. Those of each word are sorted by length class,
/// and within a class by [`Reach`], so that qualifying postings come first for
/// the given share of common words and all higher ones.
#[derive(Default)]
pub(super) struct Sorted {
    texts: usize,
    reach: Reach,
    /// The start of the postings of each word, and the end of the last.
    starts: Vec<usize>,
    postings: Vec<Posting>,
}

impl Sorted {
    /// Builds the postings of all texts, with `words` distinct words, and the
    /// order of their positions, for searches with at least this `share` of
    /// common words.
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

    /// The number of texts with postings here: the first ones.
    pub fn len(&self) -> usize {
        self.texts
    }

    /// The share of common words for which the postings are sorted.
    pub fn share(&self) -> f64 {
        self.reach.share
    }

    /// Passes to `visit`, in slices, the postings of a word that may qualify for
    /// a query of `len` words with more than this `share` of words in common
    /// and a length in `lengths`.
    pub fn look_up(
        &self,
        word: Word,
        len: usize,
        share: f64,
        lengths: &RangeInclusive<usize>,
        mut visit: impl FnMut(&[Posting]),
    ) {
        let ends = self.starts.get(word as usize..word as usize + 2);
        let list = ends.map_or(&[][..], |ends| &self.postings[ends[0]..ends[1]]);
        if list.len() <= SHORT_LIST || share < self.reach.share {
            return visit(list);
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
            visit(&rest[..rest.len() - after.len()]);
            rest = skip(after, same);
        }
    }

    /// The memory in bytes.
    pub fn memory(&self) -> usize {
        self.starts.capacity() * size_of::<usize>()
            + self.postings.capacity() * size_of::<Posting>()
    }
}

/// The number of texts that contain each word.
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

/// Writes the postings of each word from its start on.
fn fill(postings: &mut [Posting], mut next: Vec<usize>, store: &Store, order: &Order) {
    let all: Vec<usize> = (0..store.len()).collect();
    for chunk in all.chunks(CHUNK) {
        let positions = parallel::map(chunk, MIN_TASK_SIZE, |&index| {
            order.rare_first(store.words(index))
        });
        for (&index, positions) in chunk.iter().zip(positions) {
            for (word, position) in positions {
                let at = &mut next[word as usize];
                postings[*at] = Posting::new(store, index, position);
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
    if parallel::is_worthwhile(lists.len(), MIN_TASK_SIZE) {
        lists.into_par_iter().for_each(sort);
    } else {
        lists.into_iter().for_each(sort);
    }
}

/// The rest of a list after the leading postings for which `before` holds. Uses
/// galloping search, as most skips are short.
fn skip(list: &[Posting], before: impl Fn(&Posting) -> bool) -> &[Posting] {
    let mut step = 1;
    while step <= list.len() && before(&list[step - 1]) {
        step *= 2;
    }
    let start = step / 2;
    let end = list.len().min(step);
    &list[start + list[start..end].partition_point(before)..]
}

/// The postings of the texts added since the last sorting, for each word in
/// insertion order.
#[derive(Default)]
pub(super) struct Recent {
    lists: Vec<Vec<Posting>>,
}

impl Recent {
    /// Adds the text at `index`, which must be newer than all others.
    pub fn push(&mut self, store: &Store, index: usize, positions: &[WordPosition]) {
        for &(word, position) in positions {
            let word = word as usize;
            if word >= self.lists.len() {
                self.lists.resize_with(word + 1, Vec::new);
            }
            self.lists[word].push(Posting::new(store, index, position));
        }
    }

    /// The postings of a word for texts from index `from` on.
    pub fn newest_first(&self, word: Word, from: usize) -> impl Iterator<Item = &Posting> {
        let list = self.lists.get(word as usize).map_or(&[][..], Vec::as_slice);
        let newest_first = list.iter().rev();
        newest_first.take_while(move |posting| posting.index() >= from)
    }

    /// The memory in bytes.
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
