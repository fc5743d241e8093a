//! Several pairs of one prompt, and which of them stay under a cap.

use std::cmp::Ordering;

use super::Drop;
use super::answer::Answer;
use super::columns::Columns;
use super::select::{Rules, Selection};

/// A pair that reaches the margin.
#[derive(Debug, Clone, Copy)]
struct Pair {
    margin: f64,
    chosen: usize,
    rejected: usize,
}

impl Pair {
    /// Orders the largest margin first, then the lowest chosen, then the lowest
    /// rejected row.
    fn order(&self, other: &Self) -> Ordering {
        let by_margin = other.margin.partial_cmp(&self.margin);
        by_margin
            .unwrap_or(Ordering::Equal)
            .then((self.chosen, self.rejected).cmp(&(other.chosen, other.rejected)))
    }
}

/// The pairs of one prompt.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pairs: Vec<Pair>,
    /// How many there were, with those that were left out already.
    found: usize,
}

impl Pairs {
    /// Replaces the pairs by those of a chosen and a rejected answer that differ
    /// enough in score and are not the same text.
    pub fn collect<T: AsRef<str>>(
        &mut self,
        columns: &Columns<T>,
        rules: &Rules,
        chosen: &[Answer],
        rejected: &[Answer],
    ) {
        self.pairs.clear();
        self.found = 0;
        for good in chosen {
            for bad in rejected {
                let margin = good.score - bad.score;
                if rules.reaches(margin) && !columns.same_text(good.row, bad.row) {
                    self.pairs.push(Pair {
                        margin,
                        chosen: good.row,
                        rejected: bad.row,
                    });
                    self.found += 1;
                }
            }
            // The pairs of very many answers need not all be in memory at once.
            self.cut(rules, 4096);
        }
    }

    /// Moves the pairs that stay into `found`.
    pub fn move_to(&mut self, found: &mut Selection, rules: &Rules) -> Result<(), Drop> {
        if self.pairs.is_empty() {
            return Err(Drop::SameText);
        }
        self.cut(rules, 0);
        self.pairs.sort_unstable_by(Pair::order);
        for pair in &self.pairs {
            found.push(pair.chosen, pair.rejected);
        }
        found.over_cap += self.found - self.pairs.len();
        Ok(())
    }

    /// Leaves out what is over the cap, once it is over by `slack`.
    fn cut(&mut self, rules: &Rules, slack: usize) {
        if let Some(cap) = rules.max_per_prompt
            && self.pairs.len() > cap.saturating_add(slack)
        {
            self.pairs.select_nth_unstable_by(cap, Pair::order);
            self.pairs.truncate(cap);
        }
    }
}
