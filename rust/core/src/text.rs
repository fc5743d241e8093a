//! Normalisation of texts, and keys of the normal form.

mod compatibility;

use unicode_normalization::UnicodeNormalization;
use xxhash_rust::xxh3::xxh3_128;

/// The normal form of a text: compatibility characters as the characters that
/// they are a variant of, lower case, every run of white space as one space,
/// and none at the ends.
///
/// The first step is NFKC (Unicode Annex 15), except that superscripts,
/// subscripts, fractions, enclosed characters, signs with digits, spacing marks
/// and single Hangul letters stay as they are, since they mean something else
/// than their decomposition: `2⁵` is not `25`. It is applied again after
/// lower-casing because lower-casing can produce text that is not normalised
/// (`İ` becomes `i` and a combining dot).
pub fn normal_text(text: &str) -> String {
    let mut normal = Vec::new();
    write_normal(text, &mut normal);
    String::from_utf8(normal).expect("a normal form is made of whole characters")
}

/// A 128-bit key of [`normal_text`]: XXH3 over its UTF-8 bytes, so the key is
/// the same on every machine and in every release. Two texts with the same key
/// are duplicates for all practical purposes; XXH3 does not resist an
/// adversary.
pub fn normal_key(text: &str) -> u128 {
    normal_key_with(text, &mut Vec::new())
}

/// [`normal_key`] with a caller-provided buffer for the normal form.
pub(crate) fn normal_key_with(text: &str, buffer: &mut Vec<u8>) -> u128 {
    write_normal(text, buffer);
    xxh3_128(buffer)
}

/// Replaces `normal` by the UTF-8 bytes of [`normal_text`].
pub(crate) fn write_normal(text: &str, normal: &mut Vec<u8>) {
    write_uncollapsed(text, normal);
    collapse_spaces(normal);
}

/// [`write_normal`] without collapsing white space: every white space character
/// becomes one space.
pub(crate) fn write_uncollapsed(text: &str, normal: &mut Vec<u8>) {
    normal.clear();
    if text.contains('Σ') || !write_pieces(text, normal) {
        normal.clear();
        let mut unified = String::with_capacity(text.len());
        unify(text, |c| unified.push(c));
        unify(&unified.to_lowercase(), |c| push(c, normal));
    }
}

/// Calls `each` for the characters of the text in NFKC, with the exceptions of
/// [`compatibility`].
pub(crate) fn unify(text: &str, each: impl FnMut(char)) {
    if text.chars().any(compatibility::is_special) {
        let mut joined = String::with_capacity(text.len());
        text.chars()
            .for_each(|c| compatibility::joined(c, |d| joined.push(d)));
        joined.nfc().for_each(each);
    } else {
        text.nfkc().for_each(each);
    }
}

/// Normalises runs of ASCII byte by byte, and the text between them with the
/// Unicode tables. An ASCII character neither composes with the character
/// before it nor is reordered, so the text can be split before each. A mark
/// after it may compose with it, so the last character of a run belongs to the
/// next piece.
///
/// Returns false if there is a capital sigma: its lower case depends on the
/// surrounding letters, so the text must be processed as a whole.
fn write_pieces(text: &str, normal: &mut Vec<u8>) -> bool {
    let mut rest = text;
    while let Some(non_ascii) = first_non_ascii(rest.as_bytes()) {
        let start = non_ascii.saturating_sub(1);
        push_ascii(&rest.as_bytes()[..start], normal);
        let tail = &rest.as_bytes()[non_ascii..];
        let len = tail.iter().position(u8::is_ascii).unwrap_or(tail.len());
        if !write_piece(&rest[start..non_ascii + len], normal) {
            return false;
        }
        rest = &rest[non_ascii + len..];
    }
    push_ascii(rest.as_bytes(), normal);
    true
}

/// The position of the first non-ASCII byte; checks many bytes at once.
fn first_non_ascii(text: &[u8]) -> Option<usize> {
    const STEP: usize = 32;
    if text.is_ascii() {
        return None;
    }
    let chunk = text.chunks(STEP).position(|chunk| !chunk.is_ascii())?;
    let within = text[chunk * STEP..]
        .iter()
        .position(|byte| !byte.is_ascii())?;
    Some(chunk * STEP + within)
}

fn write_piece(piece: &str, normal: &mut Vec<u8>) -> bool {
    if piece.chars().any(compatibility::is_special) {
        let mut unified = String::with_capacity(piece.len());
        unify(piece, |c| unified.push(c));
        unify(&unified.to_lowercase(), |c| push(c, normal));
        return !unified.contains('Σ');
    }
    let mut sigma = false;
    let unified = piece.nfkc().inspect(|c| sigma |= *c == 'Σ');
    let lower = unified.flat_map(char::to_lowercase);
    lower.nfkc().for_each(|c| push(c, normal));
    !sigma
}

/// Copies first and then changes in place: a branch-free loop over existing
/// bytes is vectorised.
fn push_ascii(text: &[u8], normal: &mut Vec<u8>) {
    let start = normal.len();
    normal.extend_from_slice(text);
    for byte in &mut normal[start..] {
        let is_space = byte.wrapping_sub(9) < 5;
        let lower = byte.to_ascii_lowercase();
        *byte = if is_space { b' ' } else { lower };
    }
}

fn push(c: char, normal: &mut Vec<u8>) {
    let c = if c.is_whitespace() { ' ' } else { c };
    normal.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Reduces each run of spaces to one space and removes those at the ends.
fn collapse_spaces(text: &mut Vec<u8>) {
    if text.first() == Some(&b' ') || has_double_space(text) {
        let (mut kept, mut last) = (0, b' ');
        for at in 0..text.len() {
            let byte = text[at];
            text[kept] = byte;
            kept += usize::from(byte != b' ' || last != b' ');
            last = byte;
        }
        text.truncate(kept);
    }
    if text.last() == Some(&b' ') {
        text.pop();
    }
}

/// No early exit, so that the loop is vectorised.
fn has_double_space(text: &[u8]) -> bool {
    let pairs = text.iter().zip(text.iter().skip(1));
    pairs.fold(false, |found, (a, b)| found | (*a == b' ' && *b == b' '))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain_unified(text: &str) -> String {
        let mut joined = String::new();
        text.chars()
            .for_each(|c| compatibility::joined(c, |d| joined.push(d)));
        joined.nfc().collect()
    }

    /// The definition, applied to the whole text.
    fn plain_normal_text(text: &str) -> String {
        let lower = plain_unified(&plain_unified(text).to_lowercase());
        lower.split_whitespace().collect::<Vec<_>>().join(" ")
    }

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
            ("ｶﾞｷﾞ", "ガギ"),
            ("ﾡￂ", "ㄱㅏ"),
            ("￣", "¯"),
            ("ﷺ", "صلى الله عليه وسلم"),
            ("ﻻ", "لا"),
            ("𝐀𝟐ℝ", "a2r"),
            ("20℃ 5㎏ № 3…", "20°c 5kg no 3..."),
            ("㍻ ㋿", "平成 令和"),
            ("Ⅳ", "iv"),
            ("ⒶＢ²", "ⓐb²"),
            ("a\u{2011}b", "a\u{2010}b"),
            ("µ", "μ"),
            ("⼀", "一"),
            ("ำ", "ํา"),
        ];
        for (left, right) in cases {
            assert_eq!(normal_key(left), normal_key(right), "{left:?} {right:?}");
        }
    }

    #[test]
    fn different_texts_have_different_keys() {
        let cases = [
            ("ab", "a b"),
            ("a.", "a"),
            ("é", "e"),
            ("", "a"),
            ("2⁵", "25"),
            ("x₂", "x2"),
            ("1½", "11⁄2"),
            ("½", "1⁄2"),
            ("1½", "1 1⁄2"),
            ("⅟2", "1⁄2"),
            ("①②", "12"),
            ("⑴", "(1)"),
            ("2⒈5", "21.5"),
            ("🄰", "a"),
            ("㋀", "1月"),
            ("1㏠", "11日"),
            ("m²", "m2"),
            ("㎡", "m2"),
            ("x™", "xtm"),
            ("1ª", "1a"),
            ("xⁿ", "xn"),
            ("xⁿ", "xₙ"),
            ("ㄱㅏ", "가"),
            ("ﾡￂ", "가"),
            ("a¨b", "a \u{308}b"),
        ];
        for (left, right) in cases {
            assert_ne!(normal_key(left), normal_key(right), "{left:?} {right:?}");
        }
    }

    /// Stored keys must stay comparable between releases.
    #[test]
    fn the_key_is_stable() {
        assert_eq!(normal_key(""), 0x99aa_06d3_0147_98d8_6001_c324_468d_497f);
        assert_eq!(normal_text("A² ＢＣ½\n①ﬁ"), "a² bc½ ①fi");
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing(text in "\\PC*") {
            let once = normal_text(&text);
            prop_assert_eq!(normal_text(&once), once);
        }

        /// Letters that change under lower-casing, composing or unifying, marks,
        /// jamo and every kind of white space, between ASCII of all kinds.
        #[test]
        fn pieces_add_up_to_the_whole(
            text in "[aAzZ'. \t\r\n\u{b}\u{1c}\0İıſKÅéÉßẞΣσς\u{1d6ba}ﬁ…²½₂①㎡㎏ㄱﾡㅏ가￣¨´΅῁゛ﾞｶⒶⅣ㋀𝟐\u{300}\u{301}\u{307}\u{323}\u{327}\u{338}\u{345}ᄀ각\u{a0}\u{85}\u{2028}\u{3000}\u{200b}<=>😀ﷺ]{0,24}"
        ) {
            prop_assert_eq!(normal_text(&text), plain_normal_text(&text));
        }

        #[test]
        fn any_text_is_normalised_by_the_definition(text in any::<String>()) {
            prop_assert_eq!(normal_text(&text), plain_normal_text(&text));
        }
    }
}
