//! Texts that share most of their n-grams, kept so that more can be added.

use std::collections::hash_map::Entry;

use rayon::prelude::*;
use rustc_hash::FxHashMap;

use super::bands::{Band, NONE};
use super::clusters::Clusters;
use super::jaccard::{can_have_similar, is_similar};
use super::shingles::{MAX_NGRAM, Shingler, Unit};
use super::sketch::Sketcher;
use super::{Banding, mix};
use crate::{Error, parallel};

/// How few texts, sets or pairs one task takes.
const TASK: usize = 64;

/// What near duplicates are, and how they are looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// The least Jaccard similarity of near duplicates, above 0 and at most 1.
    pub threshold: f64,
    /// How many units make an n-gram, from 1 to [`MAX_NGRAM`].
    pub ngram: usize,
    /// What an n-gram is made of.
    pub unit: Unit,
    /// The length of a MinHash signature, from 1 to 4096; see [`Banding`].
    pub permutations: usize,
    /// The seed of the signatures. It decides which of the few pairs are missed.
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
/// Two texts are linked if their sets of n-grams are equal, or if a band of
/// their signatures is and the Jaccard similarity of the sets reaches the
/// threshold. A cluster is what links connect. Since whether two texts are
/// linked depends on them alone, the clusters do not depend on how the texts
/// were split into batches. A text may link two clusters of earlier batches;
/// from then on they are one, whose first row is the lesser of both.
///
/// n-grams are taken from the [normal form](crate::text::normal_text). A text of
/// fewer than n units has one n-gram, of all of them. A text without any is a
/// near duplicate only of other such texts.
pub struct NearDuplicateIndex {
    options: Options,
    sketcher: Sketcher,
    /// The distinct sets of n-grams, in order of first appearance.
    sets: Vec<Box<[u64]>>,
    /// The row that brought each set.
    first_rows: Vec<u32>,
    /// The sets by fingerprint; those of one fingerprint are numbered.
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
    /// If an option is out of its range, or the signature too short for the
    /// threshold.
    pub fn new(options: Options) -> Result<Self, Error> {
        if !(1..=MAX_NGRAM).contains(&options.ngram) {
            return Err(Error::InvalidNgram {
                value: options.ngram as i64,
                largest: MAX_NGRAM,
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

    /// How many texts were added.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether no text was added.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds texts. For each of them the row of the first text of its cluster as
    /// of now, over all texts added so far: its own row if it is the first.
    ///
    /// # Panics
    ///
    /// At 2^32 - 1 texts.
    pub fn add<T: AsRef<str> + Sync>(&mut self, texts: &[T]) -> Vec<usize> {
        let (rows, sets) = (self.rows.len(), self.sets.len());
        let chunks: Vec<&[T]> = texts.chunks(TASK).collect();
        let made = parallel::map(&chunks, 1, |chunk| {
            let mut shingler = Shingler::new(self.options.unit, self.options.ngram);
            let sets = chunk.iter().map(|text| shingler.set_of(text.as_ref()));
            sets.map(|set| (fingerprint(&set), set)).collect::<Vec<_>>()
        });
        for (fingerprint, set) in made.into_iter().flatten() {
            self.place(fingerprint, set);
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
    pub(super) fn place(&mut self, fingerprint: u64, set: Box<[u64]>) {
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
                Entry::Vacant(place) => {
                    let new = *place.insert(self.sets.len() as u32);
                    self.rows.push(new);
                    self.first_rows.push(row);
                    self.sets.push(set);
                    self.clusters.push();
                    return;
                }
            }
        }
    }

    /// Adds a row with the set of an earlier one.
    pub(super) fn place_again(&mut self, set: u32) {
        self.rows.push(set);
    }

    /// Joins the sets from number `start` on with one another and with those
    /// before.
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

    /// Puts sets into the chains of all bands.
    fn link(&mut self, new: &[u32]) {
        let chunks: Vec<&[u32]> = new.chunks(TASK).collect();
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

    /// Compares each set with the previous one of each chain. What one band
    /// joins, the next need not compare, so this finds most links cheaply.
    fn join_neighbours(&mut self, new: &[u32]) {
        for band in &self.bands {
            let pairs: Vec<(u32, u32)> = new
                .iter()
                .map(|set| (*set, band.previous(*set)))
                .filter(|(set, other)| *other != NONE && !self.clusters.are_joined(*set, *other))
                .collect();
            let similar = parallel::map(&pairs, TASK, |pair| self.are_similar(*pair));
            for ((a, b), _) in pairs.iter().zip(similar).filter(|(_, similar)| *similar) {
                self.clusters.join(*a, *b);
            }
        }
    }

    /// Compares each set with all others of its chains that neighbours have not
    /// joined it with.
    fn join_others(&mut self, new: &[u32]) {
        self.clusters.shorten(new);
        let clusters = &self.clusters;
        for_each_band(&mut self.bands, new.len(), |_, band| {
            new.iter().for_each(|set| band.note(*set, clusters));
        });
        let chunks: Vec<&[u32]> = new.chunks(TASK).collect();
        let links = parallel::map(&chunks, 1, |chunk| self.links_of(chunk));
        for (a, b) in links.into_iter().flatten() {
            self.clusters.join(a, b);
        }
    }

    /// Links of sets to other clusters, one to each.
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

/// Equal for equal sets. Elements are hashes, so their sum is one, too.
pub(super) fn fingerprint(set: &[u64]) -> u64 {
    mix(set
        .iter()
        .fold(set.len() as u64, |sum, hash| sum.wrapping_add(*hash)))
}

/// Works on each band and its number; `sets` says how much there is to do.
fn for_each_band(bands: &mut [Band], sets: usize, work: impl Fn(usize, &mut Band) + Sync + Send) {
    if parallel::is_worthwhile(sets, TASK) {
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
