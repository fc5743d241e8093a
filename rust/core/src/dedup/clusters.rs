//! Clusters that only grow: union-find by size. Paths have at most logarithmic
//! length, so lookups need no path compression.

/// Items 0, 1, 2 …, partitioned into clusters.
#[derive(Default)]
pub(super) struct Clusters {
    parents: Vec<u32>,
    /// For a root: the number of items in its cluster.
    sizes: Vec<u32>,
    /// For a root: the smallest item of its cluster.
    firsts: Vec<u32>,
}

impl Clusters {
    /// Adds an item in a new cluster.
    pub fn push(&mut self) {
        let item = self.parents.len() as u32;
        self.parents.push(item);
        self.sizes.push(1);
        self.firsts.push(item);
    }

    /// The smallest item of the item's cluster.
    pub fn first(&self, item: u32) -> u32 {
        self.firsts[self.root(item) as usize]
    }

    /// The representative of the cluster, until the cluster grows.
    pub fn root(&self, mut item: u32) -> u32 {
        loop {
            let parent = self.parents[item as usize];
            if parent == item {
                return item;
            }
            item = parent;
        }
    }

    /// Compresses the paths of these items.
    pub fn shorten(&mut self, items: &[u32]) {
        for item in items {
            self.parents[*item as usize] = self.root(*item);
        }
    }

    pub fn are_joined(&self, a: u32, b: u32) -> bool {
        self.root(a) == self.root(b)
    }

    /// Merges two clusters.
    pub fn join(&mut self, a: u32, b: u32) {
        let (mut large, mut small) = (self.root(a) as usize, self.root(b) as usize);
        if large == small {
            return;
        }
        if self.sizes[large] < self.sizes[small] {
            std::mem::swap(&mut large, &mut small);
        }
        self.parents[small] = large as u32;
        self.sizes[large] += self.sizes[small];
        self.firsts[large] = self.firsts[large].min(self.firsts[small]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn recolouring_agrees(joins in prop::collection::vec((0_u32..20, 0_u32..20), 0..30)) {
            let joins_are_even = joins.len() % 2 == 0;
            let mut clusters = Clusters::default();
            (0..20).for_each(|_| clusters.push());
            let mut colours: Vec<u32> = (0..20).collect();
            for (a, b) in joins {
                clusters.join(a, b);
                let (x, y) = (colours[a as usize], colours[b as usize]);
                colours.iter_mut().filter(|c| **c == x.max(y)).for_each(|c| *c = x.min(y));
            }
            if joins_are_even {
                clusters.shorten(&[3, 0, 19, 7, 3]);
            }
            for item in 0..20 {
                prop_assert_eq!(clusters.first(item), colours[item as usize]);
                prop_assert_eq!(clusters.are_joined(0, item), colours[item as usize] == 0);
            }
        }
    }
}
