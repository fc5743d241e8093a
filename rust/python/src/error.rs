//! Errors of the core as Python exceptions.

use std::io;

use pyo3::exceptions::PyValueError;
use pyo3::{PyErr, create_exception};
use srlm_core::Error;

create_exception!(
    _native,
    ChatTemplateError,
    PyValueError,
    "A chat template rejects the messages, or uses a feature that only transformers has."
);

/// Errors of the core are a `ValueError`, except for errors of the operating
/// system, which are the corresponding `OSError`.
pub fn value_error(error: Error) -> PyErr {
    match &error {
        Error::File { source, .. } => io::Error::new(source.kind(), error.to_string()).into(),
        error if error.is_template_error() => ChatTemplateError::new_err(error.to_string()),
        _ => PyValueError::new_err(error.to_string()),
    }
}
