//! Tables of cases.

use super::*;

/// Score, expected score, usable.
type Row = (f64, f64, bool);

#[test]
fn equal_margins_are_in_the_order_of_the_rows() {
    // As floating-point numbers, 4.1 - 3.1 is less than 4.3 - 3.3.
    let table = Table::scored(&[3.1, 4.1, 3.3, 4.3]);
    let found = table.select(&rules(Method::Margin, 0.9));
    assert_eq!(pairs(&found), [(3, 0), (1, 0), (3, 2)]);
}

#[test]
fn ties_are_broken() {
    let cases: [(&[Row], (i64, i64)); 8] = [
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
        for method in [Method::BestWorst, Method::TopBottom { k: 1 }] {
            let found = Table::of(rows).select(&rules(method, 0.0));
            assert_eq!(pairs(&found), [expected], "{rows:?}");
        }
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
        for method in METHODS {
            let found = Table::of(rows).select(&rules(method, min_margin));
            let drops = found.drops.by_name();
            let named: Vec<_> = drops.into_iter().filter(|drop| drop.1 > 0).collect();
            assert_eq!(named, [(reason, 1)], "{method:?} {rows:?}");
            assert_eq!((found.chosen.len(), found.over_cap), (0, 0));
        }
    }
}

#[test]
fn a_margin_is_reached_up_to_rounding() {
    for method in METHODS {
        let found = Table::scored(&[4.3, 3.3]).select(&rules(method, 1.0));
        assert_eq!(pairs(&found), [(0, 1)], "{method:?}");
    }
}

#[test]
fn equal_texts_make_no_pair() {
    let mut table = Table::scored(&[1.0, 2.0]);
    table.texts = vec!["same".into(), " same\n".into()];
    for method in METHODS {
        let found = table.select(&rules(method, 0.0));
        assert_eq!(
            (found.chosen.len(), found.drops.same_text),
            (0, 1),
            "{method:?}"
        );
        let unseen = Columns {
            texts: None,
            length: Some(&[1, 1]),
            ..table.columns()
        };
        let found = select(&unseen, &rules(method, 0.0)).unwrap();
        assert_eq!(pairs(&found), [(1, 0)], "{method:?}");
    }
    // Another pair takes the place of one of equal texts where a method has several.
    let mut table = Table::scored(&[1.0, 2.0, 3.0]);
    table.texts[2] = table.texts[0].clone();
    assert_eq!(
        table.select(&rules(Method::BestWorst, 0.0)).drops.same_text,
        1
    );
    let found = table.select(&rules(Method::Margin, 0.0));
    assert_eq!(pairs(&found), [(1, 0), (2, 1)]);
    let found = table.select(&rules(Method::Margin, 1.5));
    assert_eq!((found.chosen.len(), found.drops.same_text), (0, 1));
}

#[test]
fn all_pairs_above_the_margin() {
    let table = Table::scored(&[2.0, 5.0, NONE, 4.0, 2.0]);
    let found = table.select(&rules(Method::Margin, 0.0));
    assert_eq!(pairs(&found), [(1, 0), (1, 4), (3, 0), (3, 4), (1, 3)]);
    let found = table.select(&rules(Method::Margin, 2.0));
    assert_eq!(pairs(&found), [(1, 0), (1, 4), (3, 0), (3, 4)]);
    let capped = Rules {
        max_per_prompt: Some(3),
        ..rules(Method::Margin, 0.0)
    };
    let found = table.select(&capped);
    assert_eq!(pairs(&found), [(1, 0), (1, 4), (3, 0)]);
    assert_eq!(found.over_cap, 2);
}

#[test]
fn a_cap_holds_for_very_many_pairs() {
    let scores: Vec<f64> = (0..300).map(|row| f64::from(row * 37 % 101)).collect();
    let table = Table::scored(&scores);
    let all = table.select(&rules(Method::Margin, 0.0));
    let capped = Rules {
        max_per_prompt: Some(70),
        ..rules(Method::Margin, 0.0)
    };
    let found = table.select(&capped);
    assert_eq!(pairs(&found), pairs(&all)[..70]);
    assert_eq!(found.over_cap, all.chosen.len() - 70);
}

#[test]
fn the_best_few_against_the_worst_few() {
    let scores = [3.0, 0.0, 5.0, 1.0, 4.0];
    let cases: [(usize, &[(i64, i64)]); 4] = [
        (1, &[(2, 1)]),
        (2, &[(2, 1), (2, 3), (4, 1), (4, 3)]),
        (3, &[(2, 1), (2, 3), (4, 1), (4, 3)]),
        (usize::MAX, &[(2, 1), (2, 3), (4, 1), (4, 3)]),
    ];
    for (k, expected) in cases {
        let found = Table::scored(&scores).select(&rules(Method::TopBottom { k }, 0.0));
        assert_eq!(pairs(&found), expected, "{k}");
    }
    // Equal scores occur on both sides, and never form a pair.
    let found =
        Table::scored(&[1.0, 1.0, 1.0, 2.0]).select(&rules(Method::TopBottom { k: 2 }, 0.0));
    assert_eq!(pairs(&found), [(3, 1), (3, 2)]);
}

#[test]
fn short_answers_against_long_ones() {
    // Scores and lengths; a range of 10, so a tier is as wide as 10 rho.
    let (scores, lengths) = ([0.0, 1.0, 4.0, 9.0, 10.0, 10.0], [5, 50, 99, 10, 20, 15]);
    let cases = [
        (0.0, 0.0, Some((5, 0))),
        (0.09, 0.0, Some((5, 0))),
        (0.1, 0.0, Some((3, 1))),
        (0.4, 0.0, Some((3, 2))),
        (0.4, 6.0, None),
        // The shortest of all is the worst, and the longest is better.
        (1.0, 0.0, None),
    ];
    for (rho, min_margin, expected) in cases {
        let mut table = Table::scored(&scores);
        table.length = Some(lengths.to_vec());
        let found = table.select(&rules(Method::LengthControlled { rho }, min_margin));
        assert_eq!(
            pairs(&found),
            expected.into_iter().collect::<Vec<_>>(),
            "{rho}"
        );
        let tied = usize::from(expected.is_none() && min_margin == 0.0);
        assert_eq!(found.drops.tied, tied, "{rho}");
        assert_eq!(
            found.drops.total(),
            usize::from(expected.is_none()),
            "{rho}"
        );
    }
}

#[test]
fn tiers_reach_over_any_range() {
    for scores in [[1e308, -1e308], [f64::MAX, f64::MIN], [1e20, 1e19]] {
        for rho in [0.0, 0.1, 0.3] {
            let found =
                Table::scored(&scores).select(&rules(Method::LengthControlled { rho }, 0.0));
            assert_eq!(pairs(&found), [(0, 1)], "{scores:?} {rho}");
        }
    }
}

#[test]
fn every_pair_is_sampled_about_equally_often() {
    // 4 + 1 pairs, without the tied one; 5 000 prompts.
    let scores = [1.0, 2.0, 3.0, 2.0];
    let mut table = Table::default();
    for prompt in 0..5000 {
        let one = Table::scored(&scores);
        table.prompt.extend([prompt; 4]);
        table.score.extend(one.score);
        table.expected.extend(one.expected);
        table.usable.extend(one.usable);
        table.texts.extend(one.texts);
    }
    let found = table.select(&rules(Method::Random { seed: 3 }, 0.0));
    let mut counts = std::collections::BTreeMap::new();
    for (chosen, rejected) in pairs(&found) {
        assert_eq!(chosen / 4, rejected / 4);
        *counts.entry((chosen % 4, rejected % 4)).or_insert(0_u32) += 1;
    }
    let drawn: Vec<_> = counts.keys().copied().collect();
    assert_eq!(drawn, [(1, 0), (2, 0), (2, 1), (2, 3), (3, 0)]);
    // 1 000 each; six standard deviations of a binomial are 170.
    assert!(
        counts.values().all(|count| count.abs_diff(1000) < 170),
        "{counts:?}"
    );
    let other = table.select(&rules(Method::Random { seed: 4 }, 0.0));
    assert_ne!(pairs(&found), pairs(&other));
}

#[test]
fn arguments_are_checked() {
    let table = Table::scored(&[1.0, 2.0]);
    let columns = Columns {
        texts: None,
        ..table.columns()
    };
    let with = |method, min_margin, max_per_prompt| Rules {
        method,
        min_margin,
        max_per_prompt,
    };
    let long = |rho| Method::LengthControlled { rho };
    let cases = [
        (with(Method::BestWorst, -1.0, None), "min_margin is -1"),
        (with(Method::Margin, NONE, None), "min_margin is NaN"),
        (
            with(Method::Margin, f64::INFINITY, None),
            "min_margin is inf",
        ),
        (
            with(Method::Margin, 0.0, Some(0)),
            "max_per_prompt is 0; use a whole number",
        ),
        (
            with(Method::TopBottom { k: 0 }, 0.0, None),
            "k is 0; use a whole number",
        ),
        (
            with(long(-0.1), 0.0, None),
            "rho is -0.1; use a number from 0 to 1",
        ),
        (with(long(1.1), 0.0, None), "rho is 1.1"),
        (with(long(NONE), 0.0, None), "rho is NaN"),
        (with(long(0.1), 0.0, None), "pass `texts` or `length`"),
    ];
    for (rules, message) in cases {
        let error = select(&columns, &rules).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    for method in METHODS {
        let nothing = Table::default().select(&rules(method, 0.0));
        assert_eq!(nothing, Selection::default());
    }
}
