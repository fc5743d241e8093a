//! The format of verdicts: the default label, or a custom pattern.

use super::cursor::Cursor;
use super::last_match::Pattern;
use super::outcome::Verdict;
use super::{label, number};
use crate::Error;

/// The scale and the format of a verdict.
#[derive(Debug, Clone)]
pub struct Rules {
    max_score: f64,
    format: Format,
}

#[derive(Debug, Clone)]
enum Format {
    Label,
    Pattern(Pattern),
}

impl Default for Rules {
    /// The label format on the scale 0 to 5 of arXiv 2401.10020.
    fn default() -> Self {
        Self {
            max_score: 5.0,
            format: Format::Label,
        }
    }
}

impl Rules {
    /// The label format on the scale 0 to `max_score`, which is also the only
    /// accepted denominator.
    ///
    /// # Errors
    /// [`Error::InvalidMaxScore`] unless `max_score` is finite and above 0.
    pub fn new(max_score: f64) -> Result<Self, Error> {
        if !(max_score.is_finite() && max_score > 0.0) {
            return Err(Error::InvalidMaxScore { value: max_score });
        }
        Ok(Self {
            max_score,
            format: Format::Label,
        })
    }

    /// A regular expression instead of the label. Its group `score` must match
    /// the number and nothing else but white space; the last match counts. A
    /// match never spans a think block or the end of the turn, and `^` and `$`
    /// match at the boundaries of such a part.
    ///
    /// The time is linear in the length of the reply times the size of the
    /// pattern, also for patterns that scan far ahead at every match.
    ///
    /// # Errors
    /// [`Error::InvalidPattern`], [`Error::NoScoreGroup`] or
    /// [`Error::InvalidMaxScore`].
    pub fn custom(pattern: &str, max_score: f64) -> Result<Self, Error> {
        let rules = Self::new(max_score)?;
        Ok(Self {
            format: Format::Pattern(Pattern::new(pattern)?),
            ..rules
        })
    }

    /// The upper end of the scale; the lower end is 0.
    pub fn max_score(&self) -> f64 {
        self.max_score
    }

    /// The verdict of one part of a reply; None if there is none.
    pub(super) fn last_verdict(&self, part: &str) -> Option<Verdict> {
        match &self.format {
            Format::Label => label::verdict(part, self.max_score),
            Format::Pattern(pattern) => last_match(part, pattern, self.max_score),
        }
    }
}

fn last_match(part: &str, pattern: &Pattern, max_score: f64) -> Option<Verdict> {
    let Some(group) = pattern.last_group(part)? else {
        return Some(Verdict::missing());
    };
    let text = &part[group.clone()];
    let start = group.end - text.trim_start().len();
    let end = start + text.trim().len();
    Some(match number::read(Cursor::new(&part[..end], start)) {
        Some(number) if number.end == end => {
            Verdict::on_scale(number.value, max_score, (start, end))
        }
        _ => Verdict::missing(),
    })
}
