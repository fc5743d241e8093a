//! When work is spread over threads.

use std::sync::OnceLock;

use rayon::prelude::*;

/// The process that started the thread pool.
static POOL_OWNER: OnceLock<u32> = OnceLock::new();

/// Whether this is the process that started the thread pool, or the first to ask.
/// A forked child (Python's `multiprocessing`, a torch `DataLoader`) inherits
/// the pool without its threads and would wait for them forever.
pub fn owns_threads() -> bool {
    let this = std::process::id();
    *POOL_OWNER.get_or_init(|| this) == this
}

/// Whether `items` items, of which one task takes `task`, are worth the threads:
/// there must be two tasks, and this process must [own the threads](owns_threads).
pub fn is_worthwhile(items: usize, task: usize) -> bool {
    items >= 2 * task && owns_threads()
}

/// Applies `apply` to all items, in parallel if that
/// [is worthwhile](is_worthwhile). The results are in the order of the items.
pub fn map<T: Sync, R: Send>(
    items: &[T],
    task: usize,
    apply: impl Fn(&T) -> R + Sync + Send,
) -> Vec<R> {
    if is_worthwhile(items.len(), task) {
        items.par_iter().with_min_len(task).map(apply).collect()
    } else {
        items.iter().map(apply).collect()
    }
}

/// Like [`map`], of items that are used up, such as parts of a result to fill.
pub fn map_owned<T: Send, R: Send>(
    items: Vec<T>,
    task: usize,
    apply: impl Fn(T) -> R + Sync + Send,
) -> Vec<R> {
    if is_worthwhile(items.len(), task) {
        items
            .into_par_iter()
            .with_min_len(task)
            .map(apply)
            .collect()
    } else {
        items.into_iter().map(apply).collect()
    }
}

/// How many tasks at a time are worthwhile for `items` items, of which one task
/// should take at least `task`; at least 1.
pub fn tasks(items: usize, task: usize) -> usize {
    if is_worthwhile(items, task) {
        rayon::current_num_threads().min(items / task)
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
