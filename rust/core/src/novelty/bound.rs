//! The F-measure, the best match so far, and bounds that a better match must
//! satisfy.

/// A kept text that is similar to a new one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Match {
    /// The ROUGE-L similarity.
    pub similarity: f64,
    /// The index of the kept text, in insertion order.
    pub index: usize,
}

/// The F-measure of `common` words among `left` and `right` words. The order of
/// operations is that of `rouge_score`, for bit-identical results.
pub(super) fn f_measure(common: usize, left: usize, right: usize) -> f64 {
    if common == 0 {
        return 0.0;
    }
    let (precision, recall) = (common as f64 / right as f64, common as f64 / left as f64);
    2.0 * precision * recall / (precision + recall)
}

/// The best match above a floor, and the bounds it implies for better ones.
#[derive(Debug, Clone)]
pub(super) struct Best {
    floor: f64,
    found: Option<Match>,
    share: f64,
}

/// Far above the rounding errors of [`f_measure`], so that a bound never prunes
/// a pair whose rounded similarity would count.
const ROUNDING: f64 = 1e-9;

impl Best {
    /// No match yet; only similarities above `floor` count.
    pub fn above(floor: f64) -> Self {
        let share = floor / 2.0 * (1.0 - ROUNDING);
        Self {
            floor,
            found: None,
            share,
        }
    }

    /// The best match; of equally similar texts the earliest.
    pub fn found(&self) -> Option<Match> {
        self.found
    }

    /// Replaces the best match if this one is better.
    pub fn offer(&mut self, similarity: f64, index: usize) {
        let better = match self.found {
            None => similarity > self.floor,
            Some(found) => {
                similarity > found.similarity
                    || (similarity == found.similarity && index < found.index)
            }
        };
        if better {
            self.found = Some(Match { similarity, index });
            self.share = similarity / 2.0 * (1.0 - ROUNDING);
        }
    }

    /// Whether no text at `index` or later can be better, regardless of its
    /// words.
    pub fn is_final(&self, index: usize) -> bool {
        let found = self.found;
        self.floor >= 1.0 || found.is_some_and(|best| best.similarity >= 1.0 && best.index <= index)
    }

    /// A pair is a better match only if it has more than this fraction of its
    /// words (of both texts together) in common.
    pub fn share(&self) -> f64 {
        self.share
    }

    /// The minimum number of common words of two texts with `total` words
    /// together, at least 1.
    pub fn min_common(&self, total: usize) -> usize {
        (self.share * total as f64) as usize + 1
    }

    /// The minimum length of a text that can match one of `len` words.
    pub fn min_len(&self, len: usize) -> usize {
        (self.share * len as f64 / (1.0 - self.share)) as usize
    }

    /// The maximum length of a text that can match one of `len` words with at
    /// most `common` words in common; None if no length can.
    pub fn max_len(&self, len: usize, common: usize) -> Option<usize> {
        let max_len = common as f64 / self.share - len as f64;
        (max_len >= 0.0).then_some(max_len as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn f_measures() {
        for (common, left, right, expected) in [
            (0, 3, 4, 0.0),
            (5, 5, 5, 1.0),
            (4, 6, 5, 8.0 / 11.0),
            (1, 1, 3, 0.5),
        ] {
            let found = f_measure(common, left, right);
            assert!((found - expected).abs() < 1e-15, "{common} {left} {right}");
            assert_eq!(found, f_measure(common, right, left));
        }
    }

    #[test]
    fn the_earliest_of_the_best_stays() {
        let mut best = Best::above(0.5);
        best.offer(0.5, 0);
        assert_eq!(best.found(), None);
        for (similarity, index) in [(0.6, 7), (0.8, 5), (0.8, 6), (0.8, 3), (0.7, 1)] {
            best.offer(similarity, index);
            assert!(!best.is_final(8));
        }
        assert_eq!(
            best.found(),
            Some(Match {
                similarity: 0.8,
                index: 3
            })
        );
    }

    #[test]
    fn nothing_exceeds_one() {
        assert!(Best::above(1.0).is_final(0));
        let mut best = Best::above(0.0);
        best.offer(1.0, 5);
        assert_eq!(
            [4, 5, 6].map(|index| best.is_final(index)),
            [false, true, true]
        );
    }

    proptest! {
        /// Every match above the floor is within all bounds, also if its
        /// similarity is the next float above the floor.
        #[test]
        fn bounds_rule_out_nothing_that_counts(
            common in 1usize..60, left in 0usize..200, right in 0usize..200,
            floor in 0.0..=1.0, near in prop::bool::ANY,
        ) {
            let (left, right) = (left + common, right + common);
            let similarity = f_measure(common, left, right);
            let best = Best::above(if near { similarity.next_down() } else { floor });
            if similarity > best.floor {
                prop_assert!(common >= best.min_common(left + right));
                prop_assert!(right >= best.min_len(left));
                prop_assert!(right <= best.max_len(left, common).unwrap());
            }
            let mut best = Best::above(0.0);
            best.offer(similarity, 1);
            prop_assert!(common >= best.min_common(left + right));
            prop_assert!(right >= best.min_len(left));
            prop_assert!(right <= best.max_len(left, common).unwrap());
        }
    }
}
