//! Rows of token ids as a trie.

use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;
use srlm_core::trie;

use crate::columns::read_column;
use crate::error::value_error;

type Ints<'py> = Bound<'py, PyArray1<i64>>;

/// The trie of rows: tokens, depths and ends of its nodes, and the node of each
/// token of the rows.
#[pyfunction]
pub fn prefix_trie<'py>(
    py: Python<'py>,
    ids: &Bound<'py, PyAny>,
    offsets: &Bound<'py, PyAny>,
) -> PyResult<(Ints<'py>, Ints<'py>, Ints<'py>, Ints<'py>)> {
    let ids = read_column::<i64>("ids", "int64", ids)?;
    let offsets = read_column::<i64>("offsets", "int64", offsets)?;
    let (ids, offsets): (&[i64], &[i64]) = (&ids, &offsets);
    let found = py
        .detach(|| trie::build(ids, offsets))
        .map_err(value_error)?;
    Ok((
        found.tokens.into_pyarray(py),
        found.depths.into_pyarray(py),
        found.ends.into_pyarray(py),
        found.nodes.into_pyarray(py),
    ))
}

/// The rows in lexicographic order, and how many tokens each shares with the
/// one before.
#[pyfunction]
pub fn shared_prefixes<'py>(
    py: Python<'py>,
    ids: &Bound<'py, PyAny>,
    offsets: &Bound<'py, PyAny>,
) -> PyResult<(Ints<'py>, Ints<'py>)> {
    let ids = read_column::<i64>("ids", "int64", ids)?;
    let offsets = read_column::<i64>("offsets", "int64", offsets)?;
    let (ids, offsets): (&[i64], &[i64]) = (&ids, &offsets);
    let found = py
        .detach(|| trie::shared_prefixes(ids, offsets))
        .map_err(value_error)?;
    Ok((found.order.into_pyarray(py), found.shared.into_pyarray(py)))
}
