//! Keys of texts.

use pyo3::prelude::*;
use srlm_core::{parallel, text};

use crate::texts::read_texts;

/// How few texts one task takes.
const SMALLEST_TASK: usize = 64;

/// One key per text, equal for texts that differ only in case, white space or
/// compatibility characters.
#[pyfunction]
pub fn normal_keys(py: Python<'_>, texts: &Bound<'_, PyAny>) -> PyResult<Vec<String>> {
    let texts = read_texts("texts", texts)?;
    Ok(py.detach(|| {
        parallel::map(&texts, SMALLEST_TASK, |text| {
            format!("{:032x}", text::normal_key(text.as_ref()))
        })
    }))
}
