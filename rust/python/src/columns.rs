//! numpy columns as Rust slices.

use std::ops::Deref;

use numpy::{Element, PyReadonlyArray1};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// A one-dimensional contiguous array.
pub struct Column<'py, T: Element>(PyReadonlyArray1<'py, T>);

impl<T: Element> Deref for Column<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // `read_column` ensures that the array is contiguous.
        self.0.as_slice().unwrap_or_default()
    }
}

/// Borrows a one-dimensional array, or a copy of it if it is strided or not
/// aligned. `dtype` is numpy's name of the element type, for the error message.
pub fn read_column<'py, T: Element>(
    name: &str,
    dtype: &str,
    array: &Bound<'py, PyAny>,
) -> PyResult<Column<'py, T>> {
    let Ok(column) = array.extract::<PyReadonlyArray1<'py, T>>() else {
        return Err(PyTypeError::new_err(format!(
            "{name} must be a one-dimensional numpy array of {dtype}; \
             convert it with numpy.asarray({name}, dtype=numpy.{dtype}).ravel()"
        )));
    };
    if column.as_slice().is_ok() {
        return Ok(Column(column));
    }
    let copy = array.call_method0("copy")?;
    Ok(Column(copy.extract::<PyReadonlyArray1<'py, T>>()?))
}

/// Like [`read_column`], for an optional array.
pub fn read_optional<'py, T: Element>(
    name: &str,
    dtype: &str,
    array: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Column<'py, T>>> {
    array
        .map(|array| read_column(name, dtype, array))
        .transpose()
}
