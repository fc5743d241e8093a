//! Rows of token ids in one flat array.

use std::ops::Range;

use crate::{Error, parallel};

/// Minimum number of rows per task.
const MIN_TASK_SIZE: usize = 16;

/// The number of tasks per thread; more than one because rows differ in cost.
const TASKS_PER_THREAD: usize = 8;

/// Rows of ids: row `i` is `ids[offsets[i]..offsets[i + 1]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ragged {
    /// The ids of all rows.
    pub ids: Vec<i32>,
    /// The cumulative lengths, starting with 0; one more entry than rows.
    pub offsets: Vec<i64>,
}

impl Ragged {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// The ids of a row.
    pub fn row(&self, index: usize) -> &[i32] {
        &self.ids[self.offsets[index] as usize..self.offsets[index + 1] as usize]
    }
}

/// Prompts followed by their completions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// The ids.
    pub rows: Ragged,
    /// Whether an id belongs to the completion, one entry per id.
    pub completion_mask: Vec<bool>,
}

/// The ids of some consecutive rows, before concatenation.
#[derive(Default)]
struct Part {
    ids: Vec<i32>,
    lengths: Vec<usize>,
}

/// Builds `N` columns of rows: `encode(row)` returns the ids of each column.
/// Runs in parallel; the rows stay in order.
///
/// # Errors
/// The error of `encode` for the first row that fails.
pub(super) fn columns<const N: usize>(
    rows: usize,
    encode: impl Fn(usize) -> Result<[Vec<u32>; N], Error> + Sync + Send,
) -> Result<[Ragged; N], Error> {
    let encode_task = |task: &Range<usize>| {
        let mut parts: [Part; N] = std::array::from_fn(|_| Part::default());
        for row in task.clone() {
            let encoded = encode(row).map_err(|source| Error::InRow {
                row,
                source: Box::new(source),
            })?;
            for (part, ids) in parts.iter_mut().zip(encoded) {
                part.lengths.push(ids.len());
                part.ids.extend(ids.into_iter().map(|id| id as i32));
            }
        }
        Ok(parts)
    };
    let done: Vec<Result<[Part; N], Error>> = parallel::map(&tasks(rows), 1, encode_task);
    let mut by_column: [Vec<Part>; N] = std::array::from_fn(|_| Vec::with_capacity(done.len()));
    for parts in done {
        for (column, part) in by_column.iter_mut().zip(parts?) {
            column.push(part);
        }
    }
    Ok(by_column.map(|parts| join(&parts)))
}

/// Splits the rows into ranges that are encoded together.
fn tasks(rows: usize) -> Vec<Range<usize>> {
    let wanted = parallel::tasks(rows, MIN_TASK_SIZE) * TASKS_PER_THREAD;
    let size = rows.div_ceil(wanted).max(MIN_TASK_SIZE);
    let starts = (0..rows).step_by(size);
    starts.map(|start| start..rows.min(start + size)).collect()
}

fn join(parts: &[Part]) -> Ragged {
    let total = parts.iter().map(|part| part.ids.len()).sum();
    let mut ids = vec![0; total];
    let mut slices = Vec::with_capacity(parts.len());
    let mut rest = ids.as_mut_slice();
    for part in parts {
        let (slice, rest_after) = rest.split_at_mut(part.ids.len());
        slices.push((slice, &part.ids));
        rest = rest_after;
    }
    let copy = |(slice, ids): (&mut [i32], &Vec<i32>)| slice.copy_from_slice(ids);
    parallel::map_owned(slices, 1, copy);
    let mut end = 0;
    let ends = parts.iter().flat_map(|part| &part.lengths).map(|length| {
        end += *length as i64;
        end
    });
    Ragged {
        offsets: std::iter::once(0).chain(ends).collect(),
        ids,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_order() {
        for rows in [0, 1, 15, 16, 33, 1000] {
            let [ids, halves] = columns(rows, |row| {
                let row = row as u32;
                Ok([vec![row; row as usize % 3], vec![row / 2]])
            })
            .unwrap();
            assert_eq!((ids.rows(), halves.rows()), (rows, rows));
            for row in 0..rows {
                assert_eq!(ids.row(row), vec![row as i32; row % 3]);
                assert_eq!(halves.row(row), [row as i32 / 2]);
            }
        }
    }

    #[test]
    fn the_first_error_counts() {
        let found = columns(1000, |row| match row {
            77 | 900 => Err(Error::Tokenize {
                reason: row.to_string(),
            }),
            _ => Ok([vec![0]]),
        });
        assert!(found.unwrap_err().to_string().contains("77"));
    }
}
