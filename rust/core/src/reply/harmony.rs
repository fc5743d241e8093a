//! Headers of the Harmony format: `<|start|>assistant<|channel|>final<|message|>`
//! (openai/harmony, "Harmony response format").

const START: &str = "<|start|>assistant";
const CHANNEL: &str = "<|channel|>";
const MESSAGE: &str = "<|message|>";

/// Maximum length of a header in bytes.
const MAX_HEADER: usize = 160;

/// The header of a message of the assistant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Its length in bytes.
    pub length: usize,
    /// Whether what follows is said to the user: the channel `final`, or none.
    pub said: bool,
}

/// The header at the beginning of `rest`.
pub(super) fn header(rest: &str) -> Option<Header> {
    if !rest.starts_with(START) && !rest.starts_with(CHANNEL) {
        return None;
    }
    let message = rest
        .as_bytes()
        .windows(MESSAGE.len())
        .take(MAX_HEADER)
        .position(|window| window == MESSAGE.as_bytes());
    let end = message.unwrap_or(0);
    let Some((_, channel)) = rest[..end].split_once(CHANNEL) else {
        // Without a channel, or with a header that is not complete.
        return (message.is_some()).then_some(Header {
            length: end + MESSAGE.len(),
            said: true,
        });
    };
    let name = channel.trim_start();
    let name = &name[..name
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(name.len())];
    Some(Header {
        length: end + MESSAGE.len(),
        said: name == "final",
    })
}

/// Whether `rest` begins with a header that is cut off: its message never came.
pub(super) fn is_cut_off(rest: &str) -> bool {
    rest.starts_with(CHANNEL) && header(rest).is_none()
}

/// Whether a control string stands between two messages of one turn.
pub(super) fn continues(control: &str) -> bool {
    ["<|end|>", "<|call|>", "<|start|>", "<|constrain|>", MESSAGE]
        .iter()
        .any(|it| control.eq_ignore_ascii_case(it))
}
