//! Tags that delimit thoughts, and control strings of chat templates.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, Anchored, Input, MatchKind, StartKind};

/// Maximum length of a tag in bytes.
const MAX_TAG: usize = 96;

/// What may stand around the name in a tag.
const BARS: [char; 4] = ['|', '｜', ' ', '\t'];

/// The names of thought tags, as the last word of the tag: `<think>`,
/// `<seed:think>`, `<|START_THINKING|>`, `<|begin_of_thought|>`.
const NAMES: [&str; 8] = [
    "think",
    "thinking",
    "thought",
    "thoughts",
    "reasoning",
    "reflection",
    "scratchpad",
    "monologue",
];

/// Thought tags without such a name: Mistral, Kimi-VL, Gemma 4, MedGemma,
/// PLaMo, Kimi K3, Inkling.
const OPENING: [&str; 7] = [
    "[THINK]",
    "◁think▷",
    "<|channel>thought",
    "<|channel>",
    "<unused94>",
    "<|plamo:begin_think:plamo|>",
    "<|open|>think<|sep|>",
];
const CLOSING: [&str; 7] = [
    "[/THINK]",
    "◁/think▷",
    "<channel|>",
    "<unused95>",
    "<|plamo:end_think:plamo|>",
    "<|close|>think<|sep|>",
    "<|content_text|>",
];

/// Tags around the answer that follows a thought.
const WRAPPERS: [&str; 8] = [
    "<response>",
    "<answer>",
    "<output>",
    "<|START_RESPONSE|>",
    "<|START_TEXT|>",
    "<|begin_of_solution|>",
    "<|begin_of_answer|>",
    "<|open|>response<|sep|>",
];

/// Control strings other than `<|name|>`, `<｜name｜>` and `[|name|]`: Llama 2
/// and 3, Gemma 2 to 4, Mistral, InternLM, Baichuan, Nemotron, Kimi, MiniMax.
const CONTROL: [&str; 31] = [
    "</s>",
    "<bos>",
    "<eos>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<|turn>",
    "<turn|>",
    "<<SYS>>",
    "<</SYS>>",
    "[INST]",
    "[/INST]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_CALLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "<TOKENS_UNUSED_0>",
    "<TOKENS_UNUSED_1>",
    "<eoh>",
    "<eoa>",
    "<eom>",
    "<reserved_106>",
    "<reserved_107>",
    "<extra_id_0>",
    "<extra_id_1>",
    "<SPECIAL_10>",
    "<SPECIAL_11>",
    "<SPECIAL_12>",
    "[e~[",
];

/// What a tag means for the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// A thought begins.
    Open,
    /// A thought ends.
    Close,
    /// The answer after a thought begins.
    Wrapper,
    /// A control string: the turn ends.
    Control,
}

static FIXED: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .start_kind(StartKind::Anchored)
        .ascii_case_insensitive(true)
        .build(
            OPENING
                .iter()
                .chain(&CLOSING)
                .chain(&WRAPPERS)
                .chain(&CONTROL),
        )
        .expect("the fixed list of tags is far below the automaton's limits")
});

/// Whether the bytes at and after `at` may begin a tag. Most brackets do not,
/// and a look-up costs more than a comparison.
pub(super) fn may_begin(bytes: &[u8], at: usize) -> bool {
    let next = bytes.get(at + 1).map_or(0, u8::to_ascii_lowercase);
    match bytes[at] {
        b'[' => matches!(next, b'/' | b'|' | b'i' | b's' | b'a' | b't' | b'e'),
        _ => true,
    }
}

/// Whether a control string of a common chat template stands at byte `at`.
pub(crate) fn is_control_at(text: &str, at: usize) -> bool {
    matches!(tag_at(text, at), Some((Tag::Control, _)))
}

/// The tag at byte `at`, with its length.
pub(super) fn tag_at(text: &str, at: usize) -> Option<(Tag, usize)> {
    if !text.is_char_boundary(at) {
        return None;
    }
    fixed_tag(text, at).or_else(|| {
        let rest = &text[at..];
        named_tag(rest).or_else(|| control_name(rest).map(|length| (Tag::Control, length)))
    })
}

fn fixed_tag(text: &str, at: usize) -> Option<(Tag, usize)> {
    let found = FIXED.find(Input::new(text).range(at..).anchored(Anchored::Yes))?;
    let (index, length) = (found.pattern().as_usize(), found.len());
    let counts = [OPENING.len(), CLOSING.len(), WRAPPERS.len()];
    if index < counts[0] {
        // In lower case, `[think]` is a stage direction.
        let exact = !text[at..].starts_with('[') || text[at..].starts_with("[THINK]");
        return exact.then_some((Tag::Open, length));
    }
    if index < counts[0] + counts[1] {
        return Some((Tag::Close, length));
    }
    if index < counts.iter().sum() {
        return Some((Tag::Wrapper, length));
    }
    Some((Tag::Control, length))
}

/// A thought tag by its name, with attributes and white space: `<think>`,
/// `</ thinking >`, `<|end_of_thought|>`.
fn named_tag(rest: &str) -> Option<(Tag, usize)> {
    let inner = rest.strip_prefix('<')?;
    let end = inner.bytes().take(MAX_TAG).position(|b| b == b'>')?;
    let inner = &inner[..end];
    if inner.contains(['<', '\n']) || inner.ends_with('/') {
        return None;
    }
    let name = inner.trim_matches(BARS);
    let slashed = name.strip_prefix('/');
    let name = slashed.unwrap_or(name).trim_matches(BARS);
    let (name, attributes) = name.split_once(char::is_whitespace).unwrap_or((name, ""));
    if !(attributes.is_empty() || attributes.contains('=')) {
        return None;
    }
    let closes = names_thought(name)?;
    let tag = if closes || slashed.is_some() {
        Tag::Close
    } else {
        Tag::Open
    };
    Some((tag, end + 2))
}

/// Whether `name` is that of a thought tag: Some(whether it closes).
fn names_thought(name: &str) -> Option<bool> {
    let name = name.to_ascii_lowercase();
    let mut closes = false;
    let mut last = "";
    let mut others = 0;
    for word in name.split(['_', '-', ':', '▁']) {
        match word {
            "begin" | "start" | "open" | "of" => {}
            "end" | "close" => closes = true,
            _ => {
                others += usize::from(!last.is_empty());
                last = word;
            }
        }
    }
    (NAMES.contains(&last) && others <= 1).then_some(closes)
}

/// The length of a control string of the form `<|name|>`, `<｜name｜>` or
/// `[|name|]`.
fn control_name(rest: &str) -> Option<usize> {
    let (open, close) = [("<|", "|>"), ("<｜", "｜>"), ("[|", "|]")]
        .into_iter()
        .find(|(open, _)| rest.starts_with(open))?;
    let inner = &rest[open.len()..];
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/' | '▁');
    let end = inner
        .find(|c| !is_name(c))
        .filter(|&end| 0 < end && end <= MAX_TAG)?;
    inner[end..]
        .starts_with(close)
        .then_some(open.len() + end + close.len())
}
