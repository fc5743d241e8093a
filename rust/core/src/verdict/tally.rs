//! The verdict of all labels of a reply.

use super::outcome::{Outcome, Verdict};

/// How much the verdict of a label weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// A final label without the word `score` that does not state one number,
    /// as in `Total: 1 + 1 + 1 = 3`, or a quotation (`as follows: "Score: 4"`).
    Unclear,
    /// A label `score`.
    Bare,
    /// A label `total`, `final` or `overall`, also with the word `score`.
    Final,
}

/// The verdict of one label.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    pub verdict: Verdict,
    pub rank: Rank,
    /// The number of objects around the label, at least 1.
    pub depth: usize,
    /// Whether the label may quote the requested format (`Score: <0-5>`).
    pub is_template: bool,
    /// Whether the label has the word `score`.
    pub has_word: bool,
}

/// The labels of one rank.
#[derive(Debug, Default)]
struct Group {
    last: Option<Reading>,
    /// The verdict of the last label with a number.
    number: Option<Verdict>,
    disagree: bool,
}

impl Group {
    fn add(&mut self, reading: Reading) {
        match self.last {
            Some(last) if reading.depth > last.depth => return,
            Some(last) if reading.depth < last.depth => *self = Self::default(),
            _ => {}
        }
        self.last = Some(reading);
        if reading.verdict.outcome == Outcome::Missing || reading.is_template {
            return;
        }
        let verdict = reading.verdict;
        self.disagree |= self.number.is_some_and(|number| !agree(&number, &verdict));
        self.number = Some(verdict);
    }

    /// The verdict of the last label, unless an earlier one disagrees.
    fn verdict(&self) -> Option<Verdict> {
        let last = self.last?.verdict;
        Some(match last.span {
            Some(span) if self.disagree => Verdict::invalid(Outcome::Conflicting, span),
            _ => last,
        })
    }
}

fn agree(one: &Verdict, other: &Verdict) -> bool {
    one.outcome == other.outcome && one.score == other.score
}

/// The labels of a reply, in their order.
#[derive(Debug, Default)]
pub(super) struct Tally {
    unclear: Group,
    bare: Group,
    finals: Group,
    /// Whether the reply names a maximum above the configured one.
    other_scale: bool,
}

impl Tally {
    pub fn add(&mut self, reading: Reading) {
        match reading.rank {
            Rank::Unclear => self.unclear.add(reading),
            Rank::Bare => self.bare.add(reading),
            Rank::Final => self.finals.add(reading),
        }
    }

    pub fn has_other_scale(&mut self) {
        self.other_scale = true;
    }

    /// The verdict of the labels of the highest rank. A total without the word
    /// `score` does not overrule a label that comes after it.
    pub fn verdict(&self) -> Option<Verdict> {
        let groups = [&self.finals, &self.bare, &self.unclear];
        let verdict = groups.iter().find_map(|group| group.verdict())?;
        Some(match verdict.span {
            Some(span) if self.is_overruled(&verdict) => {
                Verdict::invalid(Outcome::Conflicting, span)
            }
            Some(span) if self.other_scale && verdict.outcome == Outcome::Scored => {
                Verdict::invalid(Outcome::OutOfRange, span)
            }
            _ => verdict,
        })
    }

    fn is_overruled(&self, verdict: &Verdict) -> bool {
        let (Some(last), Some(bare), Some(number)) =
            (self.finals.last, self.bare.last, self.bare.number)
        else {
            return false;
        };
        let comes_after = bare.verdict.span > last.verdict.span;
        !last.has_word && comes_after && !agree(&number, verdict)
    }
}
