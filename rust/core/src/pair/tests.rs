//! Every method against a naive implementation, and the rules of ties, drops
//! and caps.

mod naive;
mod rules;

use super::*;

const NONE: f64 = f64::NAN;

/// A table that owns its columns.
#[derive(Debug, Clone, Default)]
struct Table {
    prompt: Vec<i64>,
    score: Vec<f64>,
    expected: Vec<f64>,
    usable: Vec<bool>,
    may_be_chosen: Option<Vec<bool>>,
    may_be_rejected: Option<Vec<bool>>,
    texts: Vec<String>,
    length: Option<Vec<i64>>,
}

impl Table {
    /// Answers to one prompt that all differ, by score, expected score and
    /// whether they are usable.
    fn of(rows: &[(f64, f64, bool)]) -> Self {
        Self {
            prompt: vec![0; rows.len()],
            score: rows.iter().map(|row| row.0).collect(),
            expected: rows.iter().map(|row| row.1).collect(),
            usable: rows.iter().map(|row| row.2).collect(),
            may_be_chosen: None,
            may_be_rejected: None,
            texts: (0..rows.len()).map(|row| row.to_string()).collect(),
            length: None,
        }
    }

    /// Usable answers to one prompt, by score alone.
    fn scored(scores: &[f64]) -> Self {
        Self::of(
            &scores
                .iter()
                .map(|&score| (score, NONE, true))
                .collect::<Vec<_>>(),
        )
    }

    fn columns(&self) -> Columns<'_, String> {
        Columns {
            prompt: &self.prompt,
            score: &self.score,
            expected: Some(&self.expected),
            usable: Some(&self.usable),
            may_be_chosen: self.may_be_chosen.as_deref(),
            may_be_rejected: self.may_be_rejected.as_deref(),
            texts: Some(&self.texts),
            length: self.length.as_deref(),
        }
    }

    fn may(allowed: Option<&Vec<bool>>, row: usize) -> bool {
        allowed.is_none_or(|allowed| allowed[row])
    }

    fn choosable(&self, row: usize) -> bool {
        Self::may(self.may_be_chosen.as_ref(), row)
    }

    fn rejectable(&self, row: usize) -> bool {
        Self::may(self.may_be_rejected.as_ref(), row)
    }

    fn select(&self, rules: &Rules) -> Selection {
        select(&self.columns(), rules).unwrap()
    }
}

const fn rules(method: Method, min_margin: f64) -> Rules {
    Rules {
        method,
        min_margin,
        max_per_prompt: None,
    }
}

const METHODS: [Method; 5] = [
    Method::BestWorst,
    Method::LengthControlled { rho: 0.1 },
    Method::Margin,
    Method::Random { seed: 1 },
    Method::TopBottom { k: 2 },
];

fn pairs(found: &Selection) -> Vec<(i64, i64)> {
    let chosen = found.chosen.iter().copied();
    chosen.zip(found.rejected.iter().copied()).collect()
}
