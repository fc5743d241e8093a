//! The rows of each prompt, without a list per prompt.

use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::parallel;

/// Rows that one task takes, roughly: it takes whole prompts.
const TASK: usize = 1 << 15;

/// A slot that no prompt has taken.
const FREE: usize = usize::MAX;

/// The rows of a table, grouped by prompt: prompts in the order of their first
/// row and the rows of each in ascending order.
pub(super) struct Groups<'a> {
    prompt: &'a [i64],
    /// `None` where the rows of every prompt lie together.
    listed: Option<Listed>,
}

/// Rows that were brought together.
struct Listed {
    /// All rows, those of each prompt together.
    order: Vec<usize>,
    /// Where the rows of each prompt begin in `order`, and its length.
    starts: Vec<usize>,
}

/// The rows of one prompt, ascending.
pub(super) enum Rows<'a> {
    Adjacent(Range<usize>),
    Listed(&'a [usize]),
}

impl Rows<'_> {
    #[inline]
    pub fn for_each(self, mut apply: impl FnMut(usize)) {
        match self {
            Rows::Adjacent(rows) => rows.for_each(apply),
            Rows::Listed(rows) => rows.iter().for_each(|&row| apply(row)),
        }
    }
}

impl<'a> Groups<'a> {
    /// Groups rows by their prompt. Nothing is built where the prompts ascend,
    /// and little is kept where the rows of each lie together.
    pub fn of(prompt: &'a [i64]) -> Self {
        let listed = if ascends(prompt) {
            None
        } else {
            let places = Places::of(prompt);
            (!places.adjacent).then(|| places.listed())
        };
        Self { prompt, listed }
    }

    /// Applies `task` to parts of the table that hold whole prompts, in parallel
    /// where that is worthwhile; the results are in the order of the parts.
    pub fn map<R: Send>(&self, task: impl Fn(Part<'_>) -> R + Sync + Send) -> Vec<R> {
        let bounds = match &self.listed {
            None => run_bounds(self.prompt),
            Some(listed) => list_bounds(&listed.starts),
        };
        let parts: Vec<Range<usize>> = bounds.windows(2).map(|pair| pair[0]..pair[1]).collect();
        parallel::map(&parts, 1, |range| {
            task(Part {
                groups: self,
                range: range.clone(),
            })
        })
    }
}

/// A part of the table that holds whole prompts.
pub(super) struct Part<'a> {
    groups: &'a Groups<'a>,
    /// Rows where they lie together, else positions of prompts in `starts`.
    range: Range<usize>,
}

impl Part<'_> {
    /// Calls `apply` with each prompt and its rows.
    #[inline]
    pub fn for_each(self, mut apply: impl FnMut(i64, Rows<'_>)) {
        let prompt = self.groups.prompt;
        match &self.groups.listed {
            None => {
                let mut start = self.range.start;
                while start < self.range.end {
                    let id = prompt[start];
                    let rows = &prompt[start..self.range.end];
                    let end = start + rows.iter().take_while(|&&other| other == id).count();
                    apply(id, Rows::Adjacent(start..end));
                    start = end;
                }
            }
            Some(Listed { order, starts }) => {
                for bounds in starts[self.range.start..=self.range.end].windows(2) {
                    let rows = &order[bounds[0]..bounds[1]];
                    apply(prompt[rows[0]], Rows::Listed(rows));
                }
            }
        }
    }
}

/// Bounds of parts of a column in which equal values lie together: from 0 to its
/// length, each at the beginning of a run of equal values. They do not depend on
/// the number of threads.
pub(super) fn run_bounds(column: &[i64]) -> Vec<usize> {
    let mut bounds = vec![0];
    let mut at = TASK;
    while at < column.len() {
        let rest = &column[at..];
        at += rest
            .iter()
            .take_while(|&&value| value == column[at - 1])
            .count();
        if at < column.len() {
            bounds.push(at);
        }
        at += TASK;
    }
    bounds.push(column.len());
    bounds
}

/// Bounds of parts of about [`TASK`] rows, as positions in `starts`.
fn list_bounds(starts: &[usize]) -> Vec<usize> {
    let mut bounds = vec![0];
    for (place, &start) in starts.iter().enumerate() {
        let begun = starts[bounds[bounds.len() - 1]];
        if start - begun >= TASK {
            bounds.push(place);
        }
    }
    if bounds[bounds.len() - 1] != starts.len() - 1 {
        bounds.push(starts.len() - 1);
    }
    bounds
}

/// Whether no value is below the one before it.
fn ascends(column: &[i64]) -> bool {
    let parts: Vec<usize> = (0..column.len()).step_by(TASK).collect();
    let ascending = parallel::map(&parts, 2, |&start| {
        let end = (start + TASK + 1).min(column.len());
        let part = &column[start..end];
        // All of them, not only up to the first that falls: this runs vectorised.
        part.iter()
            .zip(&part[1..])
            .fold(true, |ascends, (one, next)| ascends & (one <= next))
    });
    ascending.into_iter().all(|ascends| ascends)
}

/// Which prompt each row belongs to, by the prompt's place in the order of first
/// appearance.
struct Places {
    of_row: Vec<usize>,
    /// How many rows each prompt has.
    sizes: Vec<usize>,
    /// Whether the rows of every prompt lie together.
    adjacent: bool,
}

impl Places {
    fn of(prompt: &[i64]) -> Self {
        let (least, greatest) = prompt
            .iter()
            .fold((i64::MAX, i64::MIN), |(least, greatest), &id| {
                (least.min(id), greatest.max(id))
            });
        // Numbers that lie close together are looked up in a table.
        let span = greatest.wrapping_sub(least) as u64;
        if span < 4 * prompt.len() as u64 {
            let mut table = vec![FREE; span as usize + 1];
            Self::by(prompt, |id, next| {
                let place = &mut table[id.wrapping_sub(least) as usize];
                if *place == FREE {
                    *place = next;
                }
                *place
            })
        } else {
            let mut table: FxHashMap<i64, usize> = FxHashMap::default();
            Self::by(prompt, |id, next| *table.entry(id).or_insert(next))
        }
    }

    /// `place_of` returns the place of a prompt, which is `next` if it is new.
    fn by(prompt: &[i64], mut place_of: impl FnMut(i64, usize) -> usize) -> Self {
        let mut of_row = Vec::with_capacity(prompt.len());
        let mut sizes: Vec<usize> = Vec::new();
        let mut adjacent = true;
        for &id in prompt {
            let place = place_of(id, sizes.len());
            if place == sizes.len() {
                sizes.push(0);
            }
            adjacent &= place + 1 == sizes.len();
            sizes[place] += 1;
            of_row.push(place);
        }
        Self {
            of_row,
            sizes,
            adjacent,
        }
    }

    /// Brings the rows together by counting.
    fn listed(self) -> Listed {
        // One entry ahead, so that filling turns each beginning into the next one's.
        let mut starts = vec![0; self.sizes.len() + 1];
        for place in 1..self.sizes.len() {
            starts[place + 1] = starts[place] + self.sizes[place - 1];
        }
        let mut order = vec![0; self.of_row.len()];
        for (row, place) in self.of_row.into_iter().enumerate() {
            order[starts[place + 1]] = row;
            starts[place + 1] += 1;
        }
        Listed { order, starts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn groups(prompt: &[i64]) -> Vec<(i64, Vec<usize>)> {
        let parts = Groups::of(prompt).map(|part| {
            let mut found = Vec::new();
            part.for_each(|id, rows| {
                let mut listed = Vec::new();
                rows.for_each(|row| listed.push(row));
                found.push((id, listed));
            });
            found
        });
        parts.concat()
    }

    fn naive(prompt: &[i64]) -> Vec<(i64, Vec<usize>)> {
        let mut found: Vec<(i64, Vec<usize>)> = Vec::new();
        for (row, &id) in prompt.iter().enumerate() {
            match found.iter_mut().find(|group| group.0 == id) {
                Some(group) => group.1.push(row),
                None => found.push((id, vec![row])),
            }
        }
        found
    }

    #[test]
    fn groups_come_in_order_of_first_appearance() {
        let expected = vec![(7, vec![0, 2]), (-1, vec![1, 4]), (3, vec![3])];
        assert_eq!(groups(&[7, -1, 7, 3, -1]), expected);
        assert_eq!(groups(&[]), []);
    }

    #[test]
    fn nothing_is_listed_where_rows_lie_together() {
        for prompt in [&[0, 0, 1, 5][..], &[5, 5, 1, 0, 0], &[], &[1 << 60, 0, 0]] {
            assert!(Groups::of(prompt).listed.is_none(), "{prompt:?}");
        }
        for prompt in [
            &[0, 1, 0][..],
            &[1 << 60, 0, 1 << 60],
            &[i64::MIN, i64::MAX, i64::MIN],
        ] {
            assert!(Groups::of(prompt).listed.is_some(), "{prompt:?}");
        }
    }

    #[test]
    fn parts_hold_whole_prompts() {
        let rows = 5 * TASK;
        for per_prompt in [1, 3, TASK - 1, TASK, TASK + 1, 3 * TASK, rows] {
            let sorted: Vec<i64> = (0..rows).map(|row| (row / per_prompt) as i64).collect();
            // The same prompts, every second row moved behind all others.
            let (even, odd): (Vec<usize>, Vec<usize>) = (0..rows).partition(|row| row % 2 == 0);
            let shuffled: Vec<i64> = even.iter().chain(&odd).map(|&row| sorted[row]).collect();
            for prompt in [sorted, shuffled] {
                let found = groups(&prompt);
                assert_eq!(found.len(), rows.div_ceil(per_prompt));
                assert_eq!(found.iter().map(|group| group.1.len()).sum::<usize>(), rows);
                for (id, rows) in found {
                    assert!(rows.is_sorted() && rows.iter().all(|&row| prompt[row] == id));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn groups_are_those_of_the_naive_way(
            prompt in prop_oneof![
                prop::collection::vec(-3i64..8, 0..60),
                prop::collection::vec(prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0), any::<i64>()], 0..20),
            ],
            sorted: bool,
        ) {
            let mut prompt = prompt;
            if sorted {
                prompt.sort_unstable();
            }
            prop_assert_eq!(groups(&prompt), naive(&prompt));
        }
    }
}
