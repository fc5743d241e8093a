//! Marks that break up the strings of special tokens inside a message.
//!
//! A template sees messages and special tokens as one text, and what it renders
//! no longer says which was which. So the string of a special token inside a
//! message is broken up before rendering, and mended after the template's own
//! tokens have been found.

/// Stands inside a broken string. Unicode promises never to give this code point
/// to a character (Unicode 17, section 23.7), so templates do not look for it.
const MARK: char = '\u{fdd0}';

/// How many [`MARK`]s break a string: one more than any message of the
/// conversation holds in a row, so that marks are told from text. 0 if nothing
/// was broken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks(pub usize);

impl Marks {
    /// The marks for a conversation of these texts.
    pub fn for_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self(texts.into_iter().map(longest_run).max().unwrap_or(0) + 1)
    }

    /// Puts marks into `text` at the byte positions `places`, which ascend.
    pub fn put(self, text: &str, places: &[usize]) -> String {
        let mut marked = String::with_capacity(text.len() + places.len() * 3 * self.0);
        let mut start = 0;
        for &place in places {
            marked.push_str(&text[start..place]);
            marked.extend(std::iter::repeat_n(MARK, self.0));
            start = place;
        }
        marked.push_str(&text[start..]);
        marked
    }

    /// Appends `text` without the marks to `out`.
    pub fn remove(self, text: &str, out: &mut String) {
        let mut rest = text;
        while let Some(at) = rest.find(MARK) {
            out.push_str(&rest[..at]);
            let run = leading_run(&rest[at..]);
            let end = at + run * MARK.len_utf8();
            if run != self.0 {
                out.push_str(&rest[at..end]);
            }
            rest = &rest[end..];
        }
        out.push_str(rest);
    }
}

fn leading_run(text: &str) -> usize {
    text.chars().take_while(|&c| c == MARK).count()
}

fn longest_run(text: &str) -> usize {
    let mut longest = 0;
    let mut rest = text;
    while let Some(at) = rest.find(MARK) {
        let run = leading_run(&rest[at..]);
        longest = longest.max(run);
        rest = &rest[at + run * MARK.len_utf8()..];
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn removed(marks: Marks, text: &str) -> String {
        let mut out = String::new();
        marks.remove(text, &mut out);
        out
    }

    #[test]
    fn marks_are_longer_than_what_a_message_holds() {
        assert_eq!(Marks::for_texts(["a", "b"]), Marks(1));
        let marks = Marks::for_texts(["a\u{fdd0}\u{fdd0}b", "\u{fdd0}"]);
        assert_eq!(marks, Marks(3));
        let marked = marks.put("a\u{fdd0}\u{fdd0}b<x>", &[9]);
        assert_eq!(removed(marks, &marked), "a\u{fdd0}\u{fdd0}b<x>");
    }

    proptest! {
        #[test]
        fn what_was_put_is_removed(text in "[ab\u{fdd0}]{0,12}", at in any::<prop::sample::Index>()) {
            // Marks are put between two characters that are none themselves.
            let places: Vec<usize> = text.char_indices().map(|(place, _)| place).filter(|&place| {
                place > 0 && !text[..place].ends_with(MARK) && !text[place..].starts_with(MARK)
            }).collect();
            let places = if places.is_empty() { vec![] } else { vec![places[at.index(places.len())]] };
            let marks = Marks::for_texts([text.as_str()]);
            prop_assert_eq!(removed(marks, &marks.put(&text, &places)), text);
        }
    }
}
