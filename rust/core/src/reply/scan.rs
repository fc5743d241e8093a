//! The positions at which a thought or a turn may begin or end.

use std::ops::Range;

use memchr::{memchr_iter, memchr3_iter, memmem};

use super::harmony::{self, Header};
use super::lines::{is_mention, is_quoted, starts_line};
use super::marks::TurnMarks;
use super::speaker::{Speaker, speaker_at};
use super::tag::{FIRST_BYTES, Tag, tag_at};

/// Something that may change what counts as said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub range: Range<usize>,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A thought begins.
    Open,
    /// A thought ends.
    Close,
    /// A message of the Harmony format begins: said, or a thought.
    Message { said: bool },
    /// The answer after a thought begins.
    Wrapper,
    /// A control string; `continues`: one that Harmony writes within a turn.
    Control { continues: bool },
    /// A mark of the template in use.
    Mark { own: bool },
    /// A speaker's label.
    Speaker { own: bool, at_line_start: bool },
}

/// All events of a text, by their start.
pub(super) fn events(text: &str, marks: &TurnMarks) -> Vec<Event> {
    let mut found = Vec::new();
    tags(text, &mut found);
    speakers(text, &mut found);
    for (range, own) in marks.find(text) {
        push(text, range, Kind::Mark { own }, &mut found);
    }
    found.sort_by_key(|it| it.range.start);
    found
}

/// Adds an event unless it is quoted.
fn push(text: &str, range: Range<usize>, kind: Kind, found: &mut Vec<Event>) {
    if !is_quoted(text, &range) {
        found.push(Event { range, kind });
    }
}

fn tags(text: &str, found: &mut Vec<Event>) {
    let bytes = text.as_bytes();
    let [open, square, close, triangle] = FIRST_BYTES;
    let mut resume = 0;
    let mut visit = |at: usize| {
        if at < resume {
            return;
        }
        if let Some((range, kind)) = tag_event(text, at) {
            resume = range.end;
            push(text, range, kind, found);
        }
    };
    if text.is_ascii() {
        memchr3_iter(open, square, close, bytes).for_each(&mut visit);
    } else {
        let mut triangles = memchr_iter(triangle, bytes).peekable();
        for at in memchr3_iter(open, square, close, bytes) {
            while let Some(before) = triangles.next_if(|&it| it < at) {
                visit(before);
            }
            visit(at);
        }
        triangles.for_each(&mut visit);
    }
}

fn tag_event(text: &str, at: usize) -> Option<(Range<usize>, Kind)> {
    if let Some(Header { length, said }) = harmony::header(&text[at..]) {
        return Some((at..at + length, Kind::Message { said }));
    }
    let (tag, length) = tag_at(text, at)?;
    let range = at..at + length;
    if tag == Tag::Control && is_mention(text, &range) {
        return None;
    }
    let kind = match tag {
        Tag::Open => Kind::Open,
        Tag::Close => Kind::Close,
        Tag::Wrapper => Kind::Wrapper,
        // A header that is cut off: the message may have become a thought.
        Tag::Control if harmony::is_cut_off(&text[at..]) => Kind::Open,
        Tag::Control => Kind::Control {
            continues: harmony::continues(&text[range.clone()]),
        },
    };
    Some((range, kind))
}

fn speakers(text: &str, found: &mut Vec<Event>) {
    let mut add = |colon: usize| {
        if let Some(Speaker {
            range,
            own,
            at_line_start,
        }) = speaker_at(text, colon)
        {
            push(text, range, Kind::Speaker { own, at_line_start }, found);
        }
    };
    memchr_iter(b':', text.as_bytes()).for_each(&mut add);
    if !text.is_ascii() {
        memmem::find_iter(text.as_bytes(), "：").for_each(&mut add);
    }
}

/// Whether the tag of the paper's judge prompt (arXiv 2401.10020, figure 2)
/// begins another question: at the start of a line.
pub(super) fn repeats_the_prompt(text: &str, event: &Event) -> bool {
    text[event.range.clone()].eq_ignore_ascii_case("<response>")
        && starts_line(text, event.range.start)
}
