//! Marks that break up the strings of special tokens inside a message.
//!
//! The rendered text of a template does not show which parts come from
//! messages. Therefore the string of a special token inside a message is broken
//! up before rendering, and restored after the template's own tokens have been
//! found. The template does not see the original string either.

use rustc_hash::FxHashSet;

/// The character that breaks up strings. It occurs in no text of the
/// conversation; None if nothing was broken up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks(pub Option<char>);

impl Marks {
    /// The mark for a conversation with these texts: an unused Unicode
    /// noncharacter (Unicode 17, section 23.7), or otherwise any unused code
    /// point, starting from the highest (private use).
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

    /// Inserts marks into `text` at the ascending byte positions `positions`.
    pub fn insert(self, text: &str, positions: &[usize]) -> String {
        let mut marked = String::with_capacity(text.len() + positions.len() * 4);
        let mut start = 0;
        for &position in positions {
            marked.push_str(&text[start..position]);
            marked.extend(self.0);
            start = position;
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
    fn inserted_marks_are_removed() {
        let text = "a\u{fdd0}b<x>";
        let marks = Marks::for_texts([text]);
        for positions in [&[][..], &[0], &[1, 4], &[0, 5, 8]] {
            let mut restored = String::new();
            marks.remove(&marks.insert(text, positions), &mut restored);
            assert_eq!(restored, text);
        }
    }
}
