//! Splitting a text into the words that ROUGE-L compares.

use std::str::FromStr;

use unicode_normalization::UnicodeNormalization;

use crate::Error;
use crate::words::{is_joining, is_unspaced};

/// The definition of a word. For a text with ASCII letters only, both give the
/// same words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Words {
    /// As in Google's `rouge_score` (version 0.1.2, no stemming): runs of
    /// `a-z0-9` in the lower-cased text. A text in Russian or Chinese has no
    /// words.
    #[default]
    RougeScore,
    /// The same for a text without non-ASCII letters. Any other text is split
    /// at everything but Unicode letters, their marks and digits, and each
    /// letter of a script that does not separate words (Chinese, Japanese,
    /// Thai, Lao, Khmer, Burmese …) is a word.
    Unicode,
}

impl FromStr for Words {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "rouge_score" => Ok(Self::RougeScore),
            "unicode" => Ok(Self::Unicode),
            _ => Err(Error::UnknownWords { value: name.into() }),
        }
    }
}

/// Calls `found` for each word of `text`, in order. The words share one buffer.
pub(super) fn for_each_word(text: &str, words: Words, mut found: impl FnMut(&str)) {
    if words == Words::RougeScore || text.is_ascii() {
        return ascii_words(text, &mut found);
    }
    let lower: String = text.to_lowercase().nfc().collect();
    if lower.chars().any(|c| !c.is_ascii() && c.is_alphabetic()) {
        unicode_words(&lower, &mut found);
    } else {
        ascii_words(&lower, &mut found);
    }
}

/// Runs of `a-z0-9` of the text in lower case.
fn ascii_words(text: &str, found: &mut impl FnMut(&str)) {
    let lower = ascii_lower(text);
    let mut rest = lower.as_str();
    while let Some(start) = rest.bytes().position(|byte| byte.is_ascii_alphanumeric()) {
        let word = &rest[start..];
        let end = word.bytes().position(|byte| !byte.is_ascii_alphanumeric());
        let (word, after) = word.split_at(end.unwrap_or(word.len()));
        found(word);
        rest = after;
    }
}

/// The text in lower case, with a space for every non-ASCII character of the
/// result. Only two non-ASCII characters have lower-case forms with ASCII
/// letters, in every version of Unicode: the Kelvin sign is `k`, and the
/// Turkish capital İ is `i` and a combining dot.
fn ascii_lower(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut lower = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{212a}' => lower.push('k'),
            '\u{130}' => lower.push_str("i "),
            _ if c.is_ascii() => lower.push(c.to_ascii_lowercase()),
            _ => lower.push(' '),
        }
    }
    lower
}

/// Runs of letters, their marks and digits; each letter of a script without
/// spaces is a separate word.
fn unicode_words(lower: &str, found: &mut impl FnMut(&str)) {
    let mut word = String::new();
    let mut is_single = false;
    for c in lower.chars() {
        if is_joining(c) {
            if !word.is_empty() {
                word.push(c);
            }
        } else if !c.is_alphanumeric() {
            flush(&mut word, found);
        } else {
            let unspaced = is_unspaced(c);
            if unspaced || is_single {
                flush(&mut word, found);
            }
            word.push(c);
            is_single = unspaced;
        }
    }
    flush(&mut word, found);
}

fn flush(word: &mut String, found: &mut impl FnMut(&str)) {
    if !word.is_empty() {
        found(word);
        word.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::words;
    use super::*;

    #[test]
    fn words_of_texts() {
        let cases: [(&str, &[&str]); 18] = [
            ("", &[]),
            (" …!? ", &[]),
            ("Hello, World!", &["hello", "world"]),
            (
                "don't snake_case 3.5",
                &["don", "t", "snake", "case", "3", "5"],
            ),
            ("x² = 4", &["x", "4"]),
            ("Ünïcode Wörter, 12", &["ünïcode", "wörter", "12"]),
            ("Напиши письмо.", &["напиши", "письмо"]),
            ("写一封信 to Bob2", &["写", "一", "封", "信", "to", "bob2"]),
            ("カタカナ・abc", &["カ", "タ", "カ", "ナ", "abc"]),
            ("ｶﾅ々", &["ｶ", "ﾅ", "々"]),
            ("abcก", &["abc", "ก"]),
            ("กี่ x", &["กี่", "x"]),
            ("ភាសាខ្មែរ", &["ភា", "សា", "ខ្", "មែ", "រ"]),
            ("ພາສາ", &["ພ", "າ", "ສ", "າ"]),
            ("བོད་ཡིག", &["བོད", "ཡིག"]),
            ("नमस्ते दुनिया", &["नमस्ते", "दुनिया"]),
            ("e\u{301}té, été", &["été", "été"]),
            ("cafe\u{301} x", &["café", "x"]),
        ];
        for (text, expected) in cases {
            assert_eq!(words(text, Words::Unicode), expected, "{text:?}");
        }
    }

    #[test]
    fn words_of_rouge_score() {
        let cases: [(&str, &[&str]); 7] = [
            ("", &[]),
            ("Hello, World_2!", &["hello", "world", "2"]),
            ("Ünïcode Wörter, 12", &["n", "code", "w", "rter", "12"]),
            ("Напиши письмо.", &[]),
            ("写一封信 to Bob2", &["to", "bob2"]),
            ("2\u{212a}elvin", &["2kelvin"]),
            ("aİb", &["ai", "b"]),
        ];
        for (text, expected) in cases {
            assert_eq!(words(text, Words::RougeScore), expected, "{text:?}");
        }
    }

    #[test]
    fn names() {
        assert_eq!("unicode".parse::<Words>().unwrap(), Words::Unicode);
        assert_eq!("rouge_score".parse::<Words>().unwrap(), Words::RougeScore);
        assert_eq!(
            "ascii".parse::<Words>().unwrap_err().to_string(),
            "words is \"ascii\"; use \"rouge_score\" or \"unicode\""
        );
    }
}
