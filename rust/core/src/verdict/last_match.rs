//! The last match of a pattern, in linear time.
//!
//! A single search is linear in the scanned text, but a pattern may scan to the
//! end of the text and still return a short match
//! (`Score:(?:.*!)?(?P<score>\d)?`). Iterating over all matches of such a
//! pattern is quadratic. Therefore the number of bytes that the searches may
//! have scanned is summed up, and above a limit [`two_pass`](super::two_pass)
//! takes over: it is slower per byte, finds the same matches, and is linear in
//! total.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use regex_automata::meta::{BuildError, Cache, Regex};
use regex_automata::util::iter::Searcher;
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input, PatternID};

use super::two_pass::TwoPass;
use crate::Error;

/// The group of a pattern that captures the number.
const GROUP: &str = "score";

/// The maximum number of bytes that the searches in one text may scan before
/// the linear algorithm is used. Texts of up to 2800 bytes never reach it.
const MAX_SCANNED_BYTES: usize = 1 << 22;

/// The maximum size of an automaton and of its cache, in bytes, as in `regex`.
const MAX_AUTOMATON_BYTES: usize = 10 << 20;
const MAX_CACHE_BYTES: usize = 2 << 20;

/// A custom pattern with a group `score`.
#[derive(Clone)]
pub(super) struct Pattern {
    text: String,
    regex: Regex,
    group: usize,
    /// Acquired once per text, not once per search as in `regex`.
    caches: Arc<Pool<Cache, CreateCache>>,
    /// Built on first use.
    two_pass: Arc<OnceLock<TwoPass>>,
}

type CreateCache =
    Box<dyn Fn() -> Cache + Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>;

impl fmt::Debug for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.debug_tuple("Pattern").field(&self.text).finish()
    }
}

impl Pattern {
    pub fn new(pattern: &str) -> Result<Self, Error> {
        let config = Regex::config()
            .nfa_size_limit(Some(MAX_AUTOMATON_BYTES))
            .hybrid_cache_capacity(MAX_CACHE_BYTES);
        let built = Regex::builder().configure(config).build(pattern);
        let regex = built.map_err(|error| Error::InvalidPattern {
            pattern: pattern.to_owned(),
            reason: reason(&error),
        })?;
        let Some(group) = regex.group_info().to_index(PatternID::ZERO, GROUP) else {
            return Err(Error::NoScoreGroup {
                pattern: pattern.to_owned(),
            });
        };
        let creator = regex.clone();
        let create: CreateCache = Box::new(move || creator.create_cache());
        Ok(Self {
            text: pattern.to_owned(),
            regex,
            group,
            caches: Arc::new(Pool::new(create)),
            two_pass: Arc::default(),
        })
    }

    /// The range of the group in the last of the successive non-overlapping
    /// matches: None without a match, `Some(None)` if the group did not
    /// participate in it.
    pub fn last_group(&self, text: &str) -> Option<Option<Range<usize>>> {
        let cache = &mut self.caches.get();
        let last = match self.last_match(text, MAX_SCANNED_BYTES, cache) {
            Ok(last) => last?,
            Err(OverLimit) => self.linear().last_match(text)?,
        };
        // Restricted to its own range, the search finds the same match again.
        let again = Input::new(text).range(last).anchored(Anchored::Yes);
        let (mut few, mut many) = ([None; 8], Vec::new());
        let needed = 2 * (self.group + 1);
        let slots = few.get_mut(..needed).unwrap_or_else(|| {
            many.resize(needed, None);
            &mut many
        });
        self.regex.search_slots_with(cache, &again, slots);
        let ends = slots[needed - 2].zip(slots[needed - 1]);
        Some(ends.map(|(start, end)| start.get()..end.get()))
    }

    /// The last match, unless finding it may scan more than `limit` bytes.
    fn last_match(
        &self,
        text: &str,
        limit: usize,
        cache: &mut Cache,
    ) -> Result<Option<Range<usize>>, OverLimit> {
        let mut matches = Searcher::new(Input::new(text));
        let mut last = None;
        let mut scanned = 0;
        while let Some(found) = matches.advance(|input| Ok(self.regex.search_with(cache, input))) {
            last = Some(found.range());
            scanned += text.len() - found.end();
            if scanned > limit {
                return Err(OverLimit);
            }
        }
        Ok(last)
    }

    fn linear(&self) -> &TwoPass {
        self.two_pass.get_or_init(|| TwoPass::new(&self.text))
    }
}

/// The message of the regex compiler in one line: the last line of a syntax
/// error, without the lines that point into the pattern.
fn reason(error: &BuildError) -> String {
    if let Some(limit) = error.size_limit() {
        return format!("the compiled pattern takes more than {limit} bytes");
    }
    let text = match error.syntax_error() {
        Some(syntax) => syntax.to_string(),
        None => error.to_string(),
    };
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

/// The searches may have scanned too many bytes.
#[derive(Debug, PartialEq)]
struct OverLimit;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::LazyLock;

    use proptest::prelude::*;

    const PATTERNS: [&str; 24] = [
        "",
        "a",
        "a*",
        "(?:a*)*",
        "(?:a|)*b?",
        "a*?",
        "a+?b?",
        "a|ab|abc",
        "abc|ab|a",
        "(?:|a)b*",
        "(?s)a(?:.*b)?",
        "a(?:.*b)?c?",
        r"(?:\d+\.?)+",
        r"\bb*\b",
        r"\B",
        "^a*|b$",
        "(?m)^.?",
        "(?m)$",
        r"(?i)ÄB?",
        r"\w+",
        r"\W*?c",
        "[^a]{2,3}",
        "é?",
        "(?-u:\\b)a?",
    ];

    static COMPILED: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
        let grouped = PATTERNS
            .iter()
            .map(|pattern| format!("(?:{pattern})(?P<score>)"));
        grouped
            .map(|pattern| Pattern::new(&pattern).unwrap())
            .collect()
    });

    fn both_ways(pattern: &Pattern, text: &str) -> (Option<Range<usize>>, Option<Range<usize>>) {
        let naive = pattern.last_match(text, usize::MAX, &mut pattern.caches.get());
        (pattern.linear().last_match(text), naive.unwrap())
    }

    #[test]
    fn both_ways_agree_across_blocks() {
        for pattern in COMPILED.iter() {
            for piece in ["a", "ab ", "é1.", "abc\n", "b"] {
                for len in [1, 1023, 1024, 1025, 2100] {
                    let text: String = piece.chars().cycle().take(len).collect();
                    let (linear, naive) = both_ways(pattern, &text);
                    assert_eq!(linear, naive, "{pattern:?} {piece:?} {len}");
                }
            }
        }
    }

    #[test]
    fn a_group_may_come_after_many() {
        for before in 0..9 {
            let pattern = format!("{}(?P<score>a)?b", "(x?)".repeat(before));
            let pattern = Pattern::new(&pattern).unwrap();
            assert_eq!(pattern.last_group("xab"), Some(Some(1..2)), "{before}");
            assert_eq!(pattern.last_group("ab b"), Some(None), "{before}");
            assert_eq!(pattern.last_group("x"), None, "{before}");
        }
    }

    #[test]
    fn the_limit_counts_scanned_bytes() {
        let pattern = Pattern::new("(?P<score>a)").unwrap();
        let cache = &mut pattern.caches.get();
        assert_eq!(pattern.last_match("aaa", 3, cache), Ok(Some(2..3)));
        assert_eq!(pattern.last_match("aaa", 2, cache), Err(OverLimit));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn both_ways_agree(
            pattern in 0..PATTERNS.len(),
            text in prop::collection::vec(
                prop::sample::select(vec!["a", "b", "c", "\n", " ", "1", ".", "é", "ä", "😀"]), 0..40
            ),
        ) {
            let (linear, naive) = both_ways(&COMPILED[pattern], &text.concat());
            prop_assert_eq!(linear, naive, "{:?}", PATTERNS[pattern]);
        }
    }
}
