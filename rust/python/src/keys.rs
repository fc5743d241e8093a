//! Keys of texts.

use pyo3::prelude::*;
use srlm_core::{parallel, text};

use crate::texts::read_texts;

/// Minimum number of texts per task.
const MIN_TASK_SIZE: usize = 64;

/// One key per text, equal for texts that differ only in case, white space or
/// compatibility characters.
#[pyfunction]
pub fn normal_keys(py: Python<'_>, texts: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    let texts = read_texts("texts", texts)?;
    Ok(py.detach(|| {
        parallel::map(&texts, MIN_TASK_SIZE, |text| {
            format!("{:032x}", text::normal_key(text.as_ref()))
        })
    }))
}
