//! Words of any script: how many a text has, and which keywords occur in it.
//!
//! Most scripts separate words by white space. Chinese, Japanese, Thai, Lao,
//! Khmer and Burmese do not: ICU finds their words with a dictionary. Tibetan
//! separates syllables by a tsheg, and Ethiopic may separate words by a mark.

mod keywords;
mod script;

use std::sync::LazyLock;

use icu_segmenter::options::WordBreakInvariantOptions;
use icu_segmenter::{WordSegmenter, WordSegmenterBorrowed};
use unicode_normalization::char::is_combining_mark;

pub use keywords::Keywords;
pub(crate) use script::{is_joining, is_separator, is_unspaced};

/// Dictionaries, not neural networks, so that words are the same on every
/// machine.
static SEGMENTER: LazyLock<WordSegmenterBorrowed<'static>> =
    LazyLock::new(|| WordSegmenter::new_dictionary(WordBreakInvariantOptions::default()));

/// The number of words of a text.
///
/// A word is a piece between white space, as in self-instruct's filter on
/// length. A piece with characters of a script without spaces counts as the
/// words that ICU finds in it, without punctuation. In such a script for which
/// ICU has no dictionary (Javanese, Tai Tham, Yi …) each letter is a word.
pub fn count_words(text: &str) -> usize {
    text.split(|c: char| c.is_whitespace() || is_separator(c))
        .filter(|piece| !piece.is_empty())
        .map(|piece| match piece.chars().any(is_unspaced) {
            true => count_unspaced(piece).max(1),
            false => 1,
        })
        .sum()
}

fn count_unspaced(piece: &str) -> usize {
    let ends = boundaries(piece);
    let words = ends.windows(2).map(|pair| &piece[pair[0]..pair[1]]);
    words
        .filter(|word| word.contains(char::is_alphanumeric))
        .map(|word| {
            let letters = word.chars().filter(|c| script::has_no_dictionary(*c));
            letters.filter(|c| !is_combining_mark(*c)).count().max(1)
        })
        .sum()
}

/// The byte positions between the segments of a text, including its ends.
fn boundaries(text: &str) -> Vec<usize> {
    SEGMENTER.segment_str(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_of_texts() {
        let cases = [
            ("", 0),
            (" \n\u{3000}", 0),
            ("Write a poem.", 3),
            ("2 + 2 = ?", 5),
            ("an e-mail in C++, don't wait", 6),
            ("Напиши письмо другу", 3),
            ("नमस्ते दुनिया", 2),
            ("한국어로 시를 써 주세요", 4),
            ("اكتب قصيدة قصيرة", 3),
            ("写一首关于春天的诗", 6),
            ("写一首关于春天的诗。", 6),
            ("写一首，关于春天的诗", 6),
            ("用Python写代码", 4),
            ("画像を説明してください", 7),
            ("ファイル", 1),
            ("เขียนบทกวีเกี่ยวกับฤดูใบไม้ผลิ", 8),
            ("ຂຽນບົດກະວີກ່ຽວກັບລະດູໃບໄມ້ປົ່ງ", 6),
            ("សរសេរកំណាព្យអំពីរដូវផ្ការីក", 5),
            ("နွေဦးအကြောင်း ကဗျာတစ်ပုဒ်ရေးပါ", 7),
            ("བོད་ཡིག་འབྲི་རོགས།", 4),
            ("ሰላም፡ለዓለም", 2),
            ("រដូវ\u{200b}ផ្ការីក", 2),
            ("ꦱꦼꦫꦠ꧀ꦗꦮ", 5),
            ("ꆈꌠꁱꂷ", 4),
            ("。", 1),
        ];
        for (text, expected) in cases {
            assert_eq!(count_words(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn without_unspaced_scripts_white_space_separates(text in "[a-zé.,+ \t\n🖼नमस्ते한]{0,40}") {
            prop_assert_eq!(count_words(&text), text.split_whitespace().count());
        }

        #[test]
        fn any_text_has_at_most_one_word_per_character(text in any::<String>(), thai in "[ก-๛一-龥ぁ-ヿ a]{0,40}") {
            for text in [text, thai] {
                let count = count_words(&text);
                prop_assert!(count <= text.chars().count());
                prop_assert!(count >= text.split_whitespace().filter(|piece| !piece.chars().any(is_separator)).count());
            }
        }
    }
}
