//! Comparison of Jaccard similarities with a threshold.

/// Whether |a ∩ b| / |a ∪ b| >= `threshold` for two ascending sets.
pub(super) fn is_similar(a: &[u64], b: &[u64], threshold: f64) -> bool {
    let total = a.len() + b.len();
    // J = c / (total - c) with c shared elements, so total - 2c elements are in
    // one set only. One more is allowed because this bound is rounded; the last
    // line is exact.
    let allowed = (total as f64 * (1.0 - threshold) / (1.0 + threshold)) as usize + 1;
    if a.len().abs_diff(b.len()) > allowed {
        return false;
    }
    let (mut i, mut j, mut shared) = (0, 0, 0);
    while i < a.len() && j < b.len() && i + j - 2 * shared <= allowed {
        let (x, y) = (a[i], b[j]);
        shared += usize::from(x == y);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    (i == a.len() || j == b.len()) && reaches(shared, total - shared, threshold)
}

/// Whether a set of this size can be similar to a different set: the most
/// similar one has one more element.
pub(super) fn can_have_similar(size: usize, threshold: f64) -> bool {
    reaches(size, size + 1, threshold)
}

fn reaches(shared: usize, union: usize, threshold: f64) -> bool {
    shared as f64 / union as f64 >= threshold
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_threshold_itself_is_similar() {
        let a: Vec<u64> = (0..10).collect();
        assert!(is_similar(&a[..8], &a, 0.8));
        assert!(!is_similar(&a[..7], &a, 0.8));
        assert!(is_similar(&a, &a, 1.0) && !is_similar(&a, &a[1..], 1.0));
        assert!(!is_similar(&[], &a, 0.1));
    }

    #[test]
    fn small_sets_stand_alone() {
        assert!(!can_have_similar(3, 0.8) && can_have_similar(4, 0.8));
        assert!(!can_have_similar(0, 0.01) && !can_have_similar(1_000_000, 1.0));
    }

    proptest! {
        #[test]
        fn counting_agrees(
            a in prop::collection::btree_set(0_u64..30, 0..30),
            b in prop::collection::btree_set(0_u64..30, 1..30),
            percent in 1_u32..=100,
        ) {
            let threshold = f64::from(percent) / 100.0;
            let shared = a.intersection(&b).count() as f64;
            let expected = shared / a.union(&b).count() as f64 >= threshold;
            let sorted = |set: &BTreeSet<u64>| set.iter().copied().collect::<Vec<u64>>();
            prop_assert_eq!(is_similar(&sorted(&a), &sorted(&b), threshold), expected);
            if expected && a != b {
                prop_assert!(can_have_similar(a.len(), threshold));
                prop_assert!(can_have_similar(b.len(), threshold));
            }
        }
    }
}
