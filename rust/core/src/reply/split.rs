//! Splitting a reply into what was said and what was thought.

use std::borrow::Cow;
use std::ops::Range;

use super::lines::{after_fence, is_space, next_fence};
use super::marks::TurnMarks;
use super::plain_thought::PlainThoughts;
use super::scan::{Event, Kind, events, repeats_the_prompt};

/// The names of the tags around an answer that follows a thought.
const WRAPPED: [&str; 3] = ["response", "answer", "output"];

/// The parts of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<'a> {
    /// What was said. Parts that a thought separates are joined by a line feed.
    pub said: Cow<'a, str>,
    /// What was thought; None if nothing was.
    pub thought: Option<String>,
    /// The byte at which another turn begins.
    pub turn: Option<usize>,
    /// Whether the reply ends inside a thought, so that nothing was said.
    pub open: bool,
    /// For each part of `said`: its start there, and in the reply.
    parts: Vec<(usize, usize)>,
}

impl Reply<'_> {
    /// The byte of the reply from which byte `at` of [`Self::said`] comes.
    pub fn position(&self, at: usize) -> usize {
        let part = self.parts.partition_point(|&(said, _)| said <= at);
        let (said, reply) = self.parts[part.saturating_sub(1)];
        reply + (at - said)
    }

    /// For each part of [`Self::said`]: its start there in code points, and its
    /// byte in the reply.
    pub fn said_starts(&self) -> Vec<(usize, usize)> {
        let parts = self.parts.iter();
        parts
            .map(|&(said, reply)| (self.said[..said].chars().count(), reply))
            .collect()
    }

    /// A reply of which all was said.
    fn untouched(text: &str) -> Reply<'_> {
        Reply {
            said: Cow::Borrowed(text),
            thought: None,
            turn: None,
            open: false,
            parts: vec![(0, 0)],
        }
    }

    fn into_owned(self) -> Reply<'static> {
        Reply {
            said: Cow::Owned(self.said.into_owned()),
            thought: self.thought,
            turn: self.turn,
            open: self.open,
            parts: self.parts,
        }
    }

    /// This reply with what was said split again.
    fn and_then(self, again: Reply<'static>) -> Self {
        let thoughts = [&self.thought, &again.thought];
        let thoughts: Vec<&str> = thoughts.into_iter().flatten().map(String::as_str).collect();
        let mut parts: Vec<(usize, usize)> = Vec::new();
        for (index, &(start, inner)) in again.parts.iter().enumerate() {
            let next = again
                .parts
                .get(index + 1)
                .map_or(again.said.len(), |it| it.0);
            parts.push((start, self.position(inner)));
            let end = inner + (next - start);
            let inside = self.parts.iter().filter(|it| inner < it.0 && it.0 < end);
            parts.extend(inside.map(|it| (start + it.0 - inner, it.1)));
        }
        Self {
            thought: (!thoughts.is_empty()).then(|| thoughts.join("\n")),
            turn: again.turn.map(|at| self.position(at)).or(self.turn),
            open: again.open,
            said: again.said,
            parts,
        }
    }
}

/// Splits a reply. `in_thought`: the prompt has opened a thought, so a reply
/// that never closes it is all thought. Linear in the length of the reply.
pub fn split<'a>(text: &'a str, marks: &TurnMarks, in_thought: bool) -> Reply<'a> {
    let mut found = split_once(text, marks, in_thought);
    // Where something was taken out, what stood behind it may now begin a line.
    for _ in 0..MAX_PASSES {
        if found.said.len() == text.len() {
            return found;
        }
        let again = split_once(&found.said, marks, false).into_owned();
        if again.said.len() == found.said.len() {
            return found;
        }
        found = found.and_then(again);
    }
    Reply {
        said: Cow::Borrowed(""),
        thought: Some(text.to_owned()),
        open: true,
        ..found
    }
}

/// How often a reply is split again. Replies that need more than two passes are
/// not text that a model means to say.
const MAX_PASSES: usize = 8;

fn split_once<'a>(text: &'a str, marks: &TurnMarks, in_thought: bool) -> Reply<'a> {
    let events = events(text, marks);
    let mut splitter = Splitter::new(text, in_thought);
    if events.is_empty() && !splitter.thinking && splitter.start == 0 {
        return Reply::untouched(text); // most replies
    }
    let mut end = text.len();
    for event in events {
        if event.range.start < splitter.start {
            continue; // inside something that was skipped
        }
        if splitter.ends_turn(&event) {
            end = event.range.start;
            break;
        }
    }
    splitter.finish(end)
}

struct Splitter<'a> {
    text: &'a str,
    /// What was said before `start`.
    said: Vec<Range<usize>>,
    thoughts: Vec<Range<usize>>,
    /// Where the current part, said or thought, starts.
    start: usize,
    thinking: bool,
    /// Whether nothing but white space was said before `start`.
    silent: bool,
    plain_thoughts: PlainThoughts<'a>,
    /// Whether a thought has ended: only then a wrapper is expected.
    has_thought: bool,
    wrapped: bool,
    /// How far delimiters of code blocks have been counted, whether a block is
    /// open there, and up to where the block is known to be closed.
    fences: usize,
    in_fence: bool,
    protected: usize,
}

impl<'a> Splitter<'a> {
    fn new(text: &'a str, in_thought: bool) -> Self {
        let mut splitter = Self {
            text,
            said: Vec::new(),
            thoughts: Vec::new(),
            start: 0,
            thinking: in_thought,
            silent: true,
            plain_thoughts: PlainThoughts::new(text),
            has_thought: false,
            wrapped: false,
            fences: 0,
            in_fence: false,
            protected: 0,
        };
        if !in_thought {
            splitter.begin_said(0);
        }
        splitter
    }

    /// Takes an event into account. Returns whether another turn begins there.
    fn ends_turn(&mut self, event: &Event) -> bool {
        let range = event.range.clone();
        match event.kind {
            Kind::Message { said: false } if self.thinking => {
                self.thoughts.push(self.start..range.start);
                self.start = range.end;
            }
            Kind::Open | Kind::Message { said: false } => self.open(range),
            Kind::Close => self.close(range),
            Kind::Message { said: true } => {
                if self.thinking || self.is_silent(range.start) {
                    self.close(range);
                } else {
                    return true; // a second answer
                }
            }
            Kind::Control { continues } => {
                return !(self.thinking && continues || self.is_in_block(range.start));
            }
            _ if self.thinking => {} // a thought may quote the conversation
            Kind::Wrapper if self.has_thought && self.is_silent(range.start) => {
                self.wrapped = true;
                self.begin_said(range.end);
            }
            Kind::Wrapper => {
                return repeats_the_prompt(self.text, event) && !self.is_in_block(range.start);
            }
            Kind::Mark { own } => return self.begins_turn(range, own),
            Kind::Speaker { own, at_line_start } => {
                return (at_line_start || range.start == self.start)
                    && self.begins_turn(range, own);
            }
        }
        false
    }

    fn open(&mut self, range: Range<usize>) {
        if self.thinking {
            return;
        }
        self.count_fences(range.start);
        self.silent = self.is_silent(range.start);
        self.said.push(self.start..range.start);
        self.start = range.end;
        self.thinking = true;
    }

    fn close(&mut self, range: Range<usize>) {
        if self.thinking {
            self.thoughts.push(self.start..range.start);
        } else {
            // The thought was opened in the prompt: what looked said was thought.
            self.thoughts.append(&mut self.said);
            self.thoughts.push(self.start..range.start);
            self.silent = true;
            self.in_fence = false;
        }
        self.thinking = false;
        self.has_thought = true;
        self.begin_said(range.end);
    }

    /// Starts a part that is said, after a thought or a label.
    fn begin_said(&mut self, at: usize) {
        self.start = at;
        while self.silent {
            let rest = &self.text[self.start..];
            let inner = self.text.len() - rest.trim_start_matches(is_space).len();
            let Some(found) = self.plain_thoughts.at(inner) else {
                break;
            };
            let Some((end, next)) = found.end else {
                self.start = found.start;
                self.thinking = true;
                return;
            };
            self.thoughts.push(found.start..end);
            self.has_thought = true;
            self.start = next;
        }
        self.fences = self.start;
    }

    /// Whether a mark or a label begins another turn. The assistant's own one at
    /// the very beginning is dropped.
    fn begins_turn(&mut self, range: Range<usize>, own: bool) -> bool {
        if self.is_in_block(range.start) {
            return false;
        }
        if own && self.is_silent(range.start) {
            self.begin_said(range.end);
            return false;
        }
        true
    }

    /// Whether nothing was said before byte `at`.
    fn is_silent(&self, at: usize) -> bool {
        self.silent && self.text[self.start..at].chars().all(is_space)
    }

    /// Counts the delimiters of code blocks before byte `at`.
    fn count_fences(&mut self, at: usize) {
        while let Some(fence) = next_fence(self.text, self.fences..at.max(self.fences)) {
            self.in_fence = !self.in_fence;
            self.fences = after_fence(fence);
        }
        self.fences = self.fences.max(at);
    }

    /// Whether byte `at` is in a code block that is closed before the next
    /// thought.
    fn is_in_block(&mut self, at: usize) -> bool {
        if self.thinking {
            return false;
        }
        if at < self.protected {
            return true;
        }
        self.count_fences(at);
        if !self.in_fence {
            return false;
        }
        let Some(close) = next_fence(self.text, at..self.text.len()) else {
            return false;
        };
        if has_thought_tag(&self.text[at..close]) {
            return false;
        }
        self.protected = close;
        true
    }

    fn finish(mut self, end: usize) -> Reply<'a> {
        let turn = (end < self.text.len()).then_some(end);
        if self.thinking {
            self.thoughts = vec![self.whole_thought(end)];
            self.said.clear();
        } else {
            self.said.push(self.start..end.max(self.start));
        }
        let (said, parts) = self.joined_said(end);
        Reply {
            said,
            thought: self.joined_thoughts(),
            turn,
            open: self.thinking,
            parts,
        }
    }

    /// The thought of a reply that ends inside it: all of the reply, without the
    /// tag at its beginning.
    fn whole_thought(&self, end: usize) -> Range<usize> {
        if self.silent && self.thoughts.is_empty() {
            self.start.min(end)..end
        } else {
            0..end
        }
    }

    /// The parts of what was said, trimmed where something was cut off.
    fn joined_said(&self, end: usize) -> (Cow<'a, str>, Vec<(usize, usize)>) {
        let mut joined: Cow<'a, str> = Cow::Borrowed("");
        let mut parts = Vec::new();
        for part in &self.said {
            let (mut start, mut stop) = (part.start, part.end);
            if stop < self.text.len() || end < self.text.len() {
                stop = start + self.text[start..stop].trim_end_matches(is_space).len();
            }
            if start > 0 {
                start = stop - self.text[start..stop].trim_start_matches(is_space).len();
            }
            if self.wrapped && part.end == end {
                stop = start + without_closing_tag(&self.text[start..stop]).len();
            }
            if start == stop {
                continue;
            }
            if joined.is_empty() {
                parts.push((0, start));
                joined = Cow::Borrowed(&self.text[start..stop]);
            } else {
                let joined = joined.to_mut();
                joined.push('\n');
                parts.push((joined.len(), start));
                joined.push_str(&self.text[start..stop]);
            }
        }
        if parts.is_empty() {
            parts.push((0, self.start.min(self.text.len())));
        }
        (joined, parts)
    }

    fn joined_thoughts(&self) -> Option<String> {
        let texts = self.thoughts.iter();
        let texts: Vec<&str> = texts
            .map(|range| without_message_end(&self.text[range.clone()]))
            .filter(|text| !text.is_empty())
            .collect();
        (!texts.is_empty()).then(|| texts.join("\n"))
    }
}

/// A text without the closing tag of the answer, and white space around it.
fn without_closing_tag(text: &str) -> &str {
    let trimmed = text.trim_end_matches(is_space);
    let name = trimmed
        .strip_suffix('>')
        .and_then(|it| it.rsplit_once("</"));
    match name {
        Some((before, name)) if WRAPPED.iter().any(|it| name.eq_ignore_ascii_case(it)) => {
            before.trim_end_matches(is_space)
        }
        _ => text,
    }
}

/// A thought without the token that ends its message in the Harmony format, and
/// without white space around it.
fn without_message_end(thought: &str) -> &str {
    let thought = thought.trim_matches(is_space);
    let ends = ["<|end|>", "<|call|>"];
    let end = ends.iter().find_map(|end| thought.strip_suffix(end));
    end.unwrap_or(thought).trim_end_matches(is_space)
}

fn has_thought_tag(text: &str) -> bool {
    events(text, &TurnMarks::default())
        .iter()
        .any(|it| matches!(it.kind, Kind::Open | Kind::Close | Kind::Message { .. }))
}
