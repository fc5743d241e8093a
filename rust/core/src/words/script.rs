//! Scripts that do not separate words by spaces.

use unicode_normalization::char::is_combining_mark;

/// Whether `c` is a letter of a script that does not separate words by spaces:
/// Chinese, Japanese, Thai, Lao, Khmer, Burmese and those of
/// [`has_no_dictionary`].
pub(crate) fn is_unspaced(c: char) -> bool {
    c >= '\u{e01}' && c.is_alphanumeric() && (has_dictionary(c) || has_no_dictionary(c))
}

/// The scripts whose words ICU finds with a dictionary.
fn has_dictionary(c: char) -> bool {
    matches!(
        c,
        '\u{e01}'..='\u{eff}' // Thai, Lao
            | '\u{1000}'..='\u{109f}' // Burmese
            | '\u{1780}'..='\u{17ff}' // Khmer
            | '\u{3005}'..='\u{3007}' // Chinese 々, 〆, 〇
            | '\u{3040}'..='\u{312f}' // kana, Bopomofo
            | '\u{31a0}'..='\u{31bf}' // Bopomofo
            | '\u{31f0}'..='\u{31ff}' // kana
            | '\u{3400}'..='\u{4dbf}' // Chinese
            | '\u{4e00}'..='\u{9fff}'
            | '\u{a9e0}'..='\u{a9ff}' // Burmese
            | '\u{aa60}'..='\u{aa7f}'
            | '\u{f900}'..='\u{faff}' // Chinese
            | '\u{ff66}'..='\u{ff9f}' // narrow kana
            | '\u{1aff0}'..='\u{1b16f}' // kana
            | '\u{20000}'..='\u{3ffff}' // Chinese
    )
}

/// The scripts without spaces for which there is no dictionary.
pub(super) fn has_no_dictionary(c: char) -> bool {
    matches!(
        c,
        '\u{1950}'..='\u{19df}' // Tai Le, New Tai Lue
            | '\u{1a20}'..='\u{1aaf}' // Tai Tham
            | '\u{1b00}'..='\u{1b7f}' // Balinese
            | '\u{a000}'..='\u{a48f}' // Yi
            | '\u{a980}'..='\u{a9df}' // Javanese
            | '\u{aa80}'..='\u{aadf}' // Tai Viet
            | '\u{11700}'..='\u{1174f}' // Ahom
    )
}

/// Whether `c` separates words (Tibetan: syllables) without being white space:
/// the tsheg, the Ethiopic word space and the zero width space.
pub(crate) fn is_separator(c: char) -> bool {
    matches!(c, '\u{f0b}' | '\u{f0c}' | '\u{1361}' | '\u{200b}')
}

/// Whether `c` belongs to the letter before it: a combining mark, or one of the
/// joiners inside words of Persian and of scripts of India.
pub(crate) fn is_joining(c: char) -> bool {
    c >= '\u{300}' && (is_combining_mark(c) || matches!(c, '\u{200c}' | '\u{200d}'))
}
