//! No text makes splitting a reply or escaping a text panic, take long, or give
//! a result that is not a fixed point.

#![no_main]

use std::sync::LazyLock;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use srlm_core::escape::Escaper;
use srlm_core::reply::{TurnMark, TurnMarks, split};

static MARKS: LazyLock<TurnMarks> = LazyLock::new(|| {
    let marks = [("### Instruction:", false), ("### Response:", true)];
    let marks = marks.map(|(text, own)| TurnMark {
        text: text.to_owned(),
        at_line_start: true,
        own,
    });
    TurnMarks::new(marks.to_vec()).expect("two short marks")
});

static ESCAPER: LazyLock<Escaper> = LazyLock::new(|| {
    Escaper::new(&["response", "answer_a"], &MARKS, true).expect("few short patterns")
});

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let start = Instant::now();
    for in_thought in [false, true] {
        check_split(&text, in_thought);
    }
    let once = ESCAPER.escape(&text);
    assert_eq!(ESCAPER.escape(&once), once, "escaped twice: {text:?}");
    assert!(
        start.elapsed().as_secs() < 2,
        "{} bytes took too long",
        text.len()
    );
});

fn check_split(text: &str, in_thought: bool) {
    let found = split(text, &MARKS, in_thought);
    for (at, c) in found.said.char_indices().filter(|&(_, c)| c != '\n') {
        assert!(text[found.position(at)..].starts_with(c), "made up: {text:?}");
    }
    let again = split(&found.said, &MARKS, false);
    assert_eq!(again.said, found.said, "no fixed point: {text:?}");
    assert!(found.turn.is_none_or(|at| text.is_char_boundary(at)));
}
