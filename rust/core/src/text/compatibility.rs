//! Which compatibility characters (Unicode Annex 15) join with their
//! decomposition.
//!
//! A character joins if it is the same text in another width or shape:
//! full-width letters, half-width kana, ligatures, presentation forms, letters
//! and digits of a font, spaces, `…`, `℃`, `㎏`. A character that means
//! something else than its decomposition stays as it is: `2⁵` is not `25`, `1½`
//! is not `11⁄2`, `①` is not `1`.

use std::cmp::Ordering;

use unicode_normalization::char::decompose_compatible;

/// Characters that stay as they are, as ascending inclusive ranges. Derived
/// from `UnicodeData.txt` (field 5), up to Unicode 18; ranges also cover
/// characters without a decomposition.
const APART: &[(char, char)] = &[
    ('\u{a8}', '\u{a8}'),       // spacing mark: a space and a mark, as all below
    ('\u{aa}', '\u{aa}'),       // superscript ª
    ('\u{af}', '\u{af}'),       // spacing mark
    ('\u{b2}', '\u{b3}'),       // superscripts
    ('\u{b4}', '\u{b4}'),       // spacing mark
    ('\u{b8}', '\u{b8}'),       // spacing mark
    ('\u{b9}', '\u{ba}'),       // superscripts
    ('\u{bc}', '\u{be}'),       // fractions
    ('\u{2b0}', '\u{2b8}'),     // superscripts
    ('\u{2d8}', '\u{2dd}'),     // spacing marks
    ('\u{2e0}', '\u{2e4}'),     // superscripts
    ('\u{37a}', '\u{37a}'),     // spacing mark
    ('\u{384}', '\u{385}'),     // spacing marks
    ('\u{558}', '\u{558}'),     // superscript
    ('\u{58b}', '\u{58c}'),     // superscripts
    ('\u{10fc}', '\u{10fc}'),   // superscript
    ('\u{1d2c}', '\u{1d6a}'),   // superscripts and subscripts
    ('\u{1d78}', '\u{1d78}'),   // superscript
    ('\u{1d9b}', '\u{1dbf}'),   // superscripts
    ('\u{1fbd}', '\u{1fbd}'),   // spacing mark
    ('\u{1fbf}', '\u{1fc1}'),   // spacing marks
    ('\u{1fcd}', '\u{1fcf}'),   // spacing marks
    ('\u{1fdd}', '\u{1fdf}'),   // spacing marks
    ('\u{1fed}', '\u{1fee}'),   // spacing marks
    ('\u{1ffd}', '\u{1ffe}'),   // spacing marks
    ('\u{2017}', '\u{2017}'),   // spacing mark
    ('\u{203e}', '\u{203e}'),   // spacing mark
    ('\u{2070}', '\u{209f}'),   // superscripts and subscripts
    ('\u{2120}', '\u{2120}'),   // superscript ℠
    ('\u{2122}', '\u{2122}'),   // superscript ™
    ('\u{2150}', '\u{215f}'),   // fractions
    ('\u{2189}', '\u{2189}'),   // fraction
    ('\u{2460}', '\u{24ff}'),   // enclosed: ①, ⑴, ⒈, Ⓐ
    ('\u{2c7c}', '\u{2c7d}'),   // subscript, superscript
    ('\u{2d6f}', '\u{2d6f}'),   // superscript
    ('\u{3036}', '\u{3036}'),   // enclosed
    ('\u{309b}', '\u{309c}'),   // spacing marks
    ('\u{3131}', '\u{318e}'),   // Hangul letters, which would compose to syllables
    ('\u{3192}', '\u{319f}'),   // superscripts
    ('\u{3200}', '\u{324f}'),   // enclosed
    ('\u{3251}', '\u{32cb}'),   // enclosed, months with digits
    ('\u{32d0}', '\u{32fe}'),   // enclosed
    ('\u{3358}', '\u{3370}'),   // hours with digits
    ('\u{3378}', '\u{3379}'),   // units with an exponent, as all below
    ('\u{339f}', '\u{33a6}'),   // ㎟ to ㎦
    ('\u{33a8}', '\u{33a8}'),   // ㎨
    ('\u{33af}', '\u{33af}'),   // ㎯
    ('\u{33e0}', '\u{33fe}'),   // days with digits
    ('\u{a69c}', '\u{a69d}'),   // superscripts
    ('\u{a770}', '\u{a770}'),   // superscript
    ('\u{a7f1}', '\u{a7f4}'),   // superscripts
    ('\u{a7f8}', '\u{a7f9}'),   // superscripts
    ('\u{ab5c}', '\u{ab5f}'),   // superscripts
    ('\u{ab69}', '\u{ab69}'),   // superscript
    ('\u{fc5e}', '\u{fc63}'),   // spacing marks
    ('\u{fe49}', '\u{fe4c}'),   // spacing marks
    ('\u{fe70}', '\u{fe70}'),   // spacing mark
    ('\u{fe72}', '\u{fe72}'),   // spacing mark
    ('\u{fe74}', '\u{fe74}'),   // spacing mark
    ('\u{fe76}', '\u{fe76}'),   // spacing mark
    ('\u{fe78}', '\u{fe78}'),   // spacing mark
    ('\u{fe7a}', '\u{fe7a}'),   // spacing mark
    ('\u{fe7c}', '\u{fe7c}'),   // spacing mark
    ('\u{fe7e}', '\u{fe7e}'),   // spacing mark
    ('\u{10781}', '\u{107bf}'), // superscripts
    ('\u{1df95}', '\u{1df95}'), // superscript
    ('\u{1dfcd}', '\u{1dfff}'), // superscripts
    ('\u{1e030}', '\u{1e06d}'), // superscripts and subscripts
    ('\u{1f100}', '\u{1f2ff}'), // enclosed
];

/// Narrow and wide forms of characters that stay as they are: the first and
/// the last form, and the character of the first.
const FORMS: &[(char, char, char)] = &[
    ('\u{ffa0}', '\u{ffa0}', '\u{3164}'), // narrow Hangul letters
    ('\u{ffa1}', '\u{ffbe}', '\u{3131}'),
    ('\u{ffc2}', '\u{ffc7}', '\u{314f}'),
    ('\u{ffca}', '\u{ffcf}', '\u{3155}'),
    ('\u{ffd2}', '\u{ffd7}', '\u{315b}'),
    ('\u{ffda}', '\u{ffdc}', '\u{3161}'),
    ('\u{ffe3}', '\u{ffe3}', '\u{af}'), // wide macron
];

/// Whether [`joined`] differs from the character's full compatibility
/// decomposition.
pub(super) fn is_special(c: char) -> bool {
    // Below the first exception; and the letters of most texts: Cyrillic, the
    // scripts of South and South-East Asia, Chinese, Korean.
    let is_common = matches!(
        c,
        '\0'..='\u{a7}' | '\u{400}'..='\u{557}' | '\u{590}'..='\u{10fb}' | '\u{3400}'..='\u{a69b}' | '\u{ac00}'..='\u{d7ff}'
    );
    !is_common && (is_apart(c) || form_of(c).is_some())
}

/// Calls `emit` for each character that `c` joins with; canonical order and
/// composition are left to the caller.
pub(super) fn joined(c: char, mut emit: impl FnMut(char)) {
    if is_apart(c) {
        emit(c);
    } else if let Some(base) = form_of(c) {
        emit(base);
    } else {
        decompose_compatible(c, emit);
    }
}

fn is_apart(c: char) -> bool {
    let found = APART.binary_search_by(|(first, last)| {
        if *last < c {
            Ordering::Less
        } else if c < *first {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    });
    found.is_ok()
}

fn form_of(c: char) -> Option<char> {
    if !('\u{ffa0}'..='\u{ffe3}').contains(&c) {
        return None;
    }
    let (first, _, base) = FORMS
        .iter()
        .find(|(first, last, _)| (*first..=*last).contains(&c))?;
    char::from_u32(*base as u32 + (c as u32 - *first as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use unicode_normalization::UnicodeNormalization;
    use unicode_normalization::char::{decompose_canonical, is_combining_mark};

    #[test]
    fn common_letters_are_no_exceptions() {
        for c in '\0'..=char::MAX {
            assert_eq!(is_special(c), is_apart(c) || form_of(c).is_some(), "{c:?}");
        }
    }

    #[test]
    fn ranges_are_ascending() {
        assert!(APART.iter().all(|(first, last)| first <= last));
        assert!(APART.is_sorted_by(|(_, last), (first, _)| last < first));
    }

    /// No character that joins has a decomposition into one that stays apart,
    /// a space before a mark, or a digit that stands beside another character.
    #[test]
    fn characters_that_join_have_plain_decompositions() {
        for c in '\0'..=char::MAX {
            let (mut canonical, mut found) = (String::new(), String::new());
            decompose_canonical(c, |d| canonical.push(d));
            joined(c, |d| found.push(d));
            if found == canonical || found == c.to_string() {
                continue;
            }
            assert!(
                !found.chars().any(is_special) || form_of(c).is_some(),
                "{c:?} {found:?}"
            );
            let mut rest = found.chars().skip_while(|d| *d == ' ');
            assert!(
                !found.starts_with(' ') || rest.next().is_none(),
                "{c:?} {found:?}"
            );
            let digit = found.chars().any(|d| d.is_ascii_digit());
            assert!(!digit || found.len() == 1, "{c:?} {found:?}");
        }
    }

    /// What stays apart is stable under composition, and so are its marks.
    #[test]
    fn characters_that_stay_apart_are_stable() {
        for (first, last) in APART {
            for c in *first..=*last {
                let text: String = c.to_string().nfc().collect();
                assert!(text.chars().all(is_special), "{c:?} {text:?}");
                assert!(!is_combining_mark(c), "{c:?}");
            }
        }
    }
}
