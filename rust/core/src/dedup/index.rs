//! An index of texts that finds near duplicates and accepts further texts.

use std::collections::hash_map::Entry;

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::band_layout::Banding;
use super::bands::{Band, NONE};
use super::clusters::Clusters;
use super::hash_mix::mix;
use super::jaccard::{can_have_similar, is_similar};
use super::shingles::{MAX_NGRAM, Shingler, Unit};
use super::sketch::Sketcher;
use crate::{Error, parallel};

/// Minimum number of texts, sets or pairs per task.
const MIN_TASK_SIZE: usize = 64;

/// The definition of near duplicates, and the options of the search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// The minimum Jaccard similarity of near duplicates, above 0 and at most
    /// 1.
    pub threshold: f64,
    /// The number of units per n-gram, from 1 to [`MAX_NGRAM`].
    pub ngram: usize,
    /// The unit of the n-grams.
    pub unit: Unit,
    /// The length of a MinHash signature, from 1 to 4096; see [`Banding`].
    pub permutations: usize,
    /// The seed of the signatures. It determines which few pairs are missed.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threshold: 0.8,
            ngram: 3,
            unit: Unit::Word,
            permutations: 128,
            seed: 0,
        }
    }
}

/// Clusters of near duplicates among all texts added so far.
///
/// Two texts are linked if their sets of n-grams are equal, or if their
/// signatures share a band and the Jaccard similarity of the sets reaches the
/// threshold. Clusters are the connected components of these links. Whether two
/// texts are linked depends on these texts only, so the clusters do not depend
/// on how the texts were split into batches. A text may link two clusters of
/// earlier batches: they are merged, and the first row is the smaller of the
/// two.
///
/// n-grams are taken from the [normal form](crate::text::normal_text). A text
/// of fewer than n units has one n-gram of all its units. A text without units
/// is a near duplicate only of other such texts.
pub struct NearDuplicateIndex {
    options: Options,
    sketcher: Sketcher,
    /// The distinct sets of n-grams, in order of first appearance.
    sets: Vec<Box<[u64]>>,
    /// The first row of each set.
    first_rows: Vec<u32>,
    /// The sets by (fingerprint, number), where the number distinguishes sets
    /// with the same fingerprint.
    by_fingerprint: FxHashMap<(u64, u32), u32>,
    /// The set of each row.
    rows: Vec<u32>,
    bands: Vec<Band>,
    clusters: Clusters,
}

impl NearDuplicateIndex {
    /// An index without texts.
    ///
    /// # Errors
    ///
    /// If an option is out of range, or the signature is too short for the
    /// threshold.
    pub fn new(options: Options) -> Result<Self, Error> {
        if !(1..=MAX_NGRAM).contains(&options.ngram) {
            return Err(Error::InvalidNgram {
                value: options.ngram as i64,
                max: MAX_NGRAM,
            });
        }
        let banding = Banding::choose(options.threshold, options.permutations)?;
        Ok(Self {
            options,
            sketcher: Sketcher::new(banding, options.seed),
            sets: Vec::new(),
            first_rows: Vec::new(),
            by_fingerprint: FxHashMap::default(),
            rows: Vec::new(),
            bands: (0..banding.bands).map(|_| Band::default()).collect(),
            clusters: Clusters::default(),
        })
    }

    /// The options as given.
    pub fn options(&self) -> Options {
        self.options
    }

    /// The number of texts added.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no text was added.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds texts. Returns for each the row of the first text of its current
    /// cluster among all texts added so far: its own row if it is the first.
    ///
    /// # Panics
    ///
    /// At 2^32 - 1 texts.
    pub fn add<T: AsRef<str> + Sync>(&mut self, texts: &[T]) -> Vec<usize> {
        let (rows, sets) = (self.rows.len(), self.sets.len());
        let chunks: Vec<&[T]> = texts.chunks(MIN_TASK_SIZE).collect();
        let shingled = parallel::map(&chunks, 1, |chunk| {
            let mut shingler = Shingler::new(self.options.unit, self.options.ngram);
            let sets = chunk.iter().map(|text| shingler.set_of(text.as_ref()));
            sets.map(|set| (fingerprint(&set), set)).collect::<Vec<_>>()
        });
        for (fingerprint, set) in shingled.into_iter().flatten() {
            self.insert(fingerprint, set);
        }
        self.join_from(sets);
        (rows..self.rows.len()).map(|row| self.first(row)).collect()
    }

    /// For each text added so far the row of the first text of its cluster.
    pub fn clusters(&self) -> Vec<usize> {
        (0..self.rows.len()).map(|row| self.first(row)).collect()
    }

    fn first(&self, row: usize) -> usize {
        let set = self.clusters.first(self.rows[row]);
        self.first_rows[set as usize] as usize
    }

    /// Adds a row with this set.
    pub(super) fn insert(&mut self, fingerprint: u64, set: Box<[u64]>) {
        let row = u32::try_from(self.rows.len())
            .ok()
            .filter(|row| *row != NONE);
        let row = row.expect("an index holds fewer than 2^32 - 1 texts");
        for number in 0.. {
            match self.by_fingerprint.entry((fingerprint, number)) {
                Entry::Occupied(known) => {
                    let known = *known.get();
                    if self.sets[known as usize] == set {
                        self.rows.push(known);
                        return;
                    }
                }
                Entry::Vacant(insert) => {
                    let new = *insert.insert(self.sets.len() as u32);
                    self.rows.push(new);
                    self.first_rows.push(row);
                    self.sets.push(set);
                    self.clusters.push();
                    return;
                }
            }
        }
    }

    /// Adds a row with a known set.
    pub(super) fn insert_known(&mut self, set: u32) {
        self.rows.push(set);
    }

    /// Joins the sets from number `start` on with each other and with the
    /// earlier ones.
    pub(super) fn join_from(&mut self, start: usize) {
        let threshold = self.options.threshold;
        let new: Vec<u32> = (start..self.sets.len())
            .filter(|set| can_have_similar(self.sets[*set].len(), threshold))
            .map(|set| set as u32)
            .collect();
        self.link(&new);
        self.join_neighbours(&new);
        self.join_others(&new);
    }

    /// Inserts sets into the chains of all bands.
    fn link(&mut self, new: &[u32]) {
        let chunks: Vec<&[u32]> = new.chunks(MIN_TASK_SIZE).collect();
        let tags = parallel::map(&chunks, 1, |chunk| {
            let (mut slots, mut tags) = (Vec::new(), Vec::new());
            for set in *chunk {
                let set = &self.sets[*set as usize];
                self.sketcher.write_tags(set, &mut slots, &mut tags);
            }
            tags
        });
        let (len, bands) = (self.sets.len(), self.bands.len());
        for_each_band(&mut self.bands, new.len(), |at, band| {
            band.reserve(len, new.len());
            let of_band = tags
                .iter()
                .flat_map(|tags| tags[at..].iter().step_by(bands));
            new.iter()
                .zip(of_band)
                .for_each(|(set, tag)| band.link(*set, *tag));
        });
    }

    /// Compares each set with the previous one of each chain. Pairs joined in
    /// one band are not compared in the next, so this finds most links cheaply.
    fn join_neighbours(&mut self, new: &[u32]) {
        for band in &self.bands {
            let pairs: Vec<(u32, u32)> = new
                .iter()
                .map(|set| (*set, band.previous(*set)))
                .filter(|(set, other)| *other != NONE && !self.clusters.are_joined(*set, *other))
                .collect();
            let similar = parallel::map(&pairs, MIN_TASK_SIZE, |pair| self.are_similar(*pair));
            for ((a, b), _) in pairs.iter().zip(similar).filter(|(_, similar)| *similar) {
                self.clusters.join(*a, *b);
            }
        }
    }

    /// Compares each set with all others of its chains that are not yet in its
    /// cluster.
    fn join_others(&mut self, new: &[u32]) {
        self.clusters.shorten(new);
        let clusters = &self.clusters;
        for_each_band(&mut self.bands, new.len(), |_, band| {
            new.iter().for_each(|set| band.record_skip(*set, clusters));
        });
        let chunks: Vec<&[u32]> = new.chunks(MIN_TASK_SIZE).collect();
        let links = parallel::map(&chunks, 1, |chunk| self.links_of(chunk));
        for (a, b) in links.into_iter().flatten() {
            self.clusters.join(a, b);
        }
    }

    /// The links of sets to other clusters, at most one per set and cluster.
    fn links_of(&self, sets: &[u32]) -> Vec<(u32, u32)> {
        let mut pairs = Vec::new();
        for band in &self.bands {
            for set in sets {
                band.collect(*set, &self.clusters, &mut pairs);
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        let (mut links, mut joined) = (Vec::new(), Vec::new());
        for of_set in pairs.chunk_by(|a, b| a.0 == b.0) {
            joined.clear();
            for (set, other) in of_set {
                let root = self.clusters.root(*other);
                if !joined.contains(&root) && self.are_similar((*set, *other)) {
                    joined.push(root);
                    links.push((*set, *other));
                }
            }
        }
        links
    }

    fn are_similar(&self, (a, b): (u32, u32)) -> bool {
        let (a, b) = (&self.sets[a as usize], &self.sets[b as usize]);
        is_similar(a, b, self.options.threshold)
    }

    pub(super) fn sets(&self) -> &[Box<[u64]>] {
        &self.sets
    }

    pub(super) fn rows(&self) -> &[u32] {
        &self.rows
    }
}

/// A hash of a set. Its elements are hashes, so their sum is one, too.
pub(super) fn fingerprint(set: &[u64]) -> u64 {
    mix(set
        .iter()
        .fold(set.len() as u64, |sum, hash| sum.wrapping_add(*hash)))
}

/// Calls `work` with each band and its number, in parallel if `sets`, the
/// amount of work per band, makes that worthwhile.
fn for_each_band(bands: &mut [Band], sets: usize, work: impl Fn(usize, &mut Band) + Sync + Send) {
    if parallel::is_worthwhile(sets, MIN_TASK_SIZE) {
        bands
            .par_iter_mut()
            .enumerate()
            .for_each(|(at, band)| work(at, band));
    } else {
        bands
            .iter_mut()
            .enumerate()
            .for_each(|(at, band)| work(at, band));
    }
}
