//! MinHash signatures of sets, as one tag per band.
//!
//! Signatures are computed by fast similarity sketching (Dahlgaard, Knudsen and
//! Thorup, "Fast Similarity Sketching", FOCS 2017, algorithm 1): in each round
//! every element falls into a random slot, and a slot keeps the minimum value
//! of the first round that hit it. The content of a slot is determined by one
//! order of all possible elements, the same for every set, so two sets agree in
//! a slot with a probability of exactly their Jaccard similarity, as with k
//! separate permutations. A set of n elements and a signature of k slots take
//! about n + k ln k steps instead of n k.

use super::band_layout::Banding;
use super::hash_mix::mix_by;

const EMPTY: u64 = u64::MAX;
const VALUE: u64 = 0xffff_ffff;

/// Computes the tags of sets.
pub(super) struct Sketcher {
    banding: Banding,
    /// For each round, the key of the hash that gives an element's slot and
    /// value.
    keys: Vec<(u64, u64)>,
}

impl Sketcher {
    pub fn new(banding: Banding, seed: u64) -> Self {
        let rounds = 2 * (banding.bands * banding.rows) as u64;
        let key = |at: u64| (scramble(seed, 2 * at), scramble(seed, 2 * at + 1) | 1);
        Self {
            banding,
            keys: (0..rounds).map(key).collect(),
        }
    }

    /// Appends one tag per band to `tags`: sets whose signatures agree in all
    /// values of a band have the same tag there. The set must not be empty.
    pub fn write_tags(&self, set: &[u64], slots: &mut Vec<u64>, tags: &mut Vec<u32>) {
        self.sketch(set, slots);
        let tag = |values: &[u64]| {
            let fold = |hash: u64, value: &u64| {
                (hash.rotate_left(29) ^ value).wrapping_mul(self.keys[0].1)
            };
            (mix_by(values.iter().fold(0, fold), self.keys[1].1) >> 32) as u32
        };
        tags.extend(slots.chunks_exact(self.banding.rows).map(tag));
    }

    /// The signature. A slot holds the round (upper 32 bits) and the value
    /// (lower 32 bits).
    fn sketch(&self, set: &[u64], slots: &mut Vec<u64>) {
        let size = self.banding.bands * self.banding.rows;
        slots.clear();
        slots.resize(size, EMPTY);
        let mut empty = size;
        for (round, key) in (0..).zip(&self.keys[..size]) {
            for element in set {
                let hash = mix_by(element ^ key.0, key.1);
                let slot = &mut slots[(((hash >> 32) * size as u64) >> 32) as usize];
                empty -= usize::from(*slot == EMPTY);
                *slot = (*slot).min((round << 32) | (hash & VALUE));
            }
            if empty == 0 {
                return;
            }
        }
        self.fill(set, slots);
    }

    /// The last rounds: in each, all elements fall into the slot with the
    /// number of the round.
    fn fill(&self, set: &[u64], slots: &mut [u64]) {
        let size = slots.len();
        for (at, slot) in slots.iter_mut().enumerate() {
            if *slot == EMPTY {
                let key = self.keys[size + at];
                let values = set.iter().map(|e| mix_by(e ^ key.0, key.1) & VALUE);
                let min = values.min().expect("the set is not empty");
                *slot = (((size + at) as u64) << 32) | min;
            }
        }
    }
}

/// The `at`-th number of a stream (Steele, Lea and Flood, "Fast Splittable
/// Pseudorandom Number Generators", 2014: splitmix64).
fn scramble(seed: u64, at: u64) -> u64 {
    let mut z = seed.wrapping_add((at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: usize = 128;

    fn sketch(set: &[u64], seed: u64) -> Vec<u64> {
        let banding = Banding {
            bands: SLOTS,
            rows: 1,
        };
        let mut slots = Vec::new();
        Sketcher::new(banding, seed).sketch(set, &mut slots);
        slots
    }

    /// The mean over many seeds equals the similarity, and the variance of
    /// single estimates is not above that of 128 separate permutations. Set
    /// sizes are far below, around and far above the number of slots.
    #[test]
    fn slots_agree_as_often_as_sets_are_similar() {
        for (shared, apart) in [(1, 1), (4, 1), (9, 3), (80, 10), (80, 120), (900, 300)] {
            let a: Vec<u64> = (0..shared + apart).map(|n| scramble(1, n)).collect();
            let b: Vec<u64> = (apart..shared + 2 * apart)
                .map(|n| scramble(1, n))
                .collect();
            let expected = shared as f64 / (shared + 2 * apart) as f64;
            let runs = 400;
            let estimates: Vec<f64> = (0..runs)
                .map(|seed| {
                    let (left, right) = (sketch(&a, seed), sketch(&b, seed));
                    let equal = left.iter().zip(&right).filter(|(x, y)| x == y).count();
                    equal as f64 / SLOTS as f64
                })
                .collect();
            let mean = estimates.iter().sum::<f64>() / runs as f64;
            let squares = estimates
                .iter()
                .map(|e| (e - expected).powi(2))
                .sum::<f64>();
            let variance = expected * (1.0 - expected) / SLOTS as f64;
            assert!((mean - expected).abs() < 5.0 * (variance / runs as f64).sqrt());
            assert!(squares / (runs as f64) < 1.4 * variance, "{shared} {apart}");
        }
    }

    #[test]
    fn neither_order_nor_repeats_matter() {
        let forth: Vec<u64> = (0..50).map(|n| scramble(3, n)).collect();
        let mut back: Vec<u64> = forth.iter().rev().copied().collect();
        back.extend_from_slice(&forth[..9]);
        assert_eq!(sketch(&forth, 5), sketch(&back, 5));
        assert_ne!(sketch(&forth, 5), sketch(&forth, 6));
    }

    /// A set of one element fills its last slots in the last rounds.
    #[test]
    fn the_smallest_set_fills_every_slot() {
        let slots = sketch(&[7], 0);
        assert!(slots.iter().all(|slot| *slot != EMPTY));
        assert!(slots.iter().any(|slot| slot >> 32 >= SLOTS as u64));
    }

    /// Saved indexes contain sets only; with other tags, other pairs would be
    /// missed.
    #[test]
    fn tags_are_stable() {
        let sketcher = Sketcher::new(Banding { bands: 3, rows: 2 }, 9);
        let (mut slots, mut tags) = (Vec::new(), Vec::new());
        sketcher.write_tags(&[1 << 40, 5 << 60], &mut slots, &mut tags);
        assert_eq!(tags, [1628534759, 3911796167, 205575293]);
    }

    #[test]
    fn tags_agree_where_whole_bands_do() {
        let banding = Banding { bands: 21, rows: 6 };
        let sketcher = Sketcher::new(banding, 0);
        let a: Vec<u64> = (0..100).map(|n| scramble(2, n)).collect();
        let (mut slots, mut left, mut right) = (Vec::new(), Vec::new(), Vec::new());
        sketcher.write_tags(&a, &mut slots, &mut left);
        let first = slots.clone();
        sketcher.write_tags(&a[..85], &mut slots, &mut right);
        assert_eq!((left.len(), right.len()), (21, 21));
        for band in 0..21 {
            let values = 6 * band..6 * band + 6;
            let agree = first[values.clone()] == slots[values];
            assert_eq!(left[band] == right[band], agree);
        }
        assert!(left != right && left.iter().zip(&right).any(|(x, y)| x == y));
    }
}
