//! Selection of preference pairs from scored answers.
//!
//! Of the answers to one prompt the best and the worst become a pair (arXiv
//! 2401.10020, section 2.3), unless another [`Method`] is set. Ties are broken
//! by fixed rules, so the same table gives the same pairs on every machine and
//! with any number of threads. Each prompt gives pairs or is counted under
//! exactly one reason ([`Drops`]).
//!
//! [`mean_scores`] computes the mean score of each answer from its verdicts.

mod answer;
mod columns;
mod drops;
mod groups;
mod length_controlled;
mod means;
mod pairs_per_prompt;
mod positives;
mod random;
mod rules;
mod select;
mod selected_pairs;
#[cfg(test)]
mod tests;

pub use columns::Columns;
pub use drops::{Drop, Drops};
pub use means::{Means, candidate_count, mean_scores, mean_scores_into};
pub use positives::{Positives, positives};
pub use rules::{Method, Rules};
pub use select::select;
pub use selected_pairs::Selection;
