//! The set of a text's n-grams, as 64-bit hashes.

use super::hash_mix::mix;
use crate::Error;
use crate::text::{write_normal, write_uncollapsed};
use crate::words::{is_joining, is_separator, is_unspaced};

/// The maximum n.
pub const MAX_NGRAM: usize = 64;

/// The multiplier of the rolling hash: odd, with random-looking bits.
const BASE: u64 = 0xd6e8_feb8_6659_fd93;
const SPACES: u64 = u64::from_ne_bytes([b' '; 8]);
const LOW_BITS: u64 = u64::from_ne_bytes([1; 8]);

/// The unit of an n-gram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Words: separated by white space; in scripts that do not separate words
    /// (Chinese, Japanese, Thai …) each letter with its marks.
    Word,
    /// Characters (Unicode scalar values), including one space between words.
    Char,
}

impl Unit {
    /// The unit named `word` or `char`.
    ///
    /// # Errors
    ///
    /// If it is neither.
    pub fn from_name(name: &str) -> Result<Self, Error> {
        match name {
            "word" => Ok(Self::Word),
            "char" => Ok(Self::Char),
            _ => Err(Error::InvalidUnit {
                value: name.to_owned(),
            }),
        }
    }

    /// The name of the unit, as in [`Unit::from_name`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Word => "word",
            Self::Char => "char",
        }
    }
}

/// Builds sets of n-grams, with reusable buffers.
///
/// A text of fewer than n units has one n-gram of all its units; a text without
/// units has none. The hash of an n-gram is a mixed polynomial over its units
/// (the hashes of words, or code points): two different n-grams collide with a
/// probability of about 2^-64.
pub(super) struct Shingler {
    unit: Unit,
    ngram: usize,
    normal: Vec<u8>,
    shingles: Vec<u64>,
}

impl Shingler {
    pub fn new(unit: Unit, ngram: usize) -> Self {
        Self {
            unit,
            ngram,
            normal: Vec::new(),
            shingles: Vec::new(),
        }
    }

    /// The distinct n-grams of a text, ascending.
    pub fn set_of(&mut self, text: &str) -> Box<[u64]> {
        self.shingles.clear();
        let mut window = Window::new(self.ngram, &mut self.shingles);
        match self.unit {
            Unit::Word => {
                write_uncollapsed(text, &mut self.normal);
                separate_words(&mut self.normal);
                for_each_word(&mut self.normal, |word| window.push(word));
            }
            Unit::Char => {
                write_normal(text, &mut self.normal);
                for_each_char(&self.normal, |c| window.push(c));
            }
        }
        window.finish();
        self.shingles.sort_unstable();
        self.shingles.dedup();
        self.shingles.as_slice().into()
    }
}

/// A sliding window over n units, and the n-grams so far.
struct Window<'a> {
    /// The last units, in a ring buffer.
    units: [u64; MAX_NGRAM],
    ngram: usize,
    /// The number of units so far.
    count: usize,
    /// The index of the oldest unit, which the next one replaces.
    at: usize,
    /// The polynomial of the last n units.
    sum: u64,
    /// `BASE` to the power of n.
    power: u64,
    shingles: &'a mut Vec<u64>,
}

impl<'a> Window<'a> {
    fn new(ngram: usize, shingles: &'a mut Vec<u64>) -> Self {
        Self {
            units: [0; MAX_NGRAM],
            ngram,
            count: 0,
            at: 0,
            sum: 0,
            power: BASE.wrapping_pow(ngram as u32),
            shingles,
        }
    }

    #[inline]
    fn push(&mut self, unit: u64) {
        let oldest = std::mem::replace(&mut self.units[self.at], unit);
        self.at = if self.at + 1 == self.ngram {
            0
        } else {
            self.at + 1
        };
        let dropped = oldest.wrapping_mul(self.power);
        self.sum = self
            .sum
            .wrapping_mul(BASE)
            .wrapping_add(unit)
            .wrapping_sub(dropped);
        self.count += 1;
        if self.count >= self.ngram {
            self.shingles.push(mix(self.sum ^ self.ngram as u64));
        }
    }

    fn finish(self) {
        if 0 < self.count && self.count < self.ngram {
            self.shingles.push(mix(self.sum ^ self.count as u64));
        }
    }
}

/// Inserts spaces around each letter, with its marks, of a script without
/// spaces, and replaces separators that are not white space.
fn separate_words(text: &mut Vec<u8>) {
    if text.is_ascii() {
        return;
    }
    let whole = str::from_utf8(text).expect("a normal form is valid UTF-8");
    if !whole.chars().any(|c| is_unspaced(c) || is_separator(c)) {
        return;
    }
    let mut spaced = String::with_capacity(2 * whole.len());
    let mut is_single = false;
    for c in whole.chars() {
        if is_separator(c) {
            spaced.push(' ');
            is_single = false;
            continue;
        }
        if !is_joining(c) {
            let unspaced = is_unspaced(c);
            if unspaced || is_single {
                spaced.push(' ');
            }
            is_single = unspaced;
        }
        spaced.push(c);
    }
    *text = spaced.into_bytes();
}

/// Calls `each` with a hash of every word; words are separated by spaces.
///
/// A word is read eight bytes at a time. The last piece holds up to seven bytes
/// and its length, so different words have different pieces.
fn for_each_word(text: &mut Vec<u8>, mut each: impl FnMut(u64)) {
    let len = text.len();
    text.extend_from_slice(&[b' '; 8]);
    let (mut at, mut hash, mut is_inside) = (0, 0, false);
    while at < len {
        let piece = text[at..at + 8].try_into().expect("eight bytes");
        let piece = u64::from_le_bytes(piece);
        // The lowest set bit marks the first space (a zero byte of `apart`).
        let apart = piece ^ SPACES;
        let found = apart.wrapping_sub(LOW_BITS) & !apart & (LOW_BITS << 7);
        if found == 0 {
            (hash, at, is_inside) = (mix(hash ^ piece), at + 8, true);
            continue;
        }
        let bytes = found.trailing_zeros() / 8;
        if bytes > 0 || is_inside {
            let piece = piece & ((1 << (8 * bytes)) - 1);
            each(mix(hash ^ piece ^ (u64::from(bytes + 1) << 56)));
        }
        (hash, at, is_inside) = (0, at + bytes as usize + 1, false);
    }
    if is_inside {
        each(mix(hash ^ (1 << 56)));
    }
}

/// Calls `each` with the code point of every character plus one, so that a
/// leading U+0000 counts.
fn for_each_char(text: &[u8], mut each: impl FnMut(u64)) {
    if text.is_ascii() {
        text.iter().for_each(|byte| each(u64::from(*byte) + 1));
        return;
    }
    let text = std::str::from_utf8(text).expect("a normal form is valid UTF-8");
    text.chars().for_each(|c| each(u64::from(c) + 1));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::normal_text;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    fn set_of(text: &str, unit: Unit, ngram: usize) -> Vec<u64> {
        Shingler::new(unit, ngram).set_of(text).into_vec()
    }

    /// Letters of scripts without spaces are in the tests' alphabet only: 图, ก.
    fn naive_words(normal: &str) -> Vec<String> {
        let spaced = normal.replace('图', " 图 ").replace("กี", "\u{1}");
        let spaced = spaced.replace('ก', " ก ").replace('\u{1}', " กี ");
        let spaced = spaced.replace('་', " ");
        spaced.split_whitespace().map(str::to_owned).collect()
    }

    /// The n-grams as strings.
    fn naive(text: &str, unit: Unit, ngram: usize) -> HashSet<Vec<String>> {
        let normal = normal_text(text);
        let units: Vec<String> = match unit {
            Unit::Word => naive_words(&normal),
            Unit::Char => normal.chars().map(String::from).collect(),
        };
        let size = ngram.min(units.len()).max(1);
        units.windows(size).map(<[String]>::to_vec).collect()
    }

    #[test]
    fn few_units_are_one_shingle_and_none_are_none() {
        for unit in [Unit::Word, Unit::Char] {
            assert!(set_of(" \n", unit, 3).is_empty());
            assert_eq!(set_of("a", unit, 3).len(), 1);
        }
        assert_eq!(set_of("a b", Unit::Word, 3).len(), 1);
        assert_eq!(set_of("a b c", Unit::Word, 3).len(), 1);
        assert_eq!(set_of("a b c d", Unit::Word, 3).len(), 2);
        assert_ne!(set_of("a b", Unit::Word, 3), set_of("b a", Unit::Word, 3));
        assert_eq!(set_of("abcd", Unit::Char, 3).len(), 2);
    }

    /// Saved indexes hold these hashes.
    #[test]
    fn hashes_are_stable() {
        let sets = [
            set_of("Stable, whatever", Unit::Word, 2),
            set_of("stab", Unit::Char, 4),
        ];
        assert_eq!(sets, [[8095362170989490240], [15660565416038885839]]);
        assert_eq!(
            set_of("写诗", Unit::Word, 2),
            set_of("写 诗", Unit::Word, 2)
        );
    }

    proptest! {
        /// Two texts share as many hashes as n-grams, and a text has as many
        /// hashes as n-grams, so hashes are equal exactly if n-grams are.
        #[test]
        fn hashes_stand_for_ngrams(
            a in "(?:[abA\0 \u{a0}é😀图ก་]|กี){0,30}", b in "(?:[abA\0 \u{a0}é😀图ก་]|กี){0,30}", ngram in 1_usize..6
        ) {
            for unit in [Unit::Word, Unit::Char] {
                let (left, right) = (naive(&a, unit, ngram), naive(&b, unit, ngram));
                let (ours, theirs) = (set_of(&a, unit, ngram), set_of(&b, unit, ngram));
                prop_assert_eq!((ours.len(), theirs.len()), (left.len(), right.len()));
                let shared = ours.iter().filter(|hash| theirs.contains(hash)).count();
                prop_assert_eq!(shared, left.intersection(&right).count());
                prop_assert!(ours.is_sorted_by(|x, y| x < y));
            }
        }

        /// Words with lengths around the boundaries between pieces.
        #[test]
        fn different_words_have_different_hashes(
            words in prop::collection::vec("[a\0]{0,2}[ab]{5,7}[ab]{0,10}", 1..40)
        ) {
            let mut of_hash = HashMap::new();
            for word in &words {
                let set = set_of(word, Unit::Word, 1);
                prop_assert_eq!(set.len(), 1);
                prop_assert_eq!(*of_hash.entry(set[0]).or_insert(word), word);
            }
            let all = set_of(&words.join(" "), Unit::Word, 1);
            prop_assert!(all.iter().all(|hash| of_hash.contains_key(hash)));
            prop_assert_eq!(all.len(), of_hash.len());
        }
    }
}
