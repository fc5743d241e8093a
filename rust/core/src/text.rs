//! Keys under which trivially different texts are equal.

use unicode_normalization::UnicodeNormalization;
use xxhash_rust::xxh3::xxh3_128;

/// The text with compatibility characters unified (NFKC, Unicode Annex 15), in
/// lower case, and every run of white space as one space.
///
/// NFKC runs again after lower-casing because lower-casing can take a text out
/// of normal form (`İ` becomes `i` and a combining dot).
pub fn normal_text(text: &str) -> String {
    let mut normal = Vec::new();
    write_normal(text, &mut normal);
    String::from_utf8(normal).expect("a normal form is made of whole characters")
}

/// A 128-bit key of [`normal_text`]: XXH3 over its UTF-8 bytes, so the key is
/// the same on every machine and in every release. Two texts with one key are
/// duplicates for all practical purposes; XXH3 does not resist an adversary.
pub fn normal_key(text: &str) -> u128 {
    normal_key_in(text, &mut Vec::new())
}

/// [`normal_key`], with the room for the normal form lent by the caller.
pub(crate) fn normal_key_in(text: &str, room: &mut Vec<u8>) -> u128 {
    write_normal(text, room);
    xxh3_128(room)
}

/// Replaces `normal` by the UTF-8 bytes of [`normal_text`].
pub(crate) fn write_normal(text: &str, normal: &mut Vec<u8>) {
    write_unsqueezed(text, normal);
    squeeze(normal);
}

/// [`write_normal`] with every white space character as a space of its own, for
/// readers that skip runs of spaces anyway.
pub(crate) fn write_unsqueezed(text: &str, normal: &mut Vec<u8>) {
    normal.clear();
    if text.contains('Σ') || !write_pieces(text, normal) {
        normal.clear();
        let unified: String = text.nfkc().collect();
        unified.to_lowercase().nfkc().for_each(|c| push(c, normal));
    }
}

/// Normalises runs of ASCII byte by byte, and what lies between them by the
/// tables of Unicode. An ASCII character neither composes with one before it nor
/// is moved, so the text can be cut before each; a mark behind it may compose
/// with it, so the last one of a run goes to the piece that follows.
///
/// Returns false if a capital sigma is met: its lower case depends on the
/// letters around it, so the text must be seen whole.
fn write_pieces(text: &str, normal: &mut Vec<u8>) -> bool {
    let mut rest = text;
    while let Some(foreign) = first_foreign(rest.as_bytes()) {
        let start = foreign.saturating_sub(1);
        push_ascii(&rest.as_bytes()[..start], normal);
        let tail = &rest.as_bytes()[foreign..];
        let len = tail.iter().position(u8::is_ascii).unwrap_or(tail.len());
        if !write_piece(&rest[start..foreign + len], normal) {
            return false;
        }
        rest = &rest[foreign + len..];
    }
    push_ascii(rest.as_bytes(), normal);
    true
}

/// Where the first byte outside ASCII is, looking at many bytes at once.
fn first_foreign(text: &[u8]) -> Option<usize> {
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
    let mut sigma = false;
    let unified = piece.nfkc().inspect(|c| sigma |= *c == 'Σ');
    let lower = unified.flat_map(char::to_lowercase);
    lower.nfkc().for_each(|c| push(c, normal));
    !sigma
}

/// Copies first and changes in place: a loop without branches over bytes that
/// are there takes many at once.
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

/// Leaves one space of each run between words, and none at the ends.
fn squeeze(text: &mut Vec<u8>) {
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

/// Looks at all bytes whatever it finds, and so at many at once.
fn has_double_space(text: &[u8]) -> bool {
    let pairs = text.iter().zip(text.iter().skip(1));
    pairs.fold(false, |found, (a, b)| found | (*a == b' ' && *b == b' '))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, in one go over the whole text.
    fn plain_normal_text(text: &str) -> String {
        let unified: String = text.nfkc().collect();
        let lower: String = unified.to_lowercase().nfkc().collect();
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

        /// Letters that change under lower-casing, composing or unifying, marks,
        /// jamo and every kind of white space, between ASCII of all kinds.
        #[test]
        fn pieces_add_up_to_the_whole(
            text in "[aAzZ'. \t\r\n\u{b}\u{1c}\0İıſKÅéÉßẞΣσς\u{1d6ba}ﬁ…²½\u{300}\u{301}\u{307}\u{323}\u{327}\u{338}\u{345}ᄀ각\u{a0}\u{85}\u{2028}\u{3000}\u{200b}<=>😀ﷺ]{0,24}"
        ) {
            prop_assert_eq!(normal_text(&text), plain_normal_text(&text));
        }

        #[test]
        fn any_text_is_normalised_by_the_definition(text in any::<String>()) {
            prop_assert_eq!(normal_text(&text), plain_normal_text(&text));
        }
    }
}
