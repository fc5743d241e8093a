//! The verdict on one reply.

/// The outcome of parsing a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// One number on the scale.
    Scored,
    /// No label, or no parseable number after the last one.
    Missing,
    /// A number that is not on the configured scale.
    OutOfRange,
    /// More than one number, or labels that disagree.
    Conflicting,
}

impl Outcome {
    /// The name used in files and in the Python API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scored => "scored",
            Self::Missing => "missing",
            Self::OutOfRange => "out_of_range",
            Self::Conflicting => "conflicting",
        }
    }
}

/// The verdict in a judge's reply.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The outcome of parsing.
    pub outcome: Outcome,
    /// The score; `Some` exactly when the outcome is [`Outcome::Scored`].
    pub score: Option<f64>,
    /// The byte range of the number in the reply (the first one, if there are
    /// several); `None` exactly when the outcome is [`Outcome::Missing`].
    pub span: Option<(usize, usize)>,
}

impl Verdict {
    /// The verdict of a reply without a parseable number.
    pub(super) fn missing() -> Self {
        Self {
            outcome: Outcome::Missing,
            score: None,
            span: None,
        }
    }

    /// A number that is not a valid score; `outcome` is the reason.
    pub(super) fn invalid(outcome: Outcome, span: (usize, usize)) -> Self {
        Self {
            outcome,
            score: None,
            span: Some(span),
        }
    }

    /// `value` as a score if it lies on the scale.
    pub(super) fn on_scale(value: f64, max_score: f64, span: (usize, usize)) -> Self {
        if !(0.0..=max_score).contains(&value) {
            return Self::invalid(Outcome::OutOfRange, span);
        }
        Self {
            outcome: Outcome::Scored,
            // Adding 0.0 turns the -0.0 of `Score: -0` into 0.0.
            score: Some(value + 0.0),
            span: Some(span),
        }
    }

    /// The verdict with the positions of its span mapped by `position`.
    pub(super) fn mapped(mut self, position: impl Fn(usize) -> usize) -> Self {
        self.span = self
            .span
            .map(|(start, end)| (position(start), position(end)));
        self
    }
}
