//! Escaping texts that are inserted into a judge's prompt.
//!
//! A judged answer must not be able to close its block (`</response>`), nor to
//! begin another turn of the conversation. The strings of special tokens are
//! encoded as ordinary text by [`crate::chat`]; here, tags of the prompt's own
//! blocks and the marks that a chat template writes as ordinary text
//! (`### Response:`, `[INST]`) lose a character to a character reference, so that
//! neither the text nor its tokens are those of a tag or a mark.
//!
//! Look-alikes count: texts are compared by their skeletons (Unicode Technical
//! Standard 39, section 4) after compatibility decomposition, without case, white
//! space, slashes, invisible characters and combining marks.

mod skeleton;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use aho_corasick::AhoCorasick;
use memchr::memchr2_iter;

use crate::Error;
use crate::reply::{TurnMarks, is_control_at};
use skeleton::{Glyph, skeleton};

/// The tags and marks of one prompt, compiled for searching.
#[derive(Debug, Clone)]
pub struct Escaper {
    search: Option<AhoCorasick>,
    /// For each pattern: whether it is a tag.
    is_tag: Vec<bool>,
    control_strings: bool,
}

impl Escaper {
    /// Compiles the names of a prompt's blocks (`response` for `<response>`), and
    /// the marks of a chat template. `control_strings`: escape the control
    /// strings of all common templates as well (`<|im_end|>`), for a server whose
    /// tokenizer is unknown.
    ///
    /// # Errors
    /// [`Error::TooManyMarks`]: they exceed the limits of the search automaton.
    pub fn new<T: AsRef<str>>(
        blocks: &[T],
        marks: &TurnMarks,
        control_strings: bool,
    ) -> Result<Self, Error> {
        let tags = blocks.iter().map(|it| (format!("<{}", it.as_ref()), true));
        let marks = marks.marks().iter().map(|it| (it.text.clone(), false));
        let (patterns, is_tag): (Vec<String>, Vec<bool>) = tags
            .chain(marks)
            .map(|(text, is_tag)| (squeezed(&skeleton(&text)), is_tag))
            .filter(|(text, _)| !text.is_empty())
            .unzip();
        let search = (!patterns.is_empty()).then(|| AhoCorasick::new(&patterns));
        let search = search.transpose().map_err(|_| Error::TooManyMarks {
            count: is_tag.len(),
        })?;
        Ok(Self {
            search,
            is_tag,
            control_strings,
        })
    }

    /// The text with one character of each tag and mark as a character reference.
    /// Linear in the length of the text.
    pub fn escape<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut at = self.tags_and_marks(text);
        if self.control_strings {
            let starts = memchr2_iter(b'<', b'[', text.as_bytes());
            at.extend(starts.filter(|&start| {
                // `<s>` ends no reply, since it is also a tag of HTML.
                is_control_at(text, start) || text[start..].starts_with("<s>")
            }));
        }
        if at.is_empty() {
            return Cow::Borrowed(text);
        }
        Cow::Owned(with_references(text, &at))
    }

    /// The positions of the characters to replace.
    fn tags_and_marks(&self, text: &str) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let Some(search) = &self.search else {
            return found;
        };
        let glyphs = skeleton(text);
        let line = squeezed(&glyphs);
        let index = index_of_bytes(&glyphs);
        for it in search.find_overlapping_iter(&line) {
            let (first, last) = (index[it.start()], index[it.end() - 1]);
            if joins_words(&glyphs, first, last) {
                continue;
            }
            if self.is_tag[it.pattern().as_usize()] {
                // All of `<<response>`, or one would be left.
                let brackets = glyphs[..=first].iter().rev();
                found.extend(brackets.take_while(|it| it.c == '<').map(|it| it.at));
            } else if let Some(it) = glyphs[first..=last]
                .iter()
                .find(|it| !it.c.is_alphanumeric())
            {
                found.insert(it.at);
            }
        }
        found
    }
}

/// The characters of a skeleton as a string to search in.
fn squeezed(glyphs: &[Glyph]) -> String {
    glyphs.iter().map(|it| it.c).collect()
}

/// For each byte of [`squeezed`]: the index of its glyph.
fn index_of_bytes(glyphs: &[Glyph]) -> Vec<usize> {
    let bytes = glyphs.iter().enumerate();
    bytes
        .flat_map(|(index, it)| std::iter::repeat_n(index, it.c.len_utf8()))
        .collect()
}

/// Whether a match cuts a word in two: `</responses>` closes no `<response>`.
fn joins_words(glyphs: &[Glyph], first: usize, last: usize) -> bool {
    let is_word = |it: &Glyph| it.c.is_alphanumeric() || it.c == '_';
    let joined = |one: Option<&Glyph>, other: Option<&Glyph>| {
        one.is_some_and(is_word) && other.is_some_and(|it| is_word(it) && !it.after_gap)
    };
    joined(
        first.checked_sub(1).and_then(|it| glyphs.get(it)),
        glyphs.get(first),
    ) || joined(glyphs.get(last), glyphs.get(last + 1))
}

fn with_references(text: &str, positions: &BTreeSet<usize>) -> String {
    let mut escaped = String::with_capacity(text.len() + 4 * positions.len());
    let mut start = 0;
    for &at in positions {
        escaped.push_str(&text[start..at]);
        let Some(c) = text[at..].chars().next() else {
            break;
        };
        if skeleton(c.encode_utf8(&mut [0; 4]))
            .first()
            .is_some_and(|it| it.c == '<')
        {
            escaped.push_str("&lt;");
        } else {
            let _ = write!(escaped, "&#{};", u32::from(c)); // writing to a String cannot fail
        }
        start = at + c.len_utf8();
    }
    escaped.push_str(&text[start..]);
    escaped
}

#[cfg(test)]
mod tests;
