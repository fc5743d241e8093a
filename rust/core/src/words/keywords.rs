//! Keywords in texts.

use unicode_normalization::char::is_combining_mark;

use super::{boundaries, is_unspaced};
use crate::text::unify;

/// Phrases to find in texts, whatever their case, white space, compatibility
/// characters, invisible characters, and kind of hyphen and apostrophe.
///
/// A keyword occurs where no letter, digit, mark or underscore continues it on
/// either side: `file` is not in `profile` or `file_name`, `.NET` is in `a .NET
/// app` and not in `example.net`. A keyword that ends in a symbol may be
/// followed by a digit: `C++` is in `C++17`. Next to a script without spaces
/// both ends must be ends of words as ICU finds them.
#[derive(Debug, Clone)]
pub struct Keywords(Vec<String>);

impl Keywords {
    /// Keywords without a visible character never occur.
    pub fn new<T: AsRef<str>>(keywords: &[T]) -> Self {
        Self(keywords.iter().map(|text| folded(text.as_ref())).collect())
    }

    /// The index of the first keyword that occurs in the text.
    pub fn first_in(&self, text: &str) -> Option<usize> {
        let text = Folded::new(text);
        self.0.iter().position(|keyword| text.has(keyword))
    }
}

struct Folded {
    text: String,
    /// The ends of words, if the text has characters of a script without
    /// spaces.
    ends: Vec<usize>,
}

impl Folded {
    fn new(text: &str) -> Self {
        let text = folded(text);
        let ends = match text.chars().any(is_unspaced) {
            true => boundaries(&text),
            false => Vec::new(),
        };
        Self { text, ends }
    }

    fn has(&self, keyword: &str) -> bool {
        let Some(first) = keyword.chars().next() else {
            return false;
        };
        let mut from = 0;
        while let Some(found) = self.text[from..].find(keyword) {
            let start = from + found;
            if self.starts(start) && self.ends(start + keyword.len()) {
                return true;
            }
            from = start + first.len_utf8();
        }
        false
    }

    /// Whether a keyword may start at this byte.
    fn starts(&self, at: usize) -> bool {
        let before = self.text[..at].chars().next_back();
        !before.is_some_and(is_word) || self.is_between_words(at)
    }

    /// Whether a keyword may end before this byte.
    fn ends(&self, at: usize) -> bool {
        let Some(after) = self.text[at..].chars().next().filter(|c| is_word(*c)) else {
            return true;
        };
        let last = self.text[..at].chars().next_back();
        (after.is_numeric() && !last.is_some_and(is_word)) || self.is_between_words(at)
    }

    /// Whether this is a boundary beside a character of a script without
    /// spaces.
    fn is_between_words(&self, at: usize) -> bool {
        // Marks belong to the letter before them.
        let letter = |c: &char| !is_combining_mark(*c);
        let before = self.text[..at].chars().rev().find(letter);
        let after = self.text[at..].chars().next();
        [before, after].into_iter().flatten().any(is_unspaced)
            && self.ends.binary_search(&at).is_ok()
    }
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric() || is_combining_mark(c)
}

/// The text without differences that do not matter: unified, case folded, with
/// one kind of hyphen and apostrophe, without invisible characters, and every
/// run of white space as one space.
fn folded(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    unify(text, |c| match c {
        '\u{2010}' | '\u{2011}' => plain.push('-'),
        '\u{2018}' | '\u{2019}' | '\u{2bc}' => plain.push('\''),
        _ if is_invisible(c) => {}
        _ => plain.extend(c.to_uppercase().flat_map(char::to_lowercase)),
    });
    let mut unified = String::with_capacity(plain.len());
    unify(&plain, |c| unified.push(c));
    unified.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The soft hyphen, zero width characters and variation selectors.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn has(text: &str, keyword: &str) -> bool {
        Keywords::new(&[keyword]).first_in(text) == Some(0)
    }

    #[test]
    fn keywords_occur() {
        let cases = [
            ("Draw a MAP.", "map"),
            ("Open the file: now", "File"),
            ("go\n to  bed", "go to"),
            ("GO TO", " go\tto "),
            ("Write C++, please", "C++"),
            ("(c++)", "C++"),
            ("Write C++17 code", "c++"),
            ("an E-Mail to him", "e-mail"),
            ("an e\u{2011}mail to him", "e-mail"),
            ("an e\u{ad}-mail", "e-mail"),
            ("don’t do it", "don't"),
            ("a .NET app", ".net"),
            ("work at AT&T.", "at&t"),
            ("AT&T's plans", "AT&T"),
            ("I use C# daily", "c#"),
            ("Ｃ＋＋で書く", "C++"),
            ("用C++写代码", "C++"),
            ("用Python写代码", "python"),
            ("请描述这张图片的内容", "图片"),
            ("画像を説明してください", "画像"),
            ("วาดแผนที่ประเทศไทย", "แผนที่"),
            ("그림을 그려 줘", "그림을"),
            ("Нарисуй КАРТУ", "карту"),
            ("STRASSE bauen", "straße"),
            ("ΟΔΟΣ", "οδοσ"),
            ("cafe\u{301} noir", "café"),
            ("see 🖼\u{fe0f} here", "🖼"),
            ("नक्शा बनाओ", "नक्शा"),
            ("xna na na", "na na"),
            ("map_ map", "map"),
            ("x² is", "x²"),
        ];
        for (text, keyword) in cases {
            assert!(has(text, keyword), "{text:?} {keyword:?}");
        }
    }

    #[test]
    fn keywords_do_not_occur() {
        let cases = [
            ("a profile", "file"),
            ("the files", "file"),
            ("file_name", "file"),
            ("ego to", "go to"),
            ("go tomorrow", "go to"),
            ("goto", "go to"),
            ("see example.net", ".NET"),
            (".network", ".NET"),
            ("objc++", "C++"),
            ("C+", "C++"),
            ("the e-mails", "e-mail"),
            ("去图书馆看书", "图"),
            ("プロファイルを説明", "ファイル"),
            ("漫画を描く", "画"),
            ("नक्शा", "नक"),
            ("cafe\u{301}", "cafe"),
            ("x2", "x²"),
            ("anything", ""),
            ("any thing", " \u{200b}"),
        ];
        for (text, keyword) in cases {
            assert!(!has(text, keyword), "{text:?} {keyword:?}");
        }
    }

    #[test]
    fn the_first_keyword_is_returned() {
        let keywords = Keywords::new(&["plot", "map", "draw"]);
        assert_eq!(keywords.first_in("draw a map"), Some(1));
        assert_eq!(keywords.first_in("write"), None);
    }

    proptest! {
        /// As before for plain words: the words of the text are compared.
        #[test]
        fn ascii_words_are_compared_whole(text in "[ab_ .,+\n-]{0,20}", keyword in "[ab]{1,3}") {
            let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
            prop_assert_eq!(has(&text, &keyword), words.into_iter().any(|word| word == keyword));
        }

        #[test]
        fn a_text_alone_is_found(text in any::<String>()) {
            prop_assert_eq!(has(&text, &text), !folded(&text).is_empty());
        }

        #[test]
        fn folding_twice_changes_nothing(text in any::<String>()) {
            let once = folded(&text);
            prop_assert_eq!(folded(&once), once);
        }
    }
}
