//! ROUGE-L and the novelty index.

use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use srlm_core::novelty::{self, Decision};

use crate::error::value_error;
use crate::texts::{Text, read_texts};

/// The ROUGE-L F-measure of two texts.
#[pyfunction]
#[pyo3(signature = (a, b, *, words = "rouge_score"))]
pub fn rouge_l(py: Python<'_>, a: Text, b: Text, words: &str) -> PyResult<f64> {
    let words = words.parse().map_err(value_error)?;
    Ok(py.detach(|| novelty::rouge_l(a.as_ref(), b.as_ref(), words)))
}

/// The decisions on new texts: whether each was kept, and the similarity and
/// index of the most similar kept text.
type Decisions<'py> = (
    Bound<'py, PyArray1<bool>>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray1<i64>>,
);

/// Kept texts, to be compared with new ones by ROUGE-L.
#[pyclass(module = "srlm._native")]
pub struct NoveltyIndex {
    index: novelty::NoveltyIndex,
}

#[pymethods]
impl NoveltyIndex {
    #[new]
    #[pyo3(signature = (*, words = "rouge_score"))]
    fn new(words: &str) -> PyResult<Self> {
        let index = novelty::NoveltyIndex::new(words.parse().map_err(value_error)?);
        Ok(Self { index })
    }

    fn __len__(&self) -> usize {
        self.index.len()
    }

    fn __sizeof__(&self) -> usize {
        size_of::<Self>() + self.index.memory()
    }

    /// The similarity and the index of the most similar kept text.
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

    /// Keeps the texts that are not too similar to one kept before.
    #[pyo3(signature = (texts, threshold = 0.7))]
    fn add_novel<'py>(
        &mut self,
        py: Python<'py>,
        texts: &Bound<'py, PyAny>,
        threshold: f64,
    ) -> PyResult<Decisions<'py>> {
        let texts = read_texts("texts", texts)?;
        let decisions = py
            .detach(|| self.index.add_novel(&texts, threshold))
            .map_err(value_error)?;
        Ok(columns(py, &decisions))
    }

    /// The number of pairs that passed each bound.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = self.index.counts();
        let dict = PyDict::new(py);
        dict.set_item("pairs", counts.pairs)?;
        dict.set_item("met", counts.met)?;
        dict.set_item("signature", counts.signature)?;
        dict.set_item("overlap", counts.overlap)?;
        Ok(dict)
    }
}

fn columns<'py>(py: Python<'py>, decisions: &[Decision]) -> Decisions<'py> {
    let kept: Vec<bool> = decisions.iter().map(|d| *d == Decision::Kept).collect();
    let (similarity, nearest): (Vec<f64>, Vec<i64>) = decisions
        .iter()
        .map(|decision| match decision {
            Decision::Kept => (f64::NAN, -1),
            Decision::Dropped(found) => (found.similarity, found.index as i64),
        })
        .unzip();
    (
        kept.into_pyarray(py),
        similarity.into_pyarray(py),
        nearest.into_pyarray(py),
    )
}
