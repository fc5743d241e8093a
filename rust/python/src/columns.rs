//! numpy columns as Rust slices.

use std::ops::Deref;

use numpy::{Element, PyReadonlyArray1};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

/// A one-dimensional array, borrowed where its elements lie side by side and
/// copied where it is strided.
pub enum Column<'py, T: Element> {
    /// The array itself.
    Borrowed(PyReadonlyArray1<'py, T>),
    /// Its elements.
    Copied(Vec<T>),
}

impl<T: Element> Deref for Column<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            // It was found to be in one piece when it was read.
            Self::Borrowed(column) => column.as_slice().unwrap_or_default(),
            Self::Copied(column) => column,
        }
    }
}

/// Reads a one-dimensional array, which may be strided. `dtype` is numpy's name
/// of the element type, for the message if the array holds another.
pub fn read_column<'py, T: Element + Copy>(
    name: &str,
    dtype: &str,
    array: &Bound<'py, PyAny>,
) -> PyResult<Column<'py, T>> {
    match array.extract::<PyReadonlyArray1<'py, T>>() {
        Ok(column) if column.as_slice().is_ok() => Ok(Column::Borrowed(column)),
        Ok(column) => Ok(Column::Copied(column.as_array().to_vec())),
        Err(_) => Err(PyTypeError::new_err(format!(
            "{name} must be a one-dimensional numpy array of {dtype}; \
             convert it with numpy.asarray({name}, dtype=numpy.{dtype}).ravel()"
        ))),
    }
}

/// Reads an array that may be left out as `None`.
pub fn read_optional<'py, T: Element + Copy>(
    name: &str,
    dtype: &str,
    array: Option<&Bound<'py, PyAny>>,
) -> PyResult<Option<Column<'py, T>>> {
    array
        .map(|array| read_column(name, dtype, array))
        .transpose()
}
