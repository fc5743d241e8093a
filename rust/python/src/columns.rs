//! numpy columns as Rust vectors.

use numpy::{Element, PyReadonlyArray1};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// A copy of a one-dimensional array, which may be strided. `dtype` is numpy's
/// name of the element type, for the message if the array holds another.
pub fn read_column<T: Element + Copy>(
    name: &str,
    dtype: &str,
    array: &Bound<'_, PyAny>,
) -> PyResult<Vec<T>> {
    match array.extract::<PyReadonlyArray1<'_, T>>() {
        Ok(column) => Ok(column.as_array().to_vec()),
        Err(_) => Err(PyTypeError::new_err(format!(
            "{name} must be a one-dimensional numpy array of {dtype}; \
             convert it with numpy.asarray({name}, dtype=numpy.{dtype}).ravel()"
        ))),
    }
}
