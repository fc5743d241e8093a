//! The positions at which a thought or a turn may begin or end.

use std::ops::Range;

use memchr::{memchr3_iter, memmem};

use super::harmony::{self, Header};
use super::lines::{is_mention, is_quoted, starts_line};
use super::marks::TurnMarks;
use super::speaker::{Speaker, may_end_label, speaker_at};
use super::tag::{Tag, may_begin, tag_at};

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
    let mut scan = Scan {
        text,
        found: Vec::new(),
        resume: 0,
    };
    let bytes = text.as_bytes();
    for at in memchr3_iter(b'<', b'[', b':', bytes) {
        if bytes[at] == b':' {
            scan.speaker(at);
        } else {
            scan.tag(at);
        }
    }
    if !text.is_ascii() {
        memmem::find_iter(bytes, "◁").for_each(|at| scan.tag(at));
        memmem::find_iter(bytes, "：").for_each(|at| scan.speaker(at));
    }
    for (range, own) in marks.find(text) {
        scan.push(range, Kind::Mark { own });
    }
    let mut found = scan.found;
    if found.len() > 1 {
        found.sort_by_key(|it| it.range.start);
    }
    found
}

struct Scan<'a> {
    text: &'a str,
    found: Vec<Event>,
    /// The end of the last tag in square or angle brackets.
    resume: usize,
}

impl Scan<'_> {
    /// Adds an event unless it is quoted.
    fn push(&mut self, range: Range<usize>, kind: Kind) {
        if !is_quoted(self.text, &range) {
            self.found.push(Event { range, kind });
        }
    }

    fn tag(&mut self, at: usize) {
        let bytes = self.text.as_bytes();
        if (at < self.resume && bytes[at].is_ascii()) || !may_begin(bytes, at) {
            return;
        }
        if let Some((range, kind)) = tag_event(self.text, at) {
            self.resume = self.resume.max(range.end);
            self.push(range, kind);
        }
    }

    fn speaker(&mut self, colon: usize) {
        if !may_end_label(self.text.as_bytes(), colon) {
            return;
        }
        if let Some(Speaker {
            range,
            own,
            at_line_start,
        }) = speaker_at(self.text, colon)
        {
            self.push(range, Kind::Speaker { own, at_line_start });
        }
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

/// Whether the tag of the paper's judge prompt (arXiv 2401.10020, figure 2)
/// begins another question: at the start of a line.
pub(super) fn repeats_the_prompt(text: &str, event: &Event) -> bool {
    text[event.range.clone()].eq_ignore_ascii_case("<response>")
        && starts_line(text, event.range.start)
}
