//! The last match of a pattern, in linear time.
//!
//! A search is linear in the text that it looks at, but a pattern may look to
//! the end of the text only to settle for a short match
//! (`Score:(?:.*!)?(?P<score>\d)?`). Going through all matches of such a pattern
//! is quadratic. So what the searches may have looked at is added up, and where
//! it becomes too much, [`two_pass`](super::two_pass) takes over: slower by the
//! byte, with the same matches, and linear over all of them.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use regex_automata::meta::{BuildError, Cache, Regex};
use regex_automata::util::iter::Searcher;
use regex_automata::util::pool::Pool;
use regex_automata::{Anchored, Input, PatternID};

use super::two_pass::TwoPass;
use crate::Error;

/// The group of a pattern that holds the number.
const GROUP: &str = "score";

/// How many bytes the searches in one text may look at before the linear way is
/// taken. Texts of up to 2800 bytes stay below whatever the pattern is.
const LIMIT: usize = 1 << 22;

/// The largest automaton and the largest cache of one, in bytes, as in `regex`.
const LARGEST: usize = 10 << 20;
const LARGEST_CACHE: usize = 2 << 20;

/// A pattern of the user's own, which has a group `score`.
#[derive(Clone)]
pub(super) struct Pattern {
    text: String,
    regex: Regex,
    group: usize,
    /// Taken once a text and not, as `regex` does, once a search.
    caches: Arc<Pool<Cache, CreateCache>>,
    /// Built when the first text needs it.
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
            .nfa_size_limit(Some(LARGEST))
            .hybrid_cache_capacity(LARGEST_CACHE);
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

    /// What the group holds in the last of the matches that follow each other
    /// from the front: None without a match, and `Some(None)` if the group takes
    /// no part in it.
    pub fn last_group(&self, text: &str) -> Option<Option<Range<usize>>> {
        let cache = &mut self.caches.get();
        let last = match self.last_match(text, LIMIT, cache) {
            Ok(last) => last?,
            Err(OverLimit) => self.linear().last_match(text)?,
        };
        // Within its own limits the match is found again, and nothing else.
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

    /// The last match, unless finding it may look at more than `limit` bytes.
    fn last_match(
        &self,
        text: &str,
        limit: usize,
        cache: &mut Cache,
    ) -> Result<Option<Range<usize>>, OverLimit> {
        let mut matches = Searcher::new(Input::new(text));
        let mut last = None;
        let mut looked_at = 0;
        while let Some(found) = matches.advance(|input| Ok(self.regex.search_with(cache, input))) {
            last = Some(found.range());
            looked_at += text.len() - found.end();
            if looked_at > limit {
                return Err(OverLimit);
            }
        }
        Ok(last)
    }

    fn linear(&self) -> &TwoPass {
        self.two_pass.get_or_init(|| TwoPass::new(&self.text))
    }
}

/// What the compiler of patterns has to say to a user, in one line: of a syntax
/// error the last, without the lines that point into the pattern.
fn reason(error: &BuildError) -> String {
    if let Some(limit) = error.size_limit() {
        return format!("compiled, it takes more than {limit} bytes");
    }
    let text = match error.syntax_error() {
        Some(syntax) => syntax.to_string(),
        None => error.to_string(),
    };
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

/// The searches may have looked at too many bytes.
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

    fn twins(pattern: &Pattern, text: &str) -> (Option<Range<usize>>, Option<Range<usize>>) {
        let naive = pattern.last_match(text, usize::MAX, &mut pattern.caches.get());
        (pattern.linear().last_match(text), naive.unwrap())
    }

    #[test]
    fn both_ways_agree_across_blocks() {
        for pattern in COMPILED.iter() {
            for piece in ["a", "ab ", "é1.", "abc\n", "b"] {
                for len in [1, 1023, 1024, 1025, 2100] {
                    let text: String = piece.chars().cycle().take(len).collect();
                    let (linear, naive) = twins(pattern, &text);
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
    fn the_limit_counts_what_may_be_looked_at() {
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
            let (linear, naive) = twins(&COMPILED[pattern], &text.concat());
            prop_assert_eq!(linear, naive, "{:?}", PATTERNS[pattern]);
        }
    }
}
