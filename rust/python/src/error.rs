//! Errors of the core as Python exceptions.

use std::io;

use pyo3::PyErr;
use pyo3::exceptions::PyValueError;
use srlm_core::Error;

/// Errors of the core concern values and are a `ValueError`, but for what the
/// operating system says of a file: that is the `OSError` of its kind.
pub fn value_error(error: Error) -> PyErr {
    match &error {
        Error::File { source, .. } => io::Error::new(source.kind(), error.to_string()).into(),
        _ => PyValueError::new_err(error.to_string()),
    }
}
