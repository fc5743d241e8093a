//! Choosing preference pairs from scored answers.
//!
//! Of the answers to one prompt the best and the worst become a pair (arXiv
//! 2401.10020, section 2.3), or another [`Method`] chooses. Ties are settled by
//! fixed rules, so the same table gives the same pairs on every machine and on
//! any number of threads; and each prompt gives pairs or is counted under
//! exactly one reason ([`Drops`]).
//!
//! [`mean_scores`] averages the verdicts on each answer beforehand.

mod answer;
mod columns;
mod drops;
mod groups;
mod length_controlled;
mod many;
mod means;
mod positives;
mod random;
mod select;
#[cfg(test)]
mod tests;

pub use columns::Columns;
pub use drops::{Drop, Drops};
pub use means::{Means, candidate_count, mean_scores, mean_scores_into};
pub use positives::{Positives, positives};
pub use select::{Method, Rules, Selection, select};
