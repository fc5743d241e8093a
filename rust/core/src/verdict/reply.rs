//! The parts of a reply to parse: without think blocks and further turns.

use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, Anchored, Input, Match, MatchKind, StartKind};
use memchr::memchr2_iter;

use super::cursor::{is_blank, is_line_break};

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// Strings that end a reply at the start of a line: the speakers and the tag of
/// the paper's judge prompt (arXiv 2401.10020, figure 2) in the two spellings
/// that chat formats use. `user:` in lower case counts as prose.
const LINE_ENDERS: [&str; 7] = [
    "User:",
    "USER:",
    "User：",
    "Human:",
    "HUMAN:",
    "Human：",
    "<response>",
];

/// Strings that end a reply anywhere: the turn markers of the common chat
/// templates (ChatML, Llama 2 and 3, Zephyr, Phi, Gemma, Mistral, DeepSeek,
/// Harmony).
const MARKERS: [&str; 25] = [
    "<|im_start|>",
    "<|im_end|>",
    "<|im_sep|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end|>",
    "<|eot|>",
    "<|start|>",
    "<|return|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<eos>",
    "[INST]",
    "</s>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<｜end▁of▁sentence｜>",
];

static TAGS: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostFirst)
        .start_kind(StartKind::Anchored)
        .ascii_case_insensitive(true)
        .build([OPEN, CLOSE].into_iter().chain(LINE_ENDERS).chain(MARKERS))
        .expect("the fixed list of tags is far below the automaton's limits")
});

/// The tags of a reply, in order. Only positions at which a tag can start are
/// tried: most replies contain the four first characters only in prose. No tag
/// contains the start of another, so skipping over a tag misses none.
fn tags(reply: &str) -> impl Iterator<Item = Match> {
    let bytes = reply.as_bytes();
    let mut brackets = memchr2_iter(b'<', b'[', bytes).peekable();
    let mut speakers = memchr2_iter(b'U', b'H', bytes).peekable();
    std::iter::from_fn(move || {
        loop {
            let at = match (brackets.peek(), speakers.peek()) {
                (Some(bracket), Some(speaker)) if bracket > speaker => speakers.next()?,
                (Some(_), _) => brackets.next()?,
                (None, _) => speakers.next()?,
            };
            if may_begin(bytes, at) {
                let here = Input::new(reply).range(at..).anchored(Anchored::Yes);
                if let Some(found) = TAGS.find(here) {
                    return Some(found);
                }
            }
        }
    })
}

/// Whether the byte at `at` is followed by the second byte of a tag.
fn may_begin(bytes: &[u8], at: usize) -> bool {
    let next = bytes.get(at + 1).map(u8::to_ascii_lowercase);
    match bytes[at] {
        b'<' => matches!(next, Some(b'|' | b'/' | b't' | b's' | b'e' | b'r' | 0xEF)),
        b'[' => next == Some(b'i'),
        b'U' => next == Some(b's'),
        _ => next == Some(b'u'),
    }
}

/// The effect of a tag on the reply.
enum Tag {
    Open,
    Close,
    LineEnder,
    Marker,
}

fn tag(reply: &str, found: &Match) -> Option<Tag> {
    let index = found.pattern().as_usize();
    match index {
        0 => Some(Tag::Open),
        1 => Some(Tag::Close),
        _ if index < 2 + LINE_ENDERS.len() => {
            is_line_ender(reply, found.range()).then_some(Tag::LineEnder)
        }
        _ => Some(Tag::Marker),
    }
}

/// Whether the string at `found` is spelled as listed and starts its line.
fn is_line_ender(reply: &str, found: Range<usize>) -> bool {
    let before = reply[..found.start].trim_end_matches(is_blank);
    let opens_line =
        before.chars().next_back().is_none_or(is_line_break) || before.ends_with(CLOSE);
    opens_line && LINE_ENDERS.contains(&&reply[found])
}

/// The parts of the reply that count, in order; None if a think block is not
/// closed.
///
/// A marker ends the reply even inside a think block: the model has stopped
/// there. Strings such as `User:` do not, since a think block may quote the
/// conversation.
pub(super) fn reply_parts(reply: &str) -> Option<Vec<Range<usize>>> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut thinking = false;
    let mut end = reply.len();
    for found in tags(reply) {
        match tag(reply, &found) {
            Some(Tag::Open) if !thinking => {
                parts.push(start..found.start());
                thinking = true;
            }
            Some(Tag::Close) => {
                if !thinking {
                    parts.clear();
                }
                thinking = false;
                start = found.end();
            }
            Some(Tag::LineEnder) if !thinking => {
                end = found.start();
                break;
            }
            Some(Tag::Marker) => {
                end = found.start();
                break;
            }
            _ => {}
        }
    }
    if thinking {
        return None;
    }
    parts.push(start..end);
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts_of(reply: &str) -> Option<Vec<&str>> {
        let parts = reply_parts(reply)?;
        Some(parts.into_iter().map(|part| &reply[part]).collect())
    }

    /// The fast search finds the same tags as a search at every byte.
    #[test]
    fn no_tag_is_missed() {
        let all: Vec<&str> = [OPEN, CLOSE]
            .into_iter()
            .chain(LINE_ENDERS)
            .chain(MARKERS)
            .collect();
        let naive = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostFirst)
            .ascii_case_insensitive(true)
            .build(&all)
            .unwrap();
        let begins_small =
            |found: &Match, text: &str| text[found.start()..].starts_with(['u', 'h']);
        for first in &all {
            for second in &all {
                for cut in [0, 1, first.len()] {
                    let Some(head) = first.get(..first.len() - cut) else {
                        continue;
                    };
                    let text = format!("a{head}{second}<H[U{}", second.to_ascii_uppercase());
                    let expected: Vec<Match> = naive
                        .find_iter(&text)
                        .filter(|found| !begins_small(found, &text))
                        .collect();
                    assert_eq!(tags(&text).collect::<Vec<_>>(), expected, "{text}");
                }
            }
        }
    }

    #[test]
    fn thoughts_are_left_out() {
        let cases: [(&str, Option<&[&str]>); 9] = [
            ("a", Some(&["a"])),
            ("", Some(&[""])),
            ("<think>t</think>a", Some(&["", "a"])),
            ("a<THINK>t</Think>b", Some(&["a", "b"])),
            ("<think>t", None),
            ("a<think>t", None),
            ("t</think>a", Some(&["a"])),
            ("<think>t<think>u</think>v</think>a", Some(&["a"])),
            ("<think>t</think>a<think>", None),
        ];
        for (reply, expected) in cases {
            assert_eq!(parts_of(reply).as_deref(), expected, "{reply:?}");
        }
    }

    #[test]
    fn another_turn_ends_the_reply() {
        let cases: [(&str, Option<&[&str]>); 14] = [
            ("a\nUser: b", Some(&["a\n"])),
            ("a\r\n \tHuman: b", Some(&["a\r\n \t"])),
            ("a\u{2028}USER: b", Some(&["a\u{2028}"])),
            ("User: b", Some(&[""])),
            ("a\n<response>b", Some(&["a\n"])),
            ("a <response>b", Some(&["a <response>b"])),
            ("a User: b", Some(&["a User: b"])),
            ("a\nuser: b", Some(&["a\nuser: b"])),
            ("a\nUsers: b", Some(&["a\nUsers: b"])),
            ("a</s>b", Some(&["a"])),
            ("a <|IM_END|> b", Some(&["a "])),
            ("<think>\nUser: t</think>a", Some(&["", "a"])),
            ("<think>t</think> User: b", Some(&["", " "])),
            ("<think>t<|im_end|></think>a", None),
        ];
        for (reply, expected) in cases {
            assert_eq!(parts_of(reply).as_deref(), expected, "{reply:?}");
        }
    }
}
