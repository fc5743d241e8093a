//! Choosing preference pairs from scored answers.
//!
//! Of the answers to one prompt the best and the worst become a pair (arXiv
//! 2401.10020, section 2.3). Ties are settled by fixed rules, so the same table
//! gives the same pairs on every machine; and each prompt is either a pair or
//! counted under exactly one reason ([`Drops`]).

mod best_worst;
mod columns;
mod drops;
mod positives;

pub use best_worst::{Selection, best_worst};
pub use columns::Columns;
pub use drops::{Drop, Drops};
pub use positives::{Positives, positives};
