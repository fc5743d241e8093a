//! The longest common subsequence of one text with many others, bit-parallel.
//!
//! One bit represents one word of the text, so 64 cells of the dynamic
//! programme are one machine word (Crochemore et al., "A fast and practical
//! bit-vector algorithm for the longest common subsequence problem", 2001;
//! Hyyrö, "Bit-parallel LCS-length computation revisited", 2004, compares the
//! forms).

use rustc_hash::FxHashMap;

use super::vocabulary::Word;

/// The number of words after which early termination is checked again.
const STRIDE: usize = 64;

/// The positions of each word of a text, as bits.
pub(super) struct Pattern {
    len: usize,
    blocks: usize,
    /// The index of each distinct word in `counts` and in `bits`.
    index_of: FxHashMap<Word, u32>,
    counts: Vec<u32>,
    /// `blocks` machine words per distinct word.
    bits: Vec<u64>,
}

/// Reusable buffers of comparisons.
#[derive(Default)]
pub(super) struct Scratch {
    remaining: Vec<u32>,
    hits: Vec<u32>,
    rows: Vec<u64>,
}

impl Pattern {
    /// Builds the pattern of a text with these words.
    pub fn new(words: &[Word]) -> Self {
        let blocks = words.len().div_ceil(64);
        let mut pattern = Self {
            len: words.len(),
            blocks,
            index_of: FxHashMap::default(),
            counts: Vec::new(),
            bits: Vec::new(),
        };
        pattern.index_of.reserve(words.len());
        for (at, &word) in words.iter().enumerate() {
            let next = pattern.counts.len() as u32;
            let index = *pattern.index_of.entry(word).or_insert(next);
            if index == next {
                pattern.counts.push(0);
                pattern.bits.resize(pattern.bits.len() + blocks, 0);
            }
            pattern.counts[index as usize] += 1;
            pattern.bits[index as usize * blocks + at / 64] |= 1 << (at % 64);
        }
        pattern
    }

    /// The length of the longest common subsequence with `words`.
    pub fn common(&self, words: &[Word]) -> usize {
        let mut scratch = Scratch::default();
        self.overlap(words, 0, &mut scratch);
        self.subsequence(0, &mut scratch).unwrap_or(0)
    }

    /// Whether at least `min_common` of `words` are in common, as multisets and
    /// regardless of order. Leaves the words that [`Pattern::subsequence`]
    /// compares in `scratch`.
    pub fn overlap(&self, words: &[Word], min_common: usize, scratch: &mut Scratch) -> bool {
        let Some(mut spare) = words.len().checked_sub(min_common) else {
            return false;
        };
        scratch.remaining.clone_from(&self.counts);
        scratch.hits.clear();
        for word in words {
            let index = self.index_of.get(word);
            scratch.hits.extend(index);
            match index.map(|&index| &mut scratch.remaining[index as usize]) {
                Some(remaining) if *remaining > 0 => *remaining -= 1,
                _ if spare == 0 => return false,
                _ => spare -= 1,
            }
        }
        true
    }

    /// The length of the longest common subsequence with the words in
    /// `scratch`, if it is at least `min_common`.
    pub fn subsequence(&self, min_common: usize, scratch: &mut Scratch) -> Option<usize> {
        let common = match self.blocks {
            1 => self.of_one_block(&scratch.hits),
            _ => self.of_blocks(min_common, scratch)?,
        };
        (common >= min_common).then_some(common)
    }

    fn of_one_block(&self, hits: &[u32]) -> usize {
        let mut row = u64::MAX;
        for &index in hits {
            let matches = self.bits[index as usize];
            row = row.wrapping_add(row & matches) | (row & !matches);
        }
        self.count_zeros(&[row])
    }

    fn of_blocks(&self, min_common: usize, scratch: &mut Scratch) -> Option<usize> {
        let Scratch { hits, rows, .. } = scratch;
        rows.clear();
        rows.resize(self.blocks, u64::MAX);
        for (done, &index) in hits.iter().enumerate() {
            let at = index as usize * self.blocks;
            advance(rows, &self.bits[at..at + self.blocks]);
            let rest = hits.len() - done - 1;
            if done % STRIDE == STRIDE - 1 && self.count_zeros(rows) + rest < min_common {
                return None;
            }
        }
        Some(self.count_zeros(rows))
    }

    /// The length so far: a zero bit marks a row in which the length increases
    /// by one. The last block may have bits beyond the text.
    fn count_zeros(&self, rows: &[u64]) -> usize {
        let used = self.len % 64;
        let zeros: u32 = rows.iter().map(|block| block.count_zeros()).sum();
        let beyond = match rows.last() {
            Some(last) if used > 0 => (last >> used).count_zeros() - used as u32,
            _ => 0,
        };
        (zeros - beyond) as usize
    }
}

/// One column of the dynamic programme: V := (V + (V & M)) | (V & !M), with the
/// carry of the addition propagated from block to block.
fn advance(rows: &mut [u64], bits: &[u64]) {
    let mut carry = false;
    for (row, &matches) in rows.iter_mut().zip(bits) {
        let (sum, over) = row.overflowing_add(*row & matches);
        let (sum, over_again) = sum.overflowing_add(u64::from(carry));
        carry = over || over_again;
        *row = sum | (*row & !matches);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The dynamic programme by the book.
    fn naive(a: &[Word], b: &[Word]) -> usize {
        let mut lengths = vec![vec![0; b.len() + 1]; a.len() + 1];
        for (i, x) in a.iter().enumerate() {
            for (j, y) in b.iter().enumerate() {
                lengths[i + 1][j + 1] = if x == y {
                    lengths[i][j] + 1
                } else {
                    lengths[i][j + 1].max(lengths[i + 1][j])
                };
            }
        }
        lengths[a.len()][b.len()]
    }

    fn naive_overlap(a: &[Word], b: &[Word]) -> usize {
        let mut rest = a.to_vec();
        let found = b.iter().filter(|word| {
            let index = rest.iter().position(|other| other == *word);
            index.map(|index| rest.swap_remove(index)).is_some()
        });
        found.count()
    }

    #[test]
    fn whole_blocks() {
        for len in [0, 1, 63, 64, 65, 128, 129] {
            let words: Vec<Word> = (0..len).collect();
            assert_eq!(Pattern::new(&words).common(&words), words.len());
            assert_eq!(Pattern::new(&words).common(&[]), 0);
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_dynamic_programme(
            a in prop::collection::vec(0u32..7, 0..200),
            b in prop::collection::vec(0u32..7, 0..200),
            min_common in 0usize..200,
        ) {
            let (pattern, mut scratch) = (Pattern::new(&a), Scratch::default());
            let common = naive(&a, &b);
            prop_assert_eq!(pattern.common(&b), common);
            prop_assert_eq!(pattern.overlap(&b, min_common, &mut scratch), naive_overlap(&a, &b) >= min_common);
            prop_assert!(pattern.overlap(&b, 0, &mut scratch));
            let expected = (common >= min_common).then_some(common);
            prop_assert_eq!(pattern.subsequence(min_common, &mut scratch), expected);
        }
    }
}
