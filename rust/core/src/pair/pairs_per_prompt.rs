//! Several pairs per prompt, limited by a cap.

use std::cmp::Ordering;

use super::answer::Answer;
use super::columns::Columns;
use super::drops::Drop;
use super::means::in_units;
use super::rules::Rules;
use super::selected_pairs::Selection;

/// A pair that reaches the margin.
#[derive(Debug, Clone, Copy)]
struct Pair {
    /// In units of 1e-9: the margins 11/3 - 8/3 and 10/3 - 7/3 are equal.
    margin: f64,
    chosen: usize,
    rejected: usize,
}

impl Pair {
    /// Orders by margin (largest first), then by chosen row, then by rejected
    /// row.
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
    /// The number of pairs found, including those already dropped by the cap.
    found: usize,
}

impl Pairs {
    /// Replaces the pairs by all allowed combinations of a chosen and a rejected
    /// answer that reach the margin and are not the same text.
    pub fn collect<T: AsRef<str>>(
        &mut self,
        columns: &Columns<T>,
        rules: &Rules,
        chosen: &[Answer],
        rejected: &[Answer],
    ) {
        self.pairs.clear();
        self.found = 0;
        let is_rejectable = |bad: &&Answer| columns.may_be_rejected(bad.row);
        for good in chosen.iter().filter(|good| columns.may_be_chosen(good.row)) {
            for bad in rejected.iter().filter(is_rejectable) {
                let margin = good.score - bad.score;
                if rules.reaches(margin) && !columns.same_text(good.row, bad.row) {
                    self.pairs.push(Pair {
                        margin: in_units(margin),
                        chosen: good.row,
                        rejected: bad.row,
                    });
                    self.found += 1;
                }
            }
            // Bounds the memory for prompts with very many answers.
            self.cut(rules, 4096);
        }
    }

    /// Appends the pairs within the cap to `selection`.
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

    /// Drops the pairs over the cap once there are more than `slack` of them.
    fn cut(&mut self, rules: &Rules, slack: usize) {
        if let Some(cap) = rules.max_per_prompt
            && self.pairs.len() > cap.saturating_add(slack)
        {
            self.pairs.select_nth_unstable_by(cap, Pair::order);
            self.pairs.truncate(cap);
        }
    }
}
