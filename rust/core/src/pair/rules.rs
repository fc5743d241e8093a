//! Which pairs are selected: the method, the minimum margin and the cap.

use super::answer::Answer;
use super::columns::Columns;
use super::drops::Drop;
use crate::Error;

/// Scores are often means over several verdicts, so differences are exact only
/// up to rounding: 4.3 - 3.3 is slightly less than 1. A difference up to this
/// much below the minimum margin still reaches it. Any difference above zero is
/// not a tie.
pub(super) const SCORE_TOLERANCE: f64 = 1e-9;

/// Which of the answers to a prompt become pairs.
///
/// The best answer has the highest score; ties are broken by the highest
/// expected score, then by the lowest row. The worst answer has the lowest
/// score; ties are broken by the lowest expected score, then by the lowest row.
/// In both orders an answer without an expected score comes after those that
/// have one. Only an answer that may be chosen is the best, or the chosen one
/// of a pair, and only one that may be rejected the worst, or the rejected one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// The best against the worst (arXiv 2401.10020, section 2.3).
    BestWorst,
    /// The shortest of the good answers against the longest of the bad ones, so
    /// that chosen answers are not simply longer (the length control of
    /// Meta-Rewarding, arXiv 2407.19594).
    ///
    /// With S and s the best and the worst score *of the prompt*, an answer is
    /// good if its score is at least (1 - rho) S + rho s, and bad if it is at
    /// most (1 - rho) s + rho S. Among equally short answers the best is
    /// chosen, among equally long ones the worst is rejected. For rho >= 0.5
    /// the tiers overlap; a prompt whose chosen answer does not have the higher
    /// score is then dropped as tied.
    LengthControlled {
        /// The width of each tier, as a fraction of S - s.
        rho: f64,
    },
    /// All pairs that reach the minimum margin.
    Margin,
    /// One pair, sampled uniformly from those that reach the minimum margin.
    ///
    /// The result depends only on the seed and the prompt's number, not on the
    /// position of its rows. With `mix` the finaliser of SplitMix64 (Steele,
    /// Lea and Flood, "Fast splittable pseudorandom number generators", 2014)
    /// and n pairs ordered by chosen, then rejected row, the pair at index
    /// (mix(mix(seed) + prompt) n) >> 64 is taken, with sums modulo 2^64.
    Random {
        /// The seed.
        seed: u64,
    },
    /// Each of the `k` best against each of the `k` worst answers, for pairs
    /// that reach the minimum margin. Of equally bad answers those that are not
    /// among the best come first. With fewer than 2 `k` answers, the better
    /// half against the worse half (without the middle answer of an odd
    /// number).
    TopBottom {
        /// The number of answers taken from either end.
        k: usize,
    },
}

/// The rules by which pairs are selected.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// The selection method.
    pub method: Method,
    /// The minimum score difference within a pair. Equal scores never form a
    /// pair.
    pub min_margin: f64,
    /// The maximum number of pairs per prompt. Kept are those with the largest
    /// margin (rounded to nine decimals), then the lowest chosen row, then the lowest rejected row.
    pub max_per_prompt: Option<usize>,
}

impl Rules {
    pub(super) fn check<T>(&self, columns: &Columns<T>) -> Result<(), Error> {
        let value = self.min_margin;
        if !(value.is_finite() && value >= 0.0) {
            return Err(Error::InvalidMinMargin { value });
        }
        if self.max_per_prompt == Some(0) {
            return Err(Error::ZeroCount {
                name: "max_per_prompt",
            });
        }
        match self.method {
            Method::TopBottom { k: 0 } => Err(Error::ZeroCount { name: "k" }),
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

    /// Whether a score difference reaches the minimum margin.
    pub(super) fn reaches(&self, margin: f64) -> bool {
        margin > 0.0 && margin >= self.min_margin - SCORE_TOLERANCE
    }

    /// Checks that the scores of two answers differ enough; the error is the
    /// reason.
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
