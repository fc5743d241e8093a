//! Duplicates: the same text in another spelling, and texts that share most of
//! their n-grams.
//!
//! * [`exact_duplicates`] finds texts of one [normal form](crate::text::normal_text).
//! * [`NearDuplicateIndex`] finds texts whose sets of n-grams (shingles; Broder,
//!   "On the resemblance and containment of documents", 1997) have a Jaccard
//!   similarity of at least a threshold. Candidates come from MinHash signatures
//!   cut into bands (Indyk and Motwani, 1998; Leskovec, Rajaraman and Ullman,
//!   "Mining of Massive Datasets", section 3.4) and every candidate is confirmed
//!   on the sets themselves: no pair is reported that is not similar, and few
//!   that are similar are missed ([`Banding`]).
//!
//! n-grams are taken from the normal form, so exact duplicates are near
//! duplicates under every setting.

mod banding;
mod bands;
mod clusters;
mod exact;
mod file;
mod index;
mod jaccard;
mod shingles;
mod sketch;
#[cfg(test)]
mod tests;

pub use banding::{Banding, MAX_PERMUTATIONS, RECALL};
pub use exact::exact_duplicates;
pub use index::{NearDuplicateIndex, Options};
pub use shingles::{MAX_NGRAM, Unit};

/// For each text the row of the first text of its cluster, see
/// [`NearDuplicateIndex`], which also takes texts in several batches.
///
/// # Errors
///
/// If an [option](Options) is out of its range.
pub fn near_duplicates<T: AsRef<str> + Sync>(
    texts: &[T],
    options: Options,
) -> Result<Vec<usize>, crate::Error> {
    Ok(NearDuplicateIndex::new(options)?.add(texts))
}

/// [`mix_by`] a fixed multiplier without a pattern.
fn mix(word: u64) -> u64 {
    mix_by(word, 0x9e37_79b9_7f4a_7c15)
}

/// The halves of a 128-bit product, one laid over the other: a fast mixer of
/// 64-bit words (as in Wang Yi's wyhash). The multiplier must be odd.
fn mix_by(word: u64, multiplier: u64) -> u64 {
    let product = u128::from(word) * u128::from(multiplier);
    (product >> 64) as u64 ^ product as u64
}
