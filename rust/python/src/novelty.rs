//! ROUGE-L and the novelty index.

use pyo3::prelude::*;
use srlm_core::novelty;

use crate::texts::{Text, read_texts};

/// The ROUGE-L F1 of two texts.
#[pyfunction]
pub fn rouge_l(py: Python<'_>, a: Text, b: Text) -> f64 {
    py.detach(|| novelty::rouge_l(a.as_ref(), b.as_ref()))
}

/// Kept texts, to be compared with new ones by ROUGE-L.
#[pyclass(module = "srlm._native")]
#[derive(Default)]
pub struct NoveltyIndex {
    index: novelty::NoveltyIndex,
}

#[pymethods]
impl NoveltyIndex {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn __len__(&self) -> usize {
        self.index.len()
    }

    /// The similarity and the position of the most similar kept text.
    fn max_similarity(&self, py: Python<'_>, text: Text) -> (f64, i64) {
        let (similarity, index) = py.detach(|| self.index.max_similarity(text.as_ref()));
        (similarity, index.map_or(-1, |index| index as i64))
    }

    /// Keeps a text.
    fn add(&mut self, text: Text) {
        self.index.push(text.as_ref());
    }

    /// Keeps several texts.
    fn add_all(&mut self, py: Python<'_>, texts: &Bound<'_, PyAny>) -> PyResult<()> {
        let texts = read_texts("texts", texts)?;
        py.detach(|| self.index.extend(&texts));
        Ok(())
    }
}
