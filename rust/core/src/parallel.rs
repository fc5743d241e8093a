//! Parallel execution, and when it is used.

use std::sync::OnceLock;

use rayon::prelude::*;

/// The id of the process that started the thread pool.
static POOL_OWNER: OnceLock<u32> = OnceLock::new();

/// Whether this process started the thread pool, or is the first to call this.
/// A forked child (Python's `multiprocessing`, a torch `DataLoader`) inherits
/// the pool without its threads and would wait for them forever.
pub fn owns_threads() -> bool {
    let this = std::process::id();
    *POOL_OWNER.get_or_init(|| this) == this
}

/// Whether to process `items` items in parallel, with at least `min_task` items
/// per task: there must be at least two tasks, and this process must [own the
/// threads](owns_threads).
pub fn is_worthwhile(items: usize, min_task: usize) -> bool {
    items >= 2 * min_task && owns_threads()
}

/// Applies `apply` to all items, in parallel if that [is
/// worthwhile](is_worthwhile). The results are in the order of the items.
pub fn map<T: Sync, R: Send>(
    items: &[T],
    min_task: usize,
    apply: impl Fn(&T) -> R + Sync + Send,
) -> Vec<R> {
    if is_worthwhile(items.len(), min_task) {
        items.par_iter().with_min_len(min_task).map(apply).collect()
    } else {
        items.iter().map(apply).collect()
    }
}

/// Like [`map`], for owned items such as the parts of a result to fill.
pub fn map_owned<T: Send, R: Send>(
    items: Vec<T>,
    min_task: usize,
    apply: impl Fn(T) -> R + Sync + Send,
) -> Vec<R> {
    if is_worthwhile(items.len(), min_task) {
        items
            .into_par_iter()
            .with_min_len(min_task)
            .map(apply)
            .collect()
    } else {
        items.into_iter().map(apply).collect()
    }
}

/// The number of parallel tasks for `items` items, with at least `min_task`
/// items per task; at least 1.
pub fn tasks(items: usize, min_task: usize) -> usize {
    if is_worthwhile(items, min_task) {
        rayon::current_num_threads().min(items / min_task)
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order() {
        for len in [0, 1, 7, 8, 1000] {
            let items: Vec<usize> = (0..len).collect();
            assert_eq!(map(&items, 4, |item| *item), items);
            assert_eq!(map_owned(items.clone(), 4, |item| item), items);
        }
    }

    #[test]
    fn one_task_stays_on_its_thread() {
        assert!(!is_worthwhile(7, 4));
        assert!(is_worthwhile(8, 4));
        assert_eq!((tasks(0, 4), tasks(7, 4)), (1, 1));
        assert!((1..=2).contains(&tasks(8, 4)));
    }
}
