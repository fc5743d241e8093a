//! Exact duplicates up to normalisation, and near duplicates by shared n-grams.
//!
//! * [`exact_duplicates`] finds texts with the same [normal
//!   form](crate::text::normal_text).
//! * [`NearDuplicateIndex`] finds texts whose sets of n-grams (shingles;
//!   Broder, "On the resemblance and containment of documents", 1997) have a
//!   Jaccard similarity of at least a threshold. Candidates come from MinHash
//!   signatures split into bands (Indyk and Motwani, 1998; Leskovec, Rajaraman
//!   and Ullman, "Mining of Massive Datasets", section 3.4), and every
//!   candidate is verified on the sets themselves: there are no false
//!   positives, and few false negatives ([`Banding`]).
//!
//! n-grams are taken from the normal form, so exact duplicates are always near
//! duplicates.

mod band_layout;
mod bands;
mod clusters;
mod exact;
mod file;
mod hash_mix;
mod index;
mod jaccard;
mod shingles;
mod sketch;
#[cfg(test)]
mod tests;

pub use band_layout::{Banding, MAX_PERMUTATIONS, RECALL};
pub use exact::exact_duplicates;
pub use index::{NearDuplicateIndex, Options};
pub use shingles::{MAX_NGRAM, Unit};

/// For each text the row of the first text of its cluster; see
/// [`NearDuplicateIndex`], which also accepts texts in batches.
///
/// # Errors
///
/// If an [option](Options) is out of range.
pub fn near_duplicates<T: AsRef<str> + Sync>(
    texts: &[T],
    options: Options,
) -> Result<Vec<usize>, crate::Error> {
    Ok(NearDuplicateIndex::new(options)?.add(texts))
}
