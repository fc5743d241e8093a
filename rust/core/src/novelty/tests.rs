//! The index against the naive rule: every new text with every kept one.

use proptest::prelude::*;

use super::*;

/// The values of Google's `rouge_score` (rougeL, no stemming) for texts of
/// which it sees all words.
#[test]
fn similarities() {
    let cases = [
        ("the cat sat on the mat", "the cat sat on the mat", 1.0, 1.0),
        (
            "the cat sat on the mat",
            "the cat on a mat",
            8.0 / 11.0,
            8.0 / 11.0,
        ),
        ("a b c", "c b a", 1.0 / 3.0, 1.0 / 3.0),
        ("a", "b", 0.0, 0.0),
        ("The CAT!", "the-cat", 1.0, 1.0),
        ("Напиши письмо", "напиши рассказ", 0.5, 0.0),
        ("", "", 1.0, 0.0),
        ("?!", "?!", 1.0, 0.0),
        ("?!", "...", 0.0, 0.0),
        ("", "a", 0.0, 0.0),
        ("a a a", "a", 0.5, 0.5),
    ];
    for (a, b, unicode, rouge_score) in cases {
        for (words, expected) in [(Words::Unicode, unicode), (Words::RougeScore, rouge_score)] {
            assert!(
                (rouge_l(a, b, words) - expected).abs() < 1e-12,
                "{a:?} {b:?}"
            );
            assert_eq!(rouge_l(a, b, words), rouge_l(b, a, words), "{a:?} {b:?}");
            let mut index = NoveltyIndex::new(words);
            index.push(a);
            assert_eq!(index.max_similarity(b), (rouge_l(a, b, words), Some(0)));
        }
    }
}

#[test]
fn an_empty_index_resembles_nothing() {
    let index = NoveltyIndex::default();
    assert!(index.is_empty());
    assert_eq!(index.max_similarity("a"), (0.0, None));
}

#[test]
fn the_earliest_of_equal_texts_is_found() {
    let mut index = NoveltyIndex::default();
    index.extend(&["x y", "a b", "a b", "a c"]);
    assert_eq!(index.len(), 4);
    assert_eq!(index.max_similarity("a b"), (1.0, Some(1)));
    assert_eq!(index.max_similarity("nothing alike"), (0.0, Some(0)));
}

#[test]
fn only_novel_texts_are_added() {
    let mut index = NoveltyIndex::default();
    let texts = [
        "write a poem about the sea",
        "write a poem about the sky",
        "explain tides",
    ];
    let decisions = index.add_novel(&texts, 0.7).unwrap();
    let Decision::Dropped(found) = decisions[1] else {
        panic!("{decisions:?}")
    };
    assert_eq!(
        (decisions[0], decisions[2]),
        (Decision::Kept, Decision::Kept)
    );
    assert_eq!((found.index, index.len()), (0, 2));
    assert!((found.similarity - 5.0 / 6.0).abs() < 1e-12);
}

/// Self-instruct's code drops what is above the threshold.
#[test]
fn the_threshold_itself_is_still_novel() {
    for (threshold, kept) in [(0.5, true), (0.5f64.next_down(), false), (0.51, true)] {
        let mut index = NoveltyIndex::default();
        index.push("a b");
        let decisions = index.add_novel(&["a c"], threshold).unwrap();
        assert_eq!(decisions[0] == Decision::Kept, kept, "{threshold}");
    }
}

#[test]
fn bad_thresholds() {
    let mut index = NoveltyIndex::default();
    for threshold in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let error = index.add_novel(&["a"], threshold).unwrap_err().to_string();
        assert!(
            error.ends_with("use a number from 0 to 1, for example 0.7"),
            "{error}"
        );
    }
    assert!(index.is_empty());
}

/// Longer than the maximum length in postings.
#[test]
fn very_long_texts() {
    let long = |words: usize| (0..words).map(|n| format!("w{n} ")).collect::<String>();
    let texts = [long(70_000), "a b".to_owned(), long(66_000)];
    let mut index = NoveltyIndex::default();
    index.extend(&texts);
    let expected = bound::f_measure(66_000, 66_000, 67_000);
    assert_eq!(index.max_similarity(&long(67_000)), (expected, Some(2)));
    index.sort();
    assert_eq!(index.max_similarity(&texts[2]), (1.0, Some(2)));
    assert_eq!(index.max_similarity(&long(34_000)).1, Some(2));
}

/// Across sortings and blocks.
#[test]
fn many_texts() {
    let texts: Vec<String> = (0..6000)
        .map(|n| format!("text {n} of {}", n % 97))
        .collect();
    let mut index = NoveltyIndex::default();
    index.extend(&texts[..1500]);
    let decisions = index.add_novel(&texts[1000..], 0.8).unwrap();
    for (at, decision) in decisions.iter().enumerate() {
        let repeat = Match {
            similarity: 1.0,
            index: 1000 + at,
        };
        let expected = if at < 500 {
            Decision::Dropped(repeat)
        } else {
            Decision::Kept
        };
        assert_eq!(*decision, expected, "{at}");
    }
    for at in [0, 1, 1499, 1500, 2524, 5999] {
        assert_eq!(index.max_similarity(&texts[at]), (1.0, Some(at)));
    }
    assert_eq!(index.max_similarity("none"), (0.0, Some(0)));
    assert_eq!(index.counts().pairs, (1500..6000).sum::<u64>() + 500 * 1500);
}

/// The most similar text of `kept`, the earliest of equally similar ones.
fn naive_best(kept: &[String], text: &str, words: Words) -> (f64, Option<usize>) {
    let mut best = (0.0, None);
    for (at, other) in kept.iter().enumerate() {
        let similarity = rouge_l(other, text, words);
        if best.1.is_none() || similarity > best.0 {
            best = (similarity, Some(at));
        }
    }
    best
}

/// The naive rule.
fn naive_add(kept: &mut Vec<String>, text: &str, threshold: f64, words: Words) -> Decision {
    let (similarity, found) = naive_best(kept, text, words);
    match found {
        Some(index) if similarity > threshold => Decision::Dropped(Match { similarity, index }),
        _ => {
            kept.push(text.to_owned());
            Decision::Kept
        }
    }
}

/// Short texts of few words, and of words that few texts contain.
fn texts(most: usize) -> impl Strategy<Value = Vec<String>> {
    let word = prop_oneof![6 => "[a-e]", 1 => "[a-e]{2}", 1 => "[Ж写?]"];
    let text = prop::collection::vec(word, 0..14).prop_map(|words| words.join(" "));
    prop::collection::vec(text, 0..most)
}

/// Various thresholds, most of them similarities of short texts.
fn thresholds() -> impl Strategy<Value = f64> {
    prop_oneof![
        2 => Just(0.7),
        1 => Just(0.0),
        1 => Just(1.0),
        2 => 0.0..=1.0,
        6 => (1usize..10, 0usize..9, 0usize..9)
            .prop_map(|(common, a, b)| bound::f_measure(common, common + a, common + b)),
    ]
}

proptest! {
    #[test]
    fn pruning_changes_nothing(
        kept in texts(40), new in texts(45), threshold in thresholds(), sorted_for in thresholds(),
        words in prop_oneof![Just(Words::Unicode), Just(Words::RougeScore)],
    ) {
        let mut index = NoveltyIndex::new(words);
        index.extend(&kept);
        index.threshold = sorted_for;
        index.sort();
        for text in &new {
            prop_assert_eq!(index.max_similarity(text), naive_best(&kept, text, words));
        }
        let mut kept = kept;
        let decisions = index.add_novel(&new, threshold).unwrap();
        for (text, decision) in new.iter().zip(decisions) {
            prop_assert_eq!(decision, naive_add(&mut kept, text, threshold, words), "{:?}", text);
        }
        prop_assert_eq!(index.len(), kept.len());
        for text in &new {
            prop_assert_eq!(index.max_similarity(text), naive_best(&kept, text, words));
        }
    }
}
