//! Errors of the core as Python exceptions.

use std::io;

use pyo3::exceptions::PyValueError;
use pyo3::{PyErr, create_exception};
use srlm_core::Error;

create_exception!(
    _native,
    ChatTemplateError,
    PyValueError,
    "A chat template refuses the messages, or asks for what only transformers has."
);

/// Errors of the core concern values and are a `ValueError`, but for what the
/// operating system says of a file: that is the `OSError` of its kind.
pub fn value_error(error: Error) -> PyErr {
    match &error {
        Error::File { source, .. } => io::Error::new(source.kind(), error.to_string()).into(),
        error if error.is_refusal() => ChatTemplateError::new_err(error.to_string()),
        _ => PyValueError::new_err(error.to_string()),
    }
}
