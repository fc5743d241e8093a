//! A mixing function for 64-bit words.

/// [`mix_by`] with a fixed multiplier of random-looking bits.
pub(super) fn mix(word: u64) -> u64 {
    mix_by(word, 0x9e37_79b9_7f4a_7c15)
}

/// The XOR of the halves of the 128-bit product: a fast mixer of 64-bit words
/// (as in Wang Yi's wyhash). The multiplier must be odd.
pub(super) fn mix_by(word: u64, multiplier: u64) -> u64 {
    let product = u128::from(word) * u128::from(multiplier);
    (product >> 64) as u64 ^ product as u64
}
