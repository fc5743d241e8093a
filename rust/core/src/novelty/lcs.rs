//! The longest common subsequence of one query with many texts, bit-parallel.
//!
//! One bit stands for one word of the query, so 64 cells of the dynamic
//! programme are one machine word (Crochemore et al., "A fast and practical
//! bit-vector algorithm for the longest common subsequence problem", 2001; Hyyrö,
//! "Bit-parallel LCS-length computation revisited", 2004, compares the forms).

use rustc_hash::FxHashMap;

/// A word as a number; equal words have equal numbers.
pub(super) type Word = u32;

/// The positions of each word of a query, as bits.
pub(super) struct Query {
    len: usize,
    positions: FxHashMap<Word, Vec<u64>>,
}

impl Query {
    /// Prepares a query.
    pub fn new(words: &[Word]) -> Self {
        let blocks = words.len().div_ceil(64);
        let mut positions: FxHashMap<Word, Vec<u64>> = FxHashMap::default();
        for (at, &word) in words.iter().enumerate() {
            let bits = positions.entry(word).or_insert_with(|| vec![0; blocks]);
            bits[at / 64] |= 1 << (at % 64);
        }
        Self {
            len: words.len(),
            positions,
        }
    }

    /// The number of words.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The length of the longest common subsequence with `words`.
    pub fn common(&self, words: &[Word]) -> usize {
        // A zero bit marks a row in which the length grows by one.
        let mut rows = vec![u64::MAX; self.len.div_ceil(64)];
        for bits in words.iter().filter_map(|word| self.positions.get(word)) {
            advance(&mut rows, bits);
        }
        self.count_zeros(&rows)
    }

    /// The zero bits of the query's own rows; the last block may be partial.
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

/// One column of the dynamic programme: V := (V + (V & M)) | (V & !M), where the
/// carry of the addition passes from block to block.
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

    #[test]
    fn whole_blocks() {
        for len in [0, 1, 63, 64, 65, 128, 129] {
            let words: Vec<Word> = (0..len).collect();
            assert_eq!(Query::new(&words).common(&words), words.len());
            assert_eq!(Query::new(&words).common(&[]), 0);
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_dynamic_programme(
            a in prop::collection::vec(0u32..7, 0..200),
            b in prop::collection::vec(0u32..7, 0..200),
        ) {
            prop_assert_eq!(Query::new(&a).common(&b), naive(&a, &b));
        }
    }
}
