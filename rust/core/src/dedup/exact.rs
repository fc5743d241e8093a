//! Texts with the same normal form.

use rustc_hash::FxHashMap;

use crate::parallel;
use crate::text::{normal_key_with, normal_text};

/// Minimum number of texts per task.
const MIN_TASK_SIZE: usize = 64;

/// For each text the row of the first text with the same
/// [normal form](normal_text): its own row if it is the first.
///
/// Texts are compared by their [keys](crate::text::normal_key); for equal keys,
/// the normal forms are compared in full.
pub fn exact_duplicates<T: AsRef<str> + Sync>(texts: &[T]) -> Vec<usize> {
    exact_duplicates_by(texts, normal_key_with)
}

/// [`exact_duplicates`] with a custom key, which must be equal for equal normal
/// forms.
fn exact_duplicates_by<T: AsRef<str> + Sync>(
    texts: &[T],
    key: impl Fn(&str, &mut Vec<u8>) -> u128 + Sync,
) -> Vec<usize> {
    let chunks: Vec<&[T]> = texts.chunks(MIN_TASK_SIZE).collect();
    let keys = parallel::map(&chunks, 1, |chunk| {
        let mut buffer = Vec::new();
        let keys = chunk.iter().map(|text| key(text.as_ref(), &mut buffer));
        keys.collect::<Vec<u128>>()
    })
    .concat();
    let mut first_of = FxHashMap::default();
    let first: Vec<usize> = (0..texts.len())
        .map(|row| *first_of.entry(keys[row]).or_insert(row))
        .collect();
    let pairs: Vec<(usize, usize)> = first.iter().copied().zip(0..).collect();
    let confirmed = parallel::map(&pairs, MIN_TASK_SIZE, |(first, row)| {
        is_same(texts, *first, *row)
    });
    if confirmed.iter().all(|same| *same) {
        first
    } else {
        first_of_each_form(texts, &keys)
    }
}

fn is_same<T: AsRef<str>>(texts: &[T], a: usize, b: usize) -> bool {
    let (left, right) = (texts[a].as_ref(), texts[b].as_ref());
    a == b || left == right || normal_text(left) == normal_text(right)
}

/// The result if different normal forms share a key: each key has a list of the
/// first rows of its forms.
fn first_of_each_form<T: AsRef<str>>(texts: &[T], keys: &[u128]) -> Vec<usize> {
    let mut forms: FxHashMap<u128, Vec<usize>> = FxHashMap::default();
    let find_first = |row: usize| {
        let firsts = forms.entry(keys[row]).or_default();
        let known = firsts.iter().find(|first| is_same(texts, **first, row));
        known.copied().unwrap_or_else(|| {
            firsts.push(row);
            row
        })
    };
    (0..texts.len()).map(find_first).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn naive(texts: &[String]) -> Vec<usize> {
        let mut first = HashMap::new();
        let rows = texts.iter().enumerate();
        rows.map(|(row, text)| *first.entry(normal_text(text)).or_insert(row))
            .collect()
    }

    #[test]
    fn a_text_points_to_the_first_of_its_form() {
        let texts = ["A b", "c", " a\tB ", "", "\n", "c ", "ab", "ａ b"];
        assert_eq!(exact_duplicates(&texts), [0, 1, 0, 3, 3, 1, 6, 0]);
        assert!(exact_duplicates::<&str>(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn a_dictionary_of_normal_forms_agrees(
            texts in prop::collection::vec("[aAéÉ \n]{0,3}", 0..300)
        ) {
            prop_assert_eq!(exact_duplicates(&texts), naive(&texts));
        }

        /// Keys that collide for most texts.
        #[test]
        fn different_forms_of_one_key_stay_apart(
            texts in prop::collection::vec("[aAbB ]{0,3}", 0..200), kinds in 1_u128..4
        ) {
            let weak = |text: &str, buffer: &mut Vec<u8>| normal_key_with(text, buffer) % kinds;
            prop_assert_eq!(exact_duplicates_by(&texts, weak), naive(&texts));
        }
    }
}
