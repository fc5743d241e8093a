//! Choosing pairs and positives.

use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use srlm_core::pair::{self, Columns};

use crate::columns::read_column;
use crate::error::value_error;
use crate::texts::read_texts;

/// A column of row numbers.
type Rows<'py> = Bound<'py, PyArray1<i64>>;

/// The best and the worst answer of each prompt.
#[pyfunction]
#[pyo3(signature = (prompt, score, expected, usable, texts, *, min_margin = 0.0))]
pub fn select_pairs<'py>(
    py: Python<'py>,
    prompt: &Bound<'py, PyAny>,
    score: &Bound<'py, PyAny>,
    expected: &Bound<'py, PyAny>,
    usable: &Bound<'py, PyAny>,
    texts: &Bound<'py, PyAny>,
    min_margin: f64,
) -> PyResult<(Rows<'py>, Rows<'py>, Bound<'py, PyDict>)> {
    let columns = Columns {
        prompt: &read_column::<i64>("prompt", "int64", prompt)?,
        score: &read_column::<f64>("score", "float64", score)?,
        expected: &read_column::<f64>("expected", "float64", expected)?,
        usable: &read_column::<bool>("usable", "bool", usable)?,
        texts: &read_texts("texts", texts)?,
    };
    let selection = py
        .detach(|| pair::best_worst(&columns, min_margin))
        .map_err(value_error)?;
    let (chosen, rejected): (Vec<_>, Vec<_>) = selection.pairs.into_iter().unzip();
    let drops = counts(py, &selection.drops.by_name())?;
    Ok((rows(py, chosen), rows(py, rejected), drops))
}

/// The perfect answers of each prompt.
#[pyfunction]
#[pyo3(signature = (prompt, score, usable, texts, *, perfect))]
pub fn select_positives<'py>(
    py: Python<'py>,
    prompt: &Bound<'py, PyAny>,
    score: &Bound<'py, PyAny>,
    usable: &Bound<'py, PyAny>,
    texts: &Bound<'py, PyAny>,
    perfect: f64,
) -> PyResult<(Rows<'py>, Bound<'py, PyDict>)> {
    let prompt = read_column::<i64>("prompt", "int64", prompt)?;
    let columns = Columns {
        prompt: &prompt,
        score: &read_column::<f64>("score", "float64", score)?,
        // Not looked at; the core wants the column all the same.
        expected: &vec![f64::NAN; prompt.len()],
        usable: &read_column::<bool>("usable", "bool", usable)?,
        texts: &read_texts("texts", texts)?,
    };
    let found = py
        .detach(|| pair::positives(&columns, perfect))
        .map_err(value_error)?;
    let left_out = [
        ("no_perfect_answer", found.no_perfect_answer),
        ("same_text", found.same_text),
    ];
    Ok((rows(py, found.rows), counts(py, &left_out)?))
}

fn rows(py: Python<'_>, rows: Vec<usize>) -> Rows<'_> {
    let rows: Vec<i64> = rows.into_iter().map(|row| row as i64).collect();
    rows.into_pyarray(py)
}

fn counts<'py>(py: Python<'py>, counts: &[(&str, usize)]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, count) in counts {
        dict.set_item(name, count)?;
    }
    Ok(dict)
}
