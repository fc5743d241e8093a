//! Rows grouped by prompt, without one list per prompt.

use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::parallel;

/// Approximate number of rows per task; a task gets whole prompts.
const ROWS_PER_TASK: usize = 1 << 15;

/// A table slot without a prompt.
const UNASSIGNED: usize = usize::MAX;

/// The rows of a table, grouped by prompt: prompts in order of first
/// appearance, the rows of each ascending.
pub(super) struct Groups<'a> {
    prompt: &'a [i64],
    /// `None` if the rows of every prompt are adjacent.
    listed: Option<Listed>,
}

/// Rows sorted by prompt.
struct Listed {
    /// All rows, with those of each prompt adjacent.
    order: Vec<usize>,
    /// Where the rows of each prompt start in `order`, and the length of
    /// `order`.
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
    /// Groups rows by prompt. Allocates nothing if `prompt` is ascending, and
    /// keeps nothing if the rows of each prompt are adjacent.
    pub fn of(prompt: &'a [i64]) -> Self {
        let listed = if is_ascending(prompt) {
            None
        } else {
            let indices = PromptIndices::of(prompt);
            (!indices.adjacent).then(|| indices.listed())
        };
        Self { prompt, listed }
    }

    /// Applies `task` to parts of the table that consist of whole prompts, in
    /// parallel if that is worthwhile. The results are in the order of the
    /// parts.
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

/// A part of the table that consists of whole prompts.
pub(super) struct Part<'a> {
    groups: &'a Groups<'a>,
    /// A range of rows if they are adjacent, otherwise of indices into
    /// `starts`.
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

/// Bounds that split a column in which equal values are adjacent: from 0 to its
/// length, each at the start of a run of equal values. Independent of the
/// number of threads.
pub(super) fn run_bounds(column: &[i64]) -> Vec<usize> {
    let mut bounds = vec![0];
    let mut at = ROWS_PER_TASK;
    while at < column.len() {
        let rest = &column[at..];
        at += rest
            .iter()
            .take_while(|&&value| value == column[at - 1])
            .count();
        if at < column.len() {
            bounds.push(at);
        }
        at += ROWS_PER_TASK;
    }
    bounds.push(column.len());
    bounds
}

/// Bounds of parts of about [`ROWS_PER_TASK`] rows, as indices into `starts`.
fn list_bounds(starts: &[usize]) -> Vec<usize> {
    let mut bounds = vec![0];
    for (index, &start) in starts.iter().enumerate() {
        let start_of_part = starts[bounds[bounds.len() - 1]];
        if start - start_of_part >= ROWS_PER_TASK {
            bounds.push(index);
        }
    }
    if bounds[bounds.len() - 1] != starts.len() - 1 {
        bounds.push(starts.len() - 1);
    }
    bounds
}

/// Whether the column is in ascending order.
fn is_ascending(column: &[i64]) -> bool {
    let parts: Vec<usize> = (0..column.len()).step_by(ROWS_PER_TASK).collect();
    let ascending = parallel::map(&parts, 2, |&start| {
        let end = (start + ROWS_PER_TASK + 1).min(column.len());
        let part = &column[start..end];
        // No early exit, so that the loop is vectorised.
        part.iter()
            .zip(&part[1..])
            .fold(true, |is_ascending, (one, next)| {
                is_ascending & (one <= next)
            })
    });
    ascending.into_iter().all(|is_ascending| is_ascending)
}

/// The prompt of each row, as the prompt's index in order of first appearance.
struct PromptIndices {
    of_row: Vec<usize>,
    /// The number of rows of each prompt.
    sizes: Vec<usize>,
    /// Whether the rows of every prompt are adjacent.
    adjacent: bool,
}

impl PromptIndices {
    fn of(prompt: &[i64]) -> Self {
        let (min, max) = prompt.iter().fold((i64::MAX, i64::MIN), |(min, max), &id| {
            (min.min(id), max.max(id))
        });
        // Ids in a narrow range are looked up in a table instead of a hash map.
        let span = max.wrapping_sub(min) as u64;
        if span < 4 * prompt.len() as u64 {
            let mut table = vec![UNASSIGNED; span as usize + 1];
            Self::by(prompt, |id, next| {
                let index = &mut table[id.wrapping_sub(min) as usize];
                if *index == UNASSIGNED {
                    *index = next;
                }
                *index
            })
        } else {
            let mut table: FxHashMap<i64, usize> = FxHashMap::default();
            Self::by(prompt, |id, next| *table.entry(id).or_insert(next))
        }
    }

    /// `index_of` returns the index of a prompt, which is `next` if it is new.
    fn by(prompt: &[i64], mut index_of: impl FnMut(i64, usize) -> usize) -> Self {
        let mut of_row = Vec::with_capacity(prompt.len());
        let mut sizes: Vec<usize> = Vec::new();
        let mut adjacent = true;
        for &id in prompt {
            let index = index_of(id, sizes.len());
            if index == sizes.len() {
                sizes.push(0);
            }
            adjacent &= index + 1 == sizes.len();
            sizes[index] += 1;
            of_row.push(index);
        }
        Self {
            of_row,
            sizes,
            adjacent,
        }
    }

    /// Sorts the rows by prompt (counting sort).
    fn listed(self) -> Listed {
        // Shifted by one entry, so that filling advances each start to the
        // start of the next prompt.
        let mut starts = vec![0; self.sizes.len() + 1];
        for index in 1..self.sizes.len() {
            starts[index + 1] = starts[index] + self.sizes[index - 1];
        }
        let mut order = vec![0; self.of_row.len()];
        for (row, index) in self.of_row.into_iter().enumerate() {
            order[starts[index + 1]] = row;
            starts[index + 1] += 1;
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
        let rows = 5 * ROWS_PER_TASK;
        for per_prompt in [
            1,
            3,
            ROWS_PER_TASK - 1,
            ROWS_PER_TASK,
            ROWS_PER_TASK + 1,
            3 * ROWS_PER_TASK,
            rows,
        ] {
            let sorted: Vec<i64> = (0..rows).map(|row| (row / per_prompt) as i64).collect();
            // The same prompts, with every second row moved to the end.
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
