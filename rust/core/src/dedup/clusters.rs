//! Clusters that only grow: union-find by size, which keeps paths short (their
//! length is at most the logarithm of the size), so reading need not write.

/// Items 0, 1, 2 …, each in one cluster.
#[derive(Default)]
pub(super) struct Clusters {
    parents: Vec<u32>,
    /// Of a root: how many items its cluster has.
    sizes: Vec<u32>,
    /// Of a root: the least item of its cluster.
    firsts: Vec<u32>,
}

impl Clusters {
    /// Adds an item, as a cluster of its own.
    pub fn push(&mut self) {
        let item = self.parents.len() as u32;
        self.parents.push(item);
        self.sizes.push(1);
        self.firsts.push(item);
    }

    /// The least item of the item's cluster.
    pub fn first(&self, item: u32) -> u32 {
        self.firsts[self.root(item) as usize]
    }

    /// An item that stands for the cluster until it grows.
    pub fn root(&self, mut item: u32) -> u32 {
        loop {
            let parent = self.parents[item as usize];
            if parent == item {
                return item;
            }
            item = parent;
        }
    }

    /// Makes the paths of these items as short as can be.
    pub fn shorten(&mut self, items: &[u32]) {
        for item in items {
            self.parents[*item as usize] = self.root(*item);
        }
    }

    pub fn are_joined(&self, a: u32, b: u32) -> bool {
        self.root(a) == self.root(b)
    }

    /// Makes one cluster of two.
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
