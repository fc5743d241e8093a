//! Naive implementations of the methods.

use proptest::prelude::*;

use super::*;

/// The pairs of one prompt, or the name of a drop reason.
type Found = Result<Vec<(usize, usize)>, &'static str>;

/// The eligible answers to one prompt, by row.
struct One<'a> {
    table: &'a Table,
    rows: Vec<usize>,
    min_margin: f64,
}

impl One<'_> {
    fn score(&self, row: usize) -> f64 {
        self.table.score[row]
    }

    /// The answers from best to worst.
    fn ranked(&self, sign: f64) -> Vec<usize> {
        let key = |row: usize| {
            let expected = self.table.expected[row];
            let absent = if expected.is_nan() {
                f64::INFINITY
            } else {
                -sign * expected
            };
            (-sign * self.score(row), absent, row as f64)
        };
        let mut rows = self.rows.clone();
        rows.sort_by(|&left, &right| key(left).partial_cmp(&key(right)).unwrap());
        rows
    }

    /// The answers that may be chosen, from best to worst.
    fn choosable(&self) -> Vec<usize> {
        let mut rows = self.ranked(1.0);
        rows.retain(|&row| self.table.choosable(row));
        rows
    }

    /// The answers that may be rejected, from worst to best.
    fn rejectable(&self) -> Vec<usize> {
        let mut rows = self.ranked(-1.0);
        rows.retain(|&row| self.table.rejectable(row));
        rows
    }

    fn reaches(&self, chosen: usize, rejected: usize) -> bool {
        let margin = self.score(chosen) - self.score(rejected);
        margin > 0.0 && margin >= self.min_margin - 1e-9
    }

    fn differ(&self, chosen: usize, rejected: usize) -> bool {
        self.table.texts[chosen].trim() != self.table.texts[rejected].trim()
    }

    fn length(&self, row: usize) -> i64 {
        match &self.table.length {
            Some(length) => length[row],
            None => self.table.texts[row].chars().count() as i64,
        }
    }

    /// The allowed pairs of the two sets, largest margin first.
    fn among(&self, good: &[usize], bad: &[usize]) -> Vec<(usize, usize)> {
        let all = good
            .iter()
            .flat_map(|&one| bad.iter().map(move |&other| (one, other)));
        let mut pairs: Vec<_> = all
            .filter(|&(one, other)| self.reaches(one, other) && self.differ(one, other))
            .filter(|&(one, other)| self.table.choosable(one) && self.table.rejectable(other))
            .collect();
        pairs.sort_unstable();
        pairs.sort_by(|left, right| {
            let margin = |pair: &(usize, usize)| {
                ((self.score(pair.0) - self.score(pair.1)) * 1e9).round_ties_even()
            };
            margin(right).partial_cmp(&margin(left)).unwrap()
        });
        pairs
    }

    fn by_length(&self, rho: f64) -> (usize, usize) {
        let (good, bad) = (self.choosable(), self.rejectable());
        let (best, worst) = (self.score(good[0]), self.score(bad[0]));
        let top = (1.0 - rho) * best + rho * worst - 1e-9;
        let bottom = (1.0 - rho) * worst + rho * best + 1e-9;
        let good = good.into_iter().filter(|&row| self.score(row) >= top);
        let bad = bad.into_iter().filter(|&row| self.score(row) <= bottom);
        (
            good.min_by_key(|&row| self.length(row)).unwrap(),
            bad.min_by_key(|&row| -self.length(row)).unwrap(),
        )
    }

    fn find(&self, prompt: i64, method: Method) -> Found {
        let (best, worst) = (self.choosable(), self.rejectable());
        if best.is_empty() || worst.is_empty() {
            return Err("too_few_usable");
        }
        if self.score(best[0]) <= self.score(worst[0]) {
            return Err("tied");
        }
        let (chosen, rejected) = match method {
            Method::LengthControlled { rho } => self.by_length(rho),
            _ => (best[0], worst[0]),
        };
        if !self.reaches(chosen, rejected) {
            let tied = self.score(chosen) <= self.score(rejected);
            return Err(if tied { "tied" } else { "below_margin" });
        }
        let pairs = match method {
            Method::BestWorst | Method::LengthControlled { .. } => {
                self.among(&[chosen], &[rejected])
            }
            Method::Margin => self.among(&self.rows, &self.rows),
            Method::TopBottom { k } => {
                let k = k.min(self.rows.len() / 2);
                let top: Vec<_> = best.into_iter().take(k).collect();
                let mut bottom = worst;
                bottom.sort_by(|&one, &other| {
                    let key = |row| (self.score(row), f64::from(u8::from(top.contains(&row))));
                    key(one).partial_cmp(&key(other)).unwrap()
                });
                bottom.truncate(k);
                self.among(&top, &bottom)
            }
            Method::Random { seed } => {
                let mut all = self.among(&self.rows, &self.rows);
                all.sort_unstable();
                let drawn = u128::from(mix(mix(seed).wrapping_add(prompt as u64)));
                let at = (drawn * all.len() as u128) >> 64;
                all.get(at as usize).copied().into_iter().collect()
            }
        };
        if pairs.is_empty() {
            Err("same_text")
        } else {
            Ok(pairs)
        }
    }
}

fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn one(table: &Table, prompt: i64, rules: &Rules) -> Found {
    let mut rows: Vec<usize> = (0..table.prompt.len())
        .filter(|&row| table.prompt[row] == prompt && table.score[row].is_finite())
        .collect();
    if rows.len() < 2 {
        return Err("too_few_scored");
    }
    rows.retain(|&row| table.usable[row] && (table.choosable(row) || table.rejectable(row)));
    if rows.len() < 2 {
        return Err("too_few_usable");
    }
    let min_margin = rules.min_margin;
    One {
        table,
        rows,
        min_margin,
    }
    .find(prompt, rules.method)
}

/// Pairs, drops by name, and pairs over the cap.
type All = (Vec<(i64, i64)>, Vec<(&'static str, usize)>, usize);

fn naive(table: &Table, rules: &Rules) -> All {
    let mut seen = Vec::new();
    let (mut pairs, mut over_cap) = (Vec::new(), 0);
    let mut drops = Drops::default().by_name().to_vec();
    for &prompt in &table.prompt {
        if seen.contains(&prompt) {
            continue;
        }
        seen.push(prompt);
        match one(table, prompt, rules) {
            Ok(mut found) => {
                let cap = rules.max_per_prompt.unwrap_or(usize::MAX);
                over_cap += found.len().saturating_sub(cap);
                found.truncate(cap);
                pairs.extend(
                    found
                        .into_iter()
                        .map(|(one, other)| (one as i64, other as i64)),
                );
            }
            Err(reason) => drops.iter_mut().find(|drop| drop.0 == reason).unwrap().1 += 1,
        }
    }
    (pairs, drops, over_cap)
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        2 => Just(NONE),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
        1 => Just(-0.0),
        12 => (0_u8..5).prop_map(|score| f64::from(score) / 2.0),
        3 => -3.0..3.0,
    ]
}

prop_compose! {
    fn table()(
        rows in prop::collection::vec(
            (-2_i64..6, score(), score(), prop::bool::weighted(0.85), "[ab]{0,3} ?", 0_i64..4),
            0..60,
        ),
        prompts in prop_oneof![Just(1_i64), Just(20)],
        sorted: bool,
        has_length: bool,
        masks in prop::collection::vec((prop::bool::weighted(0.7), prop::bool::weighted(0.7)), 60),
        masked: (bool, bool),
    ) -> Table {
        let mut rows = rows;
        if sorted {
            rows.sort_by_key(|row| row.0 % prompts);
        }
        Table {
            prompt: rows.iter().map(|row| row.0 % prompts).collect(),
            score: rows.iter().map(|row| row.1).collect(),
            expected: rows.iter().map(|row| row.2).collect(),
            usable: rows.iter().map(|row| row.3).collect(),
            may_be_chosen: masked.0.then(|| masks[..rows.len()].iter().map(|mask| mask.0).collect()),
            may_be_rejected: masked.1.then(|| masks[..rows.len()].iter().map(|mask| mask.1).collect()),
            length: has_length.then(|| rows.iter().map(|row| row.5).collect()),
            texts: rows.into_iter().map(|row| row.4).collect(),
        }
    }
}

fn method() -> impl Strategy<Value = Method> {
    let rho = prop_oneof![Just(0.0), Just(1.0), Just(0.5), 0.0..=1.0];
    prop_oneof![
        Just(Method::BestWorst),
        Just(Method::Margin),
        any::<u64>().prop_map(|seed| Method::Random { seed }),
        (1_usize..40).prop_map(|k| Method::TopBottom { k }),
        rho.prop_map(|rho| Method::LengthControlled { rho }),
    ]
}

fn part_of(column: Option<&Vec<bool>>, rows: &[usize]) -> Option<Vec<bool>> {
    column.map(|column| rows.iter().map(|&row| column[row]).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_method_agrees_with_the_naive_one(
        table in table(),
        method in method(),
        min_margin in prop_oneof![Just(0.0), Just(0.5), 0.0..3.0],
        max_per_prompt in prop::option::of(1_usize..6),
    ) {
        let rules = Rules { method, min_margin, max_per_prompt };
        let found = table.select(&rules);
        let (expected, drops, over_cap) = naive(&table, &rules);
        prop_assert_eq!(pairs(&found), expected);
        prop_assert_eq!(found.drops.by_name().to_vec(), drops);
        prop_assert_eq!(found.over_cap, over_cap);
        // What the reasons promise: a prompt gives pairs or is counted once.
        let prompts: std::collections::BTreeSet<_> = table.prompt.iter().collect();
        let kept: std::collections::BTreeSet<_> =
            found.chosen.iter().map(|&row| table.prompt[row as usize]).collect();
        prop_assert_eq!(kept.len() + found.drops.total(), prompts.len());
    }

    #[test]
    fn the_sample_does_not_depend_on_other_prompts(table in table(), seed: u64) {
        let rules = rules(Method::Random { seed }, 0.0);
        let all = pairs(&table.select(&rules));
        let mut alone = Vec::new();
        for prompt in -2..6 {
            let rows: Vec<usize> =
                (0..table.prompt.len()).filter(|&row| table.prompt[row] == prompt).collect();
            let part = Table {
                prompt: vec![prompt; rows.len()],
                score: rows.iter().map(|&row| table.score[row]).collect(),
                expected: rows.iter().map(|&row| table.expected[row]).collect(),
                usable: rows.iter().map(|&row| table.usable[row]).collect(),
                may_be_chosen: part_of(table.may_be_chosen.as_ref(), &rows),
                may_be_rejected: part_of(table.may_be_rejected.as_ref(), &rows),
                texts: rows.iter().map(|&row| table.texts[row].clone()).collect(),
                length: None,
            };
            let found = pairs(&part.select(&rules));
            alone.extend(found.iter().map(|&(chosen, rejected)| {
                (rows[chosen as usize] as i64, rows[rejected as usize] as i64)
            }));
        }
        let mut all = all;
        all.sort_unstable();
        alone.sort_unstable();
        prop_assert_eq!(all, alone);
    }
}
