//! Choosing the pairs of all prompts.

use super::answer::{Answer, survey};
use super::columns::Columns;
use super::groups::{Groups, Rows};
use super::length_controlled::by_length;
use super::many::Pairs;
use super::random::Draw;
use super::{Drop, Drops};
use crate::Error;

/// Scores are often averages over several verdicts, so their difference is exact
/// only up to rounding: 4.3 - 3.3 is a little less than 1. Differences this much
/// smaller than the least margin still reach it, and none above zero is a tie.
pub(super) const ROUNDING: f64 = 1e-9;

/// Which of the answers to a prompt become pairs.
///
/// Everywhere the best answer is the one of the highest score, then of the
/// highest expected score, then of the lowest row; the worst that of the lowest
/// score, then of the lowest expected score, then of the lowest row. An answer
/// without an expected score comes after those that have one, both ways.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// The best against the worst (arXiv 2401.10020, section 2.3).
    BestWorst,
    /// The shortest of the good answers against the longest of the bad ones, so
    /// that what is chosen is not simply longer (the length control of
    /// Meta-Rewarding, arXiv 2407.19594).
    ///
    /// With S and s the best and the worst score *of the prompt*, an answer is
    /// good from (1 - rho) S + rho s on, and bad up to (1 - rho) s + rho S. Of
    /// equally short ones the best is chosen, of equally long ones the worst is
    /// rejected. From rho = 0.5 on the tiers overlap; a prompt whose chosen
    /// answer then does not have the higher score is dropped as tied.
    LengthControlled {
        /// The width of either tier, as a share of the range S - s.
        rho: f64,
    },
    /// All pairs that reach the least margin.
    Margin,
    /// One of the pairs that reach the least margin, each as likely as another.
    ///
    /// The draw depends on the seed and on the number of the prompt only, not on
    /// where its rows are: with `mix` the finaliser of SplitMix64 (Steele, Lea
    /// and Flood, "Fast splittable pseudorandom number generators", 2014), of n
    /// pairs, ordered by the chosen and then by the rejected row, it takes the
    /// pair at (mix(mix(seed) + prompt) n) >> 64, sums modulo 2^64.
    Random {
        /// The seed.
        seed: u64,
    },
    /// Each of the `k` best against each of the `k` worst, as far as they reach
    /// the least margin. With fewer than 2 `k` answers it is the better against
    /// the worse half (of an odd number, without the one in the middle).
    TopBottom {
        /// How many answers are taken from either end.
        k: usize,
    },
}

/// What decides which pairs are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Which answers become pairs.
    pub method: Method,
    /// The least difference of the scores in a pair. Equal scores never make
    /// one.
    pub min_margin: f64,
    /// At most so many pairs per prompt: those of the largest margin, then of
    /// the lowest chosen, then of the lowest rejected row.
    pub max_per_prompt: Option<usize>,
}

impl Rules {
    fn check<T>(&self, columns: &Columns<T>) -> Result<(), Error> {
        let value = self.min_margin;
        if !(value.is_finite() && value >= 0.0) {
            return Err(Error::InvalidMinMargin { value });
        }
        if self.max_per_prompt == Some(0) {
            return Err(Error::ZeroCount {
                what: "max_per_prompt",
            });
        }
        match self.method {
            Method::TopBottom { k: 0 } => Err(Error::ZeroCount { what: "k" }),
            Method::LengthControlled { rho } if !(0.0..=1.0).contains(&rho) => {
                Err(Error::InvalidRho { value: rho })
            }
            Method::LengthControlled { .. }
                if columns.length.is_none() && columns.texts.is_none() =>
            {
                Err(Error::NoLength)
            }
            _ => Ok(()),
        }
    }

    /// Whether a difference of scores is large enough.
    pub(super) fn reaches(&self, margin: f64) -> bool {
        margin > 0.0 && margin >= self.min_margin - ROUNDING
    }

    /// Why two answers do not differ enough in score.
    pub(super) fn check_margin(&self, chosen: &Answer, rejected: &Answer) -> Result<(), Drop> {
        let margin = chosen.score - rejected.score;
        if self.reaches(margin) {
            Ok(())
        } else if margin <= 0.0 {
            Err(Drop::Tied)
        } else {
            Err(Drop::BelowMargin)
        }
    }
}

/// The chosen pairs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The row of the chosen answer of each pair. Prompts are in the order in
    /// which they first appear, the pairs of one prompt in that of
    /// [`Rules::max_per_prompt`].
    pub chosen: Vec<i64>,
    /// The row of the rejected answer of each pair.
    pub rejected: Vec<i64>,
    /// The prompts that gave no pair.
    pub drops: Drops,
    /// How many pairs more there would have been without
    /// [`Rules::max_per_prompt`].
    pub over_cap: usize,
}

impl Selection {
    pub(super) fn push(&mut self, chosen: usize, rejected: usize) {
        self.chosen.push(chosen as i64);
        self.rejected.push(rejected as i64);
    }

    fn concat(parts: &[Self]) -> Self {
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

/// Chooses pairs of answers to the same prompt. Every prompt gives at least one
/// pair or is counted under one reason.
///
/// # Errors
/// [`Error::UnequalColumns`]; [`Error::InvalidMinMargin`] unless `min_margin` is
/// finite and at least 0; [`Error::ZeroCount`] for `k` or `max_per_prompt`;
/// [`Error::InvalidRho`] unless `rho` is between 0 and 1; [`Error::NoLength`]
/// where length control has neither lengths nor texts.
pub fn select<T: AsRef<str> + Sync>(
    columns: &Columns<T>,
    rules: &Rules,
) -> Result<Selection, Error> {
    columns.check()?;
    rules.check(columns)?;
    let parts = Groups::of(columns.prompt).map(|part| {
        let mut chooser = Chooser::new(columns, rules);
        part.for_each(|prompt, rows| chooser.choose(prompt, rows));
        chooser.found
    });
    Ok(Selection::concat(&parts))
}

/// Chooses the pairs of one prompt after the other, with buffers that are used
/// again.
struct Chooser<'a, T> {
    columns: &'a Columns<'a, T>,
    rules: &'a Rules,
    answers: Vec<Answer>,
    draw: Draw<'a>,
    pairs: Pairs,
    found: Selection,
}

impl<'a, T: AsRef<str>> Chooser<'a, T> {
    fn new(columns: &'a Columns<'a, T>, rules: &'a Rules) -> Self {
        Self {
            columns,
            rules,
            answers: Vec::new(),
            draw: Draw::default(),
            pairs: Pairs::default(),
            found: Selection::default(),
        }
    }

    fn choose(&mut self, prompt: i64, rows: Rows<'_>) {
        if let Err(reason) = self.try_choose(prompt, rows) {
            self.found.drops.count(reason);
        }
    }

    fn try_choose(&mut self, prompt: i64, rows: Rows<'_>) -> Result<(), Drop> {
        let (columns, rules) = (self.columns, self.rules);
        let (mut chosen, mut rejected) = if rules.method == Method::BestWorst {
            survey(columns, rows, |_| ())?
        } else {
            self.answers.clear();
            survey(columns, rows, |row| self.answers.push(columns.answer(row)))?
        };
        if let Method::LengthControlled { rho } = rules.method {
            (chosen, rejected) = by_length(columns, &self.answers, chosen, rejected, rho);
        }
        rules.check_margin(&chosen, &rejected)?;
        let (chosen, rejected) = match rules.method {
            Method::BestWorst | Method::LengthControlled { .. } => (chosen.row, rejected.row),
            Method::Random { seed } => self
                .draw
                .pair(columns, rules, &self.answers, (seed, prompt))
                .ok_or(Drop::SameText)?,
            Method::Margin => {
                let answers = &self.answers;
                self.pairs.collect(columns, rules, answers, answers);
                return self.pairs.move_to(&mut self.found, rules);
            }
            Method::TopBottom { k } => {
                let (top, bottom) = top_bottom(&mut self.answers, k);
                self.pairs.collect(columns, rules, top, bottom);
                return self.pairs.move_to(&mut self.found, rules);
            }
        };
        if columns.same_text(chosen, rejected) {
            return Err(Drop::SameText);
        }
        self.found.push(chosen, rejected);
        Ok(())
    }
}

/// The `k` best and, of the others, the `k` worst answers, or as many as there
/// are of either.
fn top_bottom(answers: &mut [Answer], k: usize) -> (&[Answer], &[Answer]) {
    let k = k.min(answers.len() / 2);
    answers.sort_unstable_by(Answer::best_first);
    let (top, others) = answers.split_at_mut(k);
    others.sort_unstable_by(Answer::worst_first);
    (top, &others[..k])
}
