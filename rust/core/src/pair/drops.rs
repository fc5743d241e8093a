//! Reasons why a prompt gives no pair.

/// The reason why a prompt gives no pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Drop {
    /// Fewer than two answers have a score.
    TooFewScored,
    /// Two or more answers have a score, but fewer than two of these are
    /// usable, or none of these may be chosen, or none rejected.
    TooFewUsable,
    /// The best score that may be chosen is not above the worst one that may be
    /// rejected, or, with
    /// [`Method::LengthControlled`](super::Method::LengthControlled), the
    /// chosen answer does not have the higher score.
    Tied,
    /// The best and the worst score (with length control: the scores of the two
    /// answers selected by length) differ by less than the minimum margin.
    BelowMargin,
    /// In all pairs that reach the margin, both answers are the same text.
    SameText,
}

/// How many prompts were dropped for each reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Drops {
    /// Prompts dropped as [`Drop::TooFewScored`].
    pub too_few_scored: usize,
    /// Prompts dropped as [`Drop::TooFewUsable`].
    pub too_few_usable: usize,
    /// Prompts dropped as [`Drop::Tied`].
    pub tied: usize,
    /// Prompts dropped as [`Drop::BelowMargin`].
    pub below_margin: usize,
    /// Prompts dropped as [`Drop::SameText`].
    pub same_text: usize,
}

impl Drops {
    /// Counts a dropped prompt.
    pub fn count(&mut self, reason: Drop) {
        match reason {
            Drop::TooFewScored => self.too_few_scored += 1,
            Drop::TooFewUsable => self.too_few_usable += 1,
            Drop::Tied => self.tied += 1,
            Drop::BelowMargin => self.below_margin += 1,
            Drop::SameText => self.same_text += 1,
        }
    }

    /// Adds the counts of another part of the table.
    pub fn add(&mut self, other: &Self) {
        self.too_few_scored += other.too_few_scored;
        self.too_few_usable += other.too_few_usable;
        self.tied += other.tied;
        self.below_margin += other.below_margin;
        self.same_text += other.same_text;
    }

    /// The number of dropped prompts.
    pub fn total(&self) -> usize {
        self.by_name().iter().map(|(_, count)| count).sum()
    }

    /// The counts by the names used in files and in the Python API, including
    /// zeros.
    pub fn by_name(&self) -> [(&'static str, usize); 5] {
        [
            ("too_few_scored", self.too_few_scored),
            ("too_few_usable", self.too_few_usable),
            ("tied", self.tied),
            ("below_margin", self.below_margin),
            ("same_text", self.same_text),
        ]
    }
}
