//! The chosen pairs.

use super::drops::Drops;

/// The chosen pairs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The row of the chosen answer of each pair. Prompts are in order of first
    /// appearance, the pairs of a prompt in the order of
    /// [`Rules::max_per_prompt`](super::Rules::max_per_prompt).
    pub chosen: Vec<i64>,
    /// The row of the rejected answer of each pair.
    pub rejected: Vec<i64>,
    /// The number of prompts without a pair, by reason.
    pub drops: Drops,
    /// The number of pairs dropped by
    /// [`Rules::max_per_prompt`](super::Rules::max_per_prompt).
    pub over_cap: usize,
}

impl Selection {
    pub(super) fn push(&mut self, chosen: usize, rejected: usize) {
        self.chosen.push(chosen as i64);
        self.rejected.push(rejected as i64);
    }

    pub(super) fn concat(parts: &[Self]) -> Self {
        let pairs = parts.iter().map(|part| part.chosen.len()).sum();
        let mut all = Self {
            chosen: Vec::with_capacity(pairs),
            rejected: Vec::with_capacity(pairs),
            ..Self::default()
        };
        for part in parts {
            all.chosen.extend_from_slice(&part.chosen);
            all.rejected.extend_from_slice(&part.rejected);
            all.drops.add(&part.drops);
            all.over_cap += part.over_cap;
        }
        all
    }
}
