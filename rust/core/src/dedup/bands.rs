//! One band of the signatures: the sets with the same tag in it.

use super::clusters::Clusters;

/// No set.
pub(super) const NONE: u32 = u32::MAX;

/// A band. The sets with the same tag form a chain from the latest to the
/// first.
#[derive(Default)]
pub(super) struct Band {
    /// A hash table with linear probing. An entry holds the tag (upper 32 bits)
    /// and the latest set plus one (lower 32 bits), or 0 if it is free. The
    /// size is 0 or a power of two, and at most three quarters are used.
    table: Vec<u64>,
    used: usize,
    /// For each set the previous one in its chain.
    previous: Vec<u32>,
    /// For each set, one further down its chain, such that all sets in between
    /// are in the same cluster as the set.
    skip: Vec<u32>,
}

impl Band {
    /// Reserves space for sets up to `len`, of which `new` will be linked. Sets
    /// that are not linked have no chain.
    pub fn reserve(&mut self, len: usize, new: usize) {
        self.previous.resize(len, NONE);
        self.skip.resize(len, NONE);
        let size = (4 * (self.used + new) / 3 + 1).next_power_of_two();
        if size > self.table.len() {
            let mut larger = vec![0; size];
            for entry in self.table.iter().filter(|entry| **entry != 0) {
                let slot = slot_of(&larger, (entry >> 32) as u32);
                larger[slot] = *entry;
            }
            self.table = larger;
        }
    }

    /// Inserts a set at the head of the chain of `tag`. It must be later than
    /// all others.
    pub fn link(&mut self, set: u32, tag: u32) {
        let at = slot_of(&self.table, tag);
        let slot = &mut self.table[at];
        if *slot == 0 {
            self.used += 1;
        } else {
            self.previous[set as usize] = (*slot as u32) - 1;
        }
        *slot = (u64::from(tag) << 32) | u64::from(set + 1);
    }

    /// The previous set in the chain of this one.
    pub fn previous(&self, set: u32) -> u32 {
        self.previous[set as usize]
    }

    /// Records for a set how much of its chain is in its own cluster. The
    /// previous sets in its chain must have been recorded.
    pub fn record_skip(&mut self, set: u32, clusters: &Clusters) {
        let previous = self.previous(set);
        let is_own = previous != NONE && clusters.are_joined(previous, set);
        self.skip[set as usize] = match previous {
            NONE => NONE,
            own if is_own => self.skip[own as usize],
            other => other,
        };
    }

    /// Appends the pairs of a set and each set of another cluster in its chain,
    /// except the previous one. Clusters only grow, so recorded skips stay
    /// valid, and a chain within one cluster takes one step regardless of its
    /// length.
    pub fn collect(&self, set: u32, clusters: &Clusters, pairs: &mut Vec<(u32, u32)>) {
        let previous = self.previous(set);
        if previous == NONE {
            return;
        }
        let root = clusters.root(set);
        let mut at = previous;
        while at != NONE {
            if clusters.root(at) == root {
                at = self.skip[at as usize];
            } else {
                if at != previous {
                    pairs.push((set, at));
                }
                at = self.previous(at);
            }
        }
    }
}

/// The slot of a tag in the table, or the free slot for it.
fn slot_of(table: &[u64], tag: u32) -> usize {
    let mask = table.len() - 1;
    let mut at = tag as usize & mask;
    while table[at] != 0 && (table[at] >> 32) as u32 != tag {
        at = (at + 1) & mask;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Tags that collide in the table, and clusters that grow between
        /// batches.
        #[test]
        fn chains_hold_all_sets_of_a_tag(
            tags in prop::collection::vec((0_u32..6).prop_map(|tag| tag << 28), 1..80),
            joins in prop::collection::vec((0_u32..80, 0_u32..80), 0..40),
            batch in 1_usize..30,
        ) {
            let (mut band, mut clusters) = (Band::default(), Clusters::default());
            let mut joins = joins.into_iter();
            for start in (0..tags.len()).step_by(batch) {
                let end = (start + batch).min(tags.len());
                band.reserve(end, end - start);
                (start..end).for_each(|_| clusters.push());
                (start..end).for_each(|set| band.link(set as u32, tags[set]));
                for (a, b) in joins.by_ref().take(10) {
                    clusters.join(a % end as u32, b % end as u32);
                }
                (start..end).for_each(|set| band.record_skip(set as u32, &clusters));
                for set in start..end {
                    let same: Vec<usize> = (0..set).filter(|at| tags[*at] == tags[set]).collect();
                    let previous = same.last().map_or(NONE, |at| *at as u32);
                    prop_assert_eq!(band.previous(set as u32), previous);
                    let mut pairs = Vec::new();
                    band.collect(set as u32, &clusters, &mut pairs);
                    let expected: Vec<(u32, u32)> = same.iter().rev().map(|at| *at as u32)
                        .filter(|at| *at != previous && !clusters.are_joined(*at, set as u32))
                        .map(|at| (set as u32, at))
                        .collect();
                    prop_assert_eq!(pairs, expected);
                }
            }
        }
    }
}
