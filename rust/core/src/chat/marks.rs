//! Marks that break up the strings of special tokens inside a message.
//!
//! A template sees messages and special tokens as one text, and what it renders
//! no longer says which was which. So the string of a special token inside a
//! message is broken up before rendering, and mended after the template's own
//! tokens have been found. A template does not see the string either: to it, too,
//! it is text.

use rustc_hash::FxHashSet;

/// What breaks a string: a character that occurs in no text of the conversation;
/// None if nothing was broken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks(pub Option<char>);

impl Marks {
    /// The mark for a conversation of these texts: one of the code points that
    /// Unicode promises never to give to a character (Unicode 17, section 23.7), or
    /// else any that is not used, private ones first.
    pub fn for_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let used: FxHashSet<char> = texts
            .into_iter()
            .filter(|text| !text.is_ascii())
            .flat_map(str::chars)
            .filter(|c| !c.is_ascii())
            .collect();
        let mut candidates = ('\u{fdd0}'..='\u{fdef}').chain(('\u{80}'..=char::MAX).rev());
        Self(candidates.find(|c| !used.contains(c)))
    }

    /// Puts marks into `text` at the byte positions `places`, which ascend.
    pub fn put(self, text: &str, places: &[usize]) -> String {
        let mut marked = String::with_capacity(text.len() + places.len() * 4);
        let mut start = 0;
        for &place in places {
            marked.push_str(&text[start..place]);
            marked.extend(self.0);
            start = place;
        }
        marked.push_str(&text[start..]);
        marked
    }

    /// Appends `text` without the marks to `out`.
    pub fn remove(self, text: &str, out: &mut String) {
        match self.0 {
            Some(mark) => out.extend(text.split(mark)),
            None => out.push_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_occurs_in_no_text() {
        assert_eq!(Marks::for_texts(["a", "b"]), Marks(Some('\u{fdd0}')));
        assert_eq!(
            Marks::for_texts(["a\u{fdd0}", "\u{fdd1}b"]),
            Marks(Some('\u{fdd2}'))
        );
        let all: String = ('\u{fdd0}'..='\u{fdef}').collect();
        assert_eq!(Marks::for_texts([all.as_str()]), Marks(Some(char::MAX)));
    }

    #[test]
    fn what_was_put_is_removed() {
        let text = "a\u{fdd0}b<x>";
        let marks = Marks::for_texts([text]);
        for places in [&[][..], &[0], &[1, 4], &[0, 5, 8]] {
            let mut mended = String::new();
            marks.remove(&marks.put(text, places), &mut mended);
            assert_eq!(mended, text);
        }
    }
}
