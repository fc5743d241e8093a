//! Errors of the core as Python exceptions.

use pyo3::PyErr;
use pyo3::exceptions::PyValueError;

/// All errors of the core concern values, so all are a `ValueError`.
pub fn value_error(error: srlm_core::Error) -> PyErr {
    PyValueError::new_err(error.to_string())
}
