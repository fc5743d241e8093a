//! Rows of token ids as a trie, in which every shared beginning exists once.
//!
//! A transformer with causal attention computes the same state for a token
//! whatever follows it. The rows of a batch that begin alike (judge examples
//! with one rubric, both answers to a prompt) can therefore be computed as a
//! trie: one node per distinct beginning, at the position of its depth, which
//! attends to its ancestors only.
//!
//! Nodes are in depth-first order, so the nodes below node i are those from
//! i + 1 up to its end, and j is i or one of its ancestors if and only if
//! `j <= i < ends[j]`.

use crate::error::Error;

/// The nodes of a trie in depth-first order, children by token id.
#[derive(Debug, PartialEq, Eq)]
pub struct Trie {
    /// The token of each node.
    pub tokens: Vec<i64>,
    /// The number of ancestors of each node.
    pub depths: Vec<i64>,
    /// The node behind the last one below each node.
    pub ends: Vec<i64>,
    /// The node of each token of the rows, as they were given.
    pub nodes: Vec<i64>,
}

/// Rows in lexicographic order, in which neighbours share the most.
#[derive(Debug, PartialEq, Eq)]
pub struct Sorted {
    /// The rows; equal rows are in their given order.
    pub order: Vec<i64>,
    /// How many tokens each row of `order` shares with the one before it.
    pub shared: Vec<i64>,
}

/// Builds the trie of the rows `ids[offsets[i]..offsets[i + 1]]`.
pub fn build(ids: &[i64], offsets: &[i64]) -> Result<Trie, Error> {
    let rows = split(ids, offsets)?;
    let mut trie = Trie {
        tokens: Vec::new(),
        depths: Vec::new(),
        ends: Vec::new(),
        nodes: vec![0; ids.len()],
    };
    let mut path: Vec<usize> = Vec::new(); // the nodes of the row before
    for (row, shared) in sort(&rows) {
        close(&mut trie, &mut path, shared);
        for (depth, token) in rows[row].iter().enumerate().skip(shared) {
            path.push(trie.tokens.len());
            trie.tokens.push(*token);
            trie.depths.push(depth as i64);
            trie.ends.push(0);
        }
        let start = offsets[row] as usize;
        for (node, at) in path.iter().zip(&mut trie.nodes[start..]) {
            *at = *node as i64;
        }
    }
    close(&mut trie, &mut path, 0);
    Ok(trie)
}

/// Sorts the rows `ids[offsets[i]..offsets[i + 1]]` by their tokens.
pub fn shared_prefixes(ids: &[i64], offsets: &[i64]) -> Result<Sorted, Error> {
    let rows = split(ids, offsets)?;
    let (order, shared) = sort(&rows)
        .map(|(row, shared)| (row as i64, shared as i64))
        .unzip();
    Ok(Sorted { order, shared })
}

fn split<'a>(ids: &'a [i64], offsets: &[i64]) -> Result<Vec<&'a [i64]>, Error> {
    let invalid = |at| Error::InvalidOffsets {
        at,
        value: offsets.get(at).copied().unwrap_or_default(),
        tokens: ids.len(),
    };
    if offsets.first() != Some(&0) {
        return Err(invalid(0));
    }
    let rows = offsets.windows(2).enumerate().map(|(row, border)| {
        usize::try_from(border[0])
            .ok()
            .zip(usize::try_from(border[1]).ok())
            .and_then(|(start, end)| ids.get(start..end))
            .ok_or_else(|| invalid(row + 1))
    });
    let rows = rows.collect::<Result<_, _>>()?;
    if offsets.last() != Some(&(ids.len() as i64)) {
        return Err(invalid(offsets.len() - 1));
    }
    Ok(rows)
}

/// Yields the rows in lexicographic order, each with the number of tokens that
/// it shares with the one before.
fn sort<'a>(rows: &'a [&'a [i64]]) -> impl Iterator<Item = (usize, usize)> + 'a {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|row| (rows[*row], *row));
    let mut before: &[i64] = &[];
    order.into_iter().map(move |row| {
        let pairs = before.iter().zip(rows[row]);
        let shared = pairs.take_while(|(left, right)| left == right).count();
        before = rows[row];
        (row, shared)
    })
}

/// Ends the nodes of `path` from depth `keep` on.
fn close(trie: &mut Trie, path: &mut Vec<usize>, keep: usize) {
    let end = trie.tokens.len() as i64;
    for node in path.drain(keep..) {
        trie.ends[node] = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(rows: &[&[i64]]) -> (Vec<i64>, Vec<i64>) {
        let mut offsets = vec![0];
        for row in rows {
            offsets.push(offsets.last().unwrap() + row.len() as i64);
        }
        (rows.concat(), offsets)
    }

    fn trie(rows: &[&[i64]]) -> Trie {
        let (ids, offsets) = pack(rows);
        build(&ids, &offsets).unwrap()
    }

    #[test]
    fn a_shared_beginning_exists_once() {
        let found = trie(&[&[1, 2, 3], &[1, 2, 4, 5], &[1, 2]]);
        assert_eq!(found.tokens, [1, 2, 3, 4, 5]);
        assert_eq!(found.depths, [0, 1, 2, 2, 3]);
        assert_eq!(found.ends, [5, 5, 3, 5, 5]);
        assert_eq!(found.nodes, [0, 1, 2, 0, 1, 3, 4, 0, 1]);
    }

    #[test]
    fn the_order_of_rows_changes_their_nodes_only() {
        let (one, other) = (
            trie(&[&[7, 8], &[7, 9], &[5]]),
            trie(&[&[5], &[7, 9], &[7, 8]]),
        );
        assert_eq!(one.tokens, other.tokens);
        assert_eq!(one.ends, other.ends);
        assert_eq!(one.nodes, [1, 2, 1, 3, 0]);
        assert_eq!(other.nodes, [0, 1, 3, 1, 2]);
    }

    #[test]
    fn equal_rows_share_all_nodes_and_empty_rows_have_none() {
        let found = trie(&[&[4, 4], &[], &[4, 4]]);
        assert_eq!(found.tokens, [4, 4]);
        assert_eq!(found.nodes, [0, 1, 0, 1]);
        assert_eq!(trie(&[]).tokens, Vec::<i64>::new());
        assert_eq!(trie(&[&[]]).nodes, Vec::<i64>::new());
    }

    #[test]
    fn ancestors_are_the_nodes_whose_range_contains_a_node() {
        // Rows over three tokens, by an arbitrary but fixed rule, share a lot.
        let rows: Vec<Vec<i64>> = (0..40_u64)
            .map(|row| {
                (0..row % 7)
                    .map(|at| ((row >> (at / 2)) % 3) as i64)
                    .collect()
            })
            .collect();
        let borrowed: Vec<&[i64]> = rows.iter().map(Vec::as_slice).collect();
        let (_, offsets) = pack(&borrowed);
        let found = trie(&borrowed);
        for (row, tokens) in rows.iter().enumerate() {
            for length in 1..=tokens.len() {
                let node = found.nodes[offsets[row] as usize + length - 1];
                let path: Vec<i64> = (0..=node)
                    .filter(|j| node < found.ends[*j as usize])
                    .map(|j| found.tokens[j as usize])
                    .collect();
                assert_eq!(path, tokens[..length]);
                assert_eq!(found.depths[node as usize], length as i64 - 1);
            }
        }
    }

    #[test]
    fn sorted_neighbours_share_the_most() {
        let (ids, offsets) = pack(&[&[9], &[1, 2, 3], &[1, 2], &[1, 2, 3], &[]]);
        let found = shared_prefixes(&ids, &offsets).unwrap();
        assert_eq!(found.order, [4, 2, 1, 3, 0]);
        assert_eq!(found.shared, [0, 0, 2, 3, 0]);
    }

    #[test]
    fn offsets_must_cover_the_ids() {
        for offsets in [
            &[][..],
            &[1, 3],
            &[0, 2],
            &[0, 4],
            &[0, 2, 1, 3],
            &[0, -1, 3],
        ] {
            let error = build(&[1, 2, 3], offsets).unwrap_err();
            assert!(matches!(error, Error::InvalidOffsets { tokens: 3, .. }));
        }
    }
}
