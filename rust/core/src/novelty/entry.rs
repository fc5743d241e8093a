//! One text, ready to be compared.

use super::lcs::{Query, Word};

/// The words of a text and how often each occurs, in ascending order of words.
pub(super) struct Entry {
    words: Vec<Word>,
    counts: Vec<(Word, u32)>,
    /// The text itself if it has no words, for then only identity counts.
    wordless: Option<Box<str>>,
}

impl Entry {
    /// Prepares a text of these words.
    pub fn new(words: Vec<Word>, text: &str) -> Self {
        let mut sorted = words.clone();
        sorted.sort_unstable();
        let counts = sorted
            .chunk_by(|left, right| left == right)
            .map(|run| (run[0], run.len() as u32))
            .collect();
        let wordless = words.is_empty().then(|| text.into());
        Self {
            words,
            counts,
            wordless,
        }
    }

    /// How many words the two have in common regardless of order, which no
    /// common subsequence exceeds.
    fn overlap(&self, other: &Self) -> usize {
        let (mut left, mut right) = (self.counts.as_slice(), other.counts.as_slice());
        let mut shared = 0;
        while let ([(word, count), more_left @ ..], [(other_word, other_count), more_right @ ..]) =
            (left, right)
        {
            match word.cmp(other_word) {
                std::cmp::Ordering::Less => left = more_left,
                std::cmp::Ordering::Greater => right = more_right,
                std::cmp::Ordering::Equal => {
                    shared += (*count).min(*other_count) as usize;
                    (left, right) = (more_left, more_right);
                }
            }
        }
        shared
    }

    /// The similarity to `text`, whose words `query` has, if it (and so each of
    /// its upper bounds) is `promising`.
    pub fn similarity_if(
        &self,
        text: &Self,
        query: &Query,
        promising: impl Fn(f64) -> bool,
    ) -> Option<f64> {
        let (left, right) = (query.len(), self.words.len());
        if left == 0 || right == 0 {
            let same = text.wordless.is_some() && text.wordless == self.wordless;
            return Some(f64::from(same)).filter(|&similarity| promising(similarity));
        }
        if !promising(f1(left.min(right), left, right))
            || !promising(f1(self.overlap(text), left, right))
        {
            return None;
        }
        Some(f1(query.common(&self.words), left, right)).filter(|&similarity| promising(similarity))
    }
}

/// F1 of a common subsequence of `common` words.
fn f1(common: usize, left: usize, right: usize) -> f64 {
    2.0 * common as f64 / (left + right) as f64
}
