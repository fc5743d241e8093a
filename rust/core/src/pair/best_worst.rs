//! The best against the worst answer of each prompt.

use std::cmp::Ordering;

use super::columns::{Columns, groups};
use super::{Drop, Drops};
use crate::Error;

/// Scores are often averages over several verdicts, so their difference is exact
/// only up to rounding: 4.3 - 3.3 is a little less than 1. Differences this much
/// smaller than the least margin still reach it, and none above zero is a tie.
const ROUNDING: f64 = 1e-9;

/// The chosen pairs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The rows of the chosen and of the rejected answer, one entry per pair.
    pub pairs: Vec<(usize, usize)>,
    /// The prompt of each pair, in the order of `pairs`.
    pub kept_prompts: Vec<i64>,
    /// The prompts that gave no pair.
    pub drops: Drops,
}

/// Pairs the best with the worst answer of each prompt, in the order in which
/// the prompts first appear.
///
/// Among equally good answers the one with the higher expected score is the
/// best, among equally bad ones that with the lower expected score the worst; an
/// answer without one comes after those that have one. After that the lower row
/// decides.
///
/// # Errors
/// [`Error::UnequalColumns`], or [`Error::InvalidMinMargin`] unless `min_margin`
/// is finite and at least 0.
pub fn best_worst<T: AsRef<str>>(
    columns: &Columns<T>,
    min_margin: f64,
) -> Result<Selection, Error> {
    columns.check()?;
    if !(min_margin.is_finite() && min_margin >= 0.0) {
        return Err(Error::InvalidMinMargin { value: min_margin });
    }
    let mut selection = Selection::default();
    for (prompt, rows) in groups(columns.prompt) {
        match pair_of(columns, &rows, min_margin) {
            Ok(pair) => {
                selection.pairs.push(pair);
                selection.kept_prompts.push(prompt);
            }
            Err(reason) => selection.drops.count(reason),
        }
    }
    Ok(selection)
}

fn pair_of<T: AsRef<str>>(
    columns: &Columns<T>,
    rows: &[usize],
    min_margin: f64,
) -> Result<(usize, usize), Drop> {
    let scored = rows.iter().filter(|&&row| columns.is_scored(row)).count();
    if scored < 2 {
        return Err(Drop::TooFewScored);
    }
    let mut taking_part = rows.iter().copied().filter(|&row| columns.takes_part(row));
    let (Some(first), Some(second)) = (taking_part.next(), taking_part.next()) else {
        return Err(Drop::TooFewUsable);
    };
    let (mut best, mut worst) = (first, first);
    for row in std::iter::once(second).chain(taking_part) {
        if compare(columns, row, best, f64::NEG_INFINITY) == Ordering::Greater {
            best = row;
        }
        if compare(columns, row, worst, f64::INFINITY) == Ordering::Less {
            worst = row;
        }
    }
    let margin = columns.score[best] - columns.score[worst];
    if margin <= 0.0 {
        Err(Drop::Tied)
    } else if margin < min_margin - ROUNDING {
        Err(Drop::BelowMargin)
    } else if columns.trimmed(best) == columns.trimmed(worst) {
        Err(Drop::SameText)
    } else {
        Ok((best, worst))
    }
}

/// Compares two rows by score, then by expected score, where `absent` stands for
/// an expected score that is not there.
fn compare<T>(columns: &Columns<T>, left: usize, right: usize, absent: f64) -> Ordering {
    let expected = |row: usize| {
        let value = columns.expected[row];
        if value.is_nan() { absent } else { value }
    };
    let by_score = columns.score[left].partial_cmp(&columns.score[right]);
    let by_expected = || expected(left).partial_cmp(&expected(right));
    // Neither side is NaN, so both comparisons have an answer.
    by_score
        .unwrap_or(Ordering::Equal)
        .then_with(|| by_expected().unwrap_or(Ordering::Equal))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NONE: f64 = f64::NAN;

    /// Score, expected score, usable.
    type Row = (f64, f64, bool);

    /// Chooses among answers to one prompt that all differ.
    fn select(rows: &[Row], min_margin: f64) -> Selection {
        let texts: Vec<String> = (0..rows.len()).map(|row| row.to_string()).collect();
        let columns = Columns {
            prompt: &vec![0; rows.len()],
            score: &rows.iter().map(|row| row.0).collect::<Vec<_>>(),
            expected: &rows.iter().map(|row| row.1).collect::<Vec<_>>(),
            usable: &rows.iter().map(|row| row.2).collect::<Vec<_>>(),
            texts: &texts,
        };
        best_worst(&columns, min_margin).unwrap()
    }

    #[test]
    fn ties_are_settled() {
        let cases: [(&[Row], (usize, usize)); 8] = [
            (
                &[(1.0, NONE, true), (5.0, NONE, true), (3.0, NONE, true)],
                (1, 0),
            ),
            (
                &[(5.0, NONE, true), (5.0, NONE, true), (1.0, NONE, true)],
                (0, 2),
            ),
            (
                &[(5.0, 4.1, true), (5.0, 4.9, true), (1.0, NONE, true)],
                (1, 2),
            ),
            (
                &[(5.0, NONE, true), (5.0, 0.1, true), (1.0, NONE, true)],
                (1, 2),
            ),
            (
                &[(1.0, 1.5, true), (1.0, 1.1, true), (5.0, NONE, true)],
                (2, 1),
            ),
            (
                &[(1.0, NONE, true), (1.0, 9.0, true), (5.0, NONE, true)],
                (2, 1),
            ),
            (
                &[(1.0, 2.0, true), (1.0, 2.0, true), (5.0, NONE, true)],
                (2, 0),
            ),
            (
                &[
                    (9.0, NONE, false),
                    (4.0, NONE, true),
                    (3.0, NONE, true),
                    (0.0, NONE, false),
                ],
                (1, 2),
            ),
        ];
        for (rows, expected) in cases {
            assert_eq!(select(rows, 0.0).pairs, [expected], "{rows:?}");
        }
    }

    #[test]
    fn every_drop_has_its_reason() {
        let cases: [(&[Row], f64, &str); 9] = [
            (&[(1.0, NONE, true)], 0.0, "too_few_scored"),
            (
                &[(1.0, NONE, true), (NONE, NONE, true)],
                0.0,
                "too_few_scored",
            ),
            (
                &[(1.0, NONE, true), (f64::INFINITY, NONE, true)],
                0.0,
                "too_few_scored",
            ),
            (
                &[(1.0, NONE, true), (NONE, NONE, false)],
                0.0,
                "too_few_scored",
            ),
            (
                &[(1.0, NONE, true), (2.0, NONE, false)],
                0.0,
                "too_few_usable",
            ),
            (
                &[(1.0, NONE, false), (2.0, NONE, false)],
                0.0,
                "too_few_usable",
            ),
            (&[(2.0, 1.0, true), (2.0, 3.0, true)], 0.0, "tied"),
            (&[(2.0, NONE, true), (2.0, NONE, true)], 1.0, "tied"),
            (&[(2.0, NONE, true), (2.5, NONE, true)], 1.0, "below_margin"),
        ];
        for (rows, min_margin, reason) in cases {
            let drops = select(rows, min_margin).drops;
            let named: Vec<_> = drops
                .by_name()
                .into_iter()
                .filter(|drop| drop.1 > 0)
                .collect();
            assert_eq!(named, [(reason, 1)], "{rows:?}");
        }
    }

    #[test]
    fn a_margin_is_reached_up_to_rounding() {
        assert_eq!(
            select(&[(4.3, NONE, true), (3.3, NONE, true)], 1.0).pairs,
            [(0, 1)]
        );
    }

    #[test]
    fn equal_texts_make_no_pair() {
        let columns = Columns {
            prompt: &[0, 0],
            score: &[1.0, 2.0],
            expected: &[NONE, NONE],
            usable: &[true, true],
            texts: &["same", " same\n"],
        };
        assert_eq!(best_worst(&columns, 0.0).unwrap().drops.same_text, 1);
    }

    #[test]
    fn a_margin_must_be_a_distance() {
        let columns: Columns<&str> = Columns {
            prompt: &[],
            score: &[],
            expected: &[],
            usable: &[],
            texts: &[],
        };
        for margin in [-1.0, f64::NAN, f64::INFINITY] {
            assert!(best_worst(&columns, margin).is_err(), "{margin}");
        }
        assert_eq!(best_worst(&columns, 0.0).unwrap(), Selection::default());
    }

    fn score() -> impl Strategy<Value = f64> {
        prop_oneof![1 => Just(NONE), 4 => (0u8..4).prop_map(f64::from)]
    }

    proptest! {
        #[test]
        fn every_prompt_is_a_pair_or_one_drop(
            rows in prop::collection::vec((0i64..6, score(), score(), any::<bool>(), "[ab] ?"), 0..40),
            min_margin in 0.0..3.0,
        ) {
            let prompt: Vec<_> = rows.iter().map(|row| row.0).collect();
            let score: Vec<_> = rows.iter().map(|row| row.1).collect();
            let expected: Vec<_> = rows.iter().map(|row| row.2).collect();
            let usable: Vec<_> = rows.iter().map(|row| row.3).collect();
            let texts: Vec<_> = rows.iter().map(|row| row.4.as_str()).collect();
            let columns = Columns { prompt: &prompt, score: &score, expected: &expected, usable: &usable, texts: &texts };
            let selection = best_worst(&columns, min_margin).unwrap();

            prop_assert_eq!(selection.pairs.len() + selection.drops.total(), groups(&prompt).len());
            prop_assert_eq!(selection.pairs.len(), selection.kept_prompts.len());
            for (&(chosen, rejected), &id) in selection.pairs.iter().zip(&selection.kept_prompts) {
                prop_assert_eq!((prompt[chosen], prompt[rejected]), (id, id));
                prop_assert!(score[chosen] - score[rejected] >= min_margin - ROUNDING);
                for row in (0..rows.len()).filter(|&row| prompt[row] == id && columns.takes_part(row)) {
                    prop_assert!(score[rejected] <= score[row] && score[row] <= score[chosen]);
                }
            }
        }
    }
}
