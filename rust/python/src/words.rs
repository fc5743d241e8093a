//! Words and keywords of texts.

use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;
use srlm_core::parallel;
use srlm_core::words::{self, Keywords};

use crate::texts::{Text, read_texts};

/// Minimum number of texts per task.
const MIN_TASK_SIZE: usize = 64;

/// The number of words of each text.
#[pyfunction]
pub fn count_words<'py>(
    py: Python<'py>,
    texts: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    let texts = read_texts("texts", texts)?;
    let counts = py.detach(|| {
        parallel::map(&texts, MIN_TASK_SIZE, |text| {
            words::count_words(text.as_ref()) as i64
        })
    });
    Ok(counts.into_pyarray(py))
}

/// For each text the index of the first keyword that occurs in it, or -1.
#[pyfunction]
pub fn first_keywords<'py>(
    py: Python<'py>,
    texts: &Bound<'py, PyAny>,
    keywords: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray1<i64>>> {
    let texts: Vec<Text> = read_texts("texts", texts)?;
    let keywords = read_texts("keywords", keywords)?;
    let found = py.detach(|| {
        let keywords = Keywords::new(&keywords);
        parallel::map(&texts, MIN_TASK_SIZE, |text| {
            let first = keywords.first_in(text.as_ref());
            first.map_or(-1, |index| index as i64)
        })
    });
    Ok(found.into_pyarray(py))
}
