//! Text fields from JSON lines.

use std::borrow::Cow;
use std::path::PathBuf;

use numpy::{IntoPyArray, PyArray1};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyList;
use srlm_core::jsonl;

/// Texts and the numbers of their lines.
type Column<'py> = (Bound<'py, PyList>, Bound<'py, PyArray1<i64>>);

/// Reads a text field from every line of a file.
#[pyfunction]
pub fn read_text_column<'py>(py: Python<'py>, path: PathBuf, field: &str) -> PyResult<Column<'py>> {
    let data = py
        .detach(|| std::fs::read(&path))
        .map_err(|error| os_error(error, &path))?;
    let column = py
        .detach(|| jsonl::text_column(&data, field))
        .map_err(|error| match error {
            srlm_core::Error::InvalidLine { .. } => {
                PyValueError::new_err(format!("{}, {error}", path.display()))
            }
            error => PyValueError::new_err(error.to_string()),
        })?;
    let texts = PyList::new(py, column.texts.iter().map(Cow::as_ref))?;
    let lines: Vec<i64> = column.lines.into_iter().map(|line| line as i64).collect();
    Ok((texts, lines.into_pyarray(py)))
}

/// The OSError that Python's `open` would raise.
fn os_error(error: std::io::Error, path: &std::path::Path) -> PyErr {
    match error.raw_os_error() {
        Some(code) => {
            let text = error.to_string();
            let reason = text.split(" (os error").next().unwrap_or_default();
            PyOSError::new_err((code, reason.to_owned(), path.as_os_str().to_owned()))
        }
        None => error.into(),
    }
}
