//! Bitmap signatures, which show that two texts differ in many words.

use super::vocabulary::Word;

/// Each bit is the parity of the number of words that hash to it.
pub(super) type Signature = [u64; 4];

/// The signature of a text's words.
pub(super) fn signature(words: &[Word]) -> Signature {
    let mut bits = Signature::default();
    for word in words {
        // The highest bits of a product with the golden ratio (Knuth, "The art
        // of computer programming", volume 3, section 6.4) are well mixed.
        let bit = word.wrapping_mul(0x9e37_79b9) >> 24;
        bits[(bit / 64) as usize] ^= 1 << (bit % 64);
    }
    bits
}

/// The signature folded to 64 bits, each the parity of four bits.
pub(super) fn folded(signature: &Signature) -> u64 {
    signature.iter().fold(0, |folded, bits| folded ^ bits)
}

/// A lower bound on the size of the symmetric difference of the two multisets
/// of words: every word in it flips one bit.
pub(super) fn min_difference(left: &Signature, right: &Signature) -> usize {
    let bits = left.iter().zip(right).map(|(l, r)| (l ^ r).count_ones());
    bits.sum::<u32>() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The number of words without a counterpart in the other text.
    fn difference(left: &[Word], right: &[Word]) -> usize {
        let mut rest = right.to_vec();
        let mut alone = 0;
        for word in left {
            match rest.iter().position(|other| other == word) {
                Some(place) => drop(rest.swap_remove(place)),
                None => alone += 1,
            }
        }
        alone + rest.len()
    }

    #[test]
    fn few_words_have_bits_of_their_own() {
        let words: Vec<Word> = (0..32).collect();
        assert_eq!(min_difference(&signature(&words), &signature(&[])), 32);
    }

    proptest! {
        #[test]
        fn never_above_the_difference(
            left in prop::collection::vec(0u32..40, 0..80),
            right in prop::collection::vec(0u32..4000, 0..80),
            common in prop::collection::vec(0u32..4000, 0..80),
        ) {
            let (left, right) = ([left, common.clone()].concat(), [common, right].concat());
            let bound = min_difference(&signature(&left), &signature(&right));
            prop_assert!(bound <= difference(&left, &right));
            let folds = [&left, &right].map(|words| folded(&signature(words)));
            prop_assert!((folds[0] ^ folds[1]).count_ones() as usize <= bound);
        }
    }
}
