//! Thoughts at the beginning of a reply that no tag delimits: the Harmony format
//! with its special tokens stripped, and Granite's phrases.

use memchr::memmem;

/// The channels of Harmony that are not addressed to the user.
const CHANNELS: [&str; 2] = ["analysis", "commentary"];
const FINAL: &str = "assistantfinal";

/// The phrases of Granite 3.2 (model card).
const PHRASES: [(&str, usize); 2] = [
    ("Here is my thought process:", 1),
    ("Here's my thought process:", 2),
];

/// What ends such a thought.
const ENDS: [&str; 3] = [FINAL, "Here is my response:", "Here's my response:"];

/// A thought, in bytes of the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PlainThought {
    /// Where the thought starts.
    pub start: usize,
    /// Where it ends, and where what is said starts; None if it never ends.
    pub end: Option<(usize, usize)>,
}

/// Finds such thoughts in one reply. Each end is searched for once, so that the
/// time stays linear.
pub(super) struct PlainThoughts<'a> {
    text: &'a str,
    /// The next occurrence of each end, as far as it is known: None if there is
    /// no further one.
    next: [Option<Option<usize>>; ENDS.len()],
}

impl<'a> PlainThoughts<'a> {
    pub fn new(text: &'a str) -> Self {
        Self {
            text,
            next: [None; ENDS.len()],
        }
    }

    /// The thought that begins at byte `at`. Positions must not decrease.
    pub fn at(&mut self, at: usize) -> Option<PlainThought> {
        let rest = &self.text[at..];
        if rest.starts_with(FINAL) {
            return Some(PlainThought {
                start: at,
                end: Some((at, at + FINAL.len())),
            });
        }
        if let Some(name) = CHANNELS.iter().find(|name| rest.starts_with(**name)) {
            return self.stripped_channel(at + name.len());
        }
        let &(open, end) = PHRASES.iter().find(|(open, _)| rest.starts_with(open))?;
        Some(PlainThought {
            start: at + open.len(),
            end: self.end(end, at),
        })
    }

    /// `analysis…assistantfinal…`. Without the end, only a text that is glued to
    /// the name of the channel is a thought: `analysis of the answer` is prose.
    fn stripped_channel(&mut self, start: usize) -> Option<PlainThought> {
        let end = self.end(0, start);
        let glued = self.text[start..].chars().next().is_some_and(|c| {
            c.is_uppercase() || c.is_numeric() || matches!(c, '"' | '\'' | '“' | '*' | '<')
        });
        (end.is_some() || glued).then_some(PlainThought { start, end })
    }

    /// The next occurrence of an end, and where it ends itself.
    fn end(&mut self, which: usize, from: usize) -> Option<(usize, usize)> {
        let needle = ENDS[which];
        let known = self.next[which].filter(|found| found.is_none_or(|at| at >= from));
        let found = known.unwrap_or_else(|| {
            memmem::find(&self.text.as_bytes()[from..], needle.as_bytes()).map(|at| from + at)
        });
        self.next[which] = Some(found);
        found.map(|at| (at, at + needle.len()))
    }
}
