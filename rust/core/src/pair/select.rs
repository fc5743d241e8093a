//! Selection of the pairs of all prompts.

use super::answer::{Answer, best_and_worst, order};
use super::columns::Columns;
use super::drops::Drop;
use super::groups::{Groups, Rows};
use super::length_controlled::by_length;
use super::pairs_per_prompt::Pairs;
use super::random::PairSampler;
use super::rules::{Method, Rules};
use super::selected_pairs::Selection;
use crate::Error;

/// Selects pairs of answers to the same prompt. Every prompt gives at least one
/// pair or is counted under one reason.
///
/// # Errors
/// [`Error::UnequalColumns`]; [`Error::InvalidMinMargin`] unless `min_margin`
/// is finite and at least 0; [`Error::ZeroCount`] for `k` or `max_per_prompt`;
/// [`Error::InvalidRho`] unless `rho` is between 0 and 1; [`Error::NoLength`]
/// if length control has neither lengths nor texts.
pub fn select<T: AsRef<str> + Sync>(
    columns: &Columns<T>,
    rules: &Rules,
) -> Result<Selection, Error> {
    columns.check()?;
    rules.check(columns)?;
    let parts = Groups::of(columns.prompt).map(|part| {
        let mut selector = Selector::new(columns, rules);
        part.for_each(|prompt, rows| selector.select_prompt(prompt, rows));
        selector.selection
    });
    Ok(Selection::concat(&parts))
}

/// Selects the pairs of one prompt at a time, with reusable buffers.
struct Selector<'a, T> {
    columns: &'a Columns<'a, T>,
    rules: &'a Rules,
    answers: Vec<Answer>,
    bottom: Vec<Answer>,
    sampler: PairSampler<'a>,
    pairs: Pairs,
    selection: Selection,
}

impl<'a, T: AsRef<str>> Selector<'a, T> {
    fn new(columns: &'a Columns<'a, T>, rules: &'a Rules) -> Self {
        Self {
            columns,
            rules,
            answers: Vec::new(),
            bottom: Vec::new(),
            sampler: PairSampler::default(),
            pairs: Pairs::default(),
            selection: Selection::default(),
        }
    }

    fn select_prompt(&mut self, prompt: i64, rows: Rows<'_>) {
        if let Err(reason) = self.try_select_prompt(prompt, rows) {
            self.selection.drops.count(reason);
        }
    }

    fn try_select_prompt(&mut self, prompt: i64, rows: Rows<'_>) -> Result<(), Drop> {
        let (columns, rules) = (self.columns, self.rules);
        let (mut chosen, mut rejected) = if rules.method == Method::BestWorst {
            best_and_worst(columns, rows, |_| ())?
        } else {
            self.answers.clear();
            best_and_worst(columns, rows, |row| self.answers.push(columns.answer(row)))?
        };
        if chosen.score <= rejected.score {
            return Err(Drop::Tied);
        }
        if let Method::LengthControlled { rho } = rules.method {
            (chosen, rejected) = by_length(columns, &self.answers, chosen, rejected, rho);
        }
        rules.check_margin(&chosen, &rejected)?;
        let (chosen, rejected) = match rules.method {
            Method::BestWorst | Method::LengthControlled { .. } => (chosen.row, rejected.row),
            Method::Random { seed } => self
                .sampler
                .sample(columns, rules, &self.answers, (seed, prompt))
                .ok_or(Drop::SameText)?,
            Method::Margin => {
                let answers = &self.answers;
                self.pairs.collect(columns, rules, answers, answers);
                return self.pairs.move_to(&mut self.selection, rules);
            }
            Method::TopBottom { k } => {
                let top = top_bottom(columns, &mut self.answers, &mut self.bottom, k);
                self.pairs.collect(columns, rules, top, &self.bottom);
                return self.pairs.move_to(&mut self.selection, rules);
            }
        };
        if columns.same_text(chosen, rejected) {
            return Err(Drop::SameText);
        }
        self.selection.push(chosen, rejected);
        Ok(())
    }
}

/// Sorts the `k` best answers that may be chosen to the front of `answers`, and
/// fills `bottom` with the `k` worst ones that may be rejected; returns the
/// best. Both are fewer if there are fewer than 2 `k` answers.
fn top_bottom<'a, T>(
    columns: &Columns<T>,
    answers: &'a mut [Answer],
    bottom: &mut Vec<Answer>,
    k: usize,
) -> &'a [Answer] {
    let k = k.min(answers.len() / 2);
    let may_be_chosen = |answer: &Answer| columns.may_be_chosen(answer.row);
    answers.sort_unstable_by(|one, other| {
        let those_first = may_be_chosen(other).cmp(&may_be_chosen(one));
        those_first.then_with(|| one.best_first(other))
    });
    let count = answers
        .iter()
        .take(k)
        .filter(|one| may_be_chosen(one))
        .count();
    let top = &answers[..count];
    let is_best = |answer: &Answer| top.iter().any(|best| best.row == answer.row);
    let rejectable = answers
        .iter()
        .filter(|one| columns.may_be_rejected(one.row));
    bottom.clear();
    bottom.extend(rejectable);
    bottom.sort_unstable_by(|one, other| {
        let by_score = order(one.score, other.score);
        by_score
            .then_with(|| is_best(one).cmp(&is_best(other)))
            .then_with(|| one.worst_first(other))
    });
    bottom.truncate(k);
    top
}
