//! Keys under which trivially different texts are equal.

use unicode_normalization::UnicodeNormalization;
use xxhash_rust::xxh3::xxh3_128;

/// The text with compatibility characters unified (NFKC, Unicode Annex 15), in
/// lower case, and every run of white space as one space.
///
/// NFKC runs again after lower-casing because lower-casing can take a text out
/// of normal form (`İ` becomes `i` and a combining dot).
pub fn normal_text(text: &str) -> String {
    let unified: String = text.nfkc().collect();
    let lower: String = unified.to_lowercase().nfkc().collect();
    let mut normal = String::with_capacity(lower.len());
    for word in lower.split_whitespace() {
        if !normal.is_empty() {
            normal.push(' ');
        }
        normal.push_str(word);
    }
    normal
}

/// A 128-bit key of [`normal_text`]: XXH3 over its UTF-8 bytes, so the key is
/// the same on every machine and in every release. Two texts with one key are
/// duplicates for all practical purposes; XXH3 does not resist an adversary.
pub fn normal_key(text: &str) -> u128 {
    xxh3_128(normal_text(text).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn equal_texts_share_a_key() {
        let cases = [
            ("Hello  World", "hello world"),
            ("\t hello\n\nworld \r\n", "hello world"),
            ("ＡＢＣ １２", "abc 12"),
            ("ﬁne", "fine"),
            ("cafe\u{301}", "CAFÉ"),
            ("a\u{a0}b\u{3000}c", "a b c"),
            ("ΟΔΟΣ", "οδος"),
            ("", " \n"),
        ];
        for (left, right) in cases {
            assert_eq!(normal_key(left), normal_key(right), "{left:?} {right:?}");
        }
    }

    #[test]
    fn different_texts_have_different_keys() {
        let cases = [("ab", "a b"), ("a.", "a"), ("é", "e"), ("", "a")];
        for (left, right) in cases {
            assert_ne!(normal_key(left), normal_key(right), "{left:?} {right:?}");
        }
    }

    /// Stored keys must stay comparable between releases.
    #[test]
    fn the_key_is_stable() {
        assert_eq!(normal_key(""), 0x99aa_06d3_0147_98d8_6001_c324_468d_497f);
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text in "\\PC*") {
            let once = normal_text(&text);
            prop_assert_eq!(normal_text(&once), once);
        }
    }
}
