//! Exact and near duplicates.

use std::path::PathBuf;

use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;
use srlm_core::Error;
use srlm_core::dedup::{self, Options, Unit};

use crate::error::value_error;
use crate::texts::read_texts;

type Rows<'py> = Bound<'py, PyArray1<i64>>;

fn to_array(py: Python<'_>, rows: Vec<usize>) -> Rows<'_> {
    let rows: Vec<i64> = rows.into_iter().map(|row| row as i64).collect();
    rows.into_pyarray(py)
}

/// Checks the options from Python. Numbers are signed so that a negative one is
/// a range error instead of a type error.
fn read_options(
    threshold: f64,
    ngram: i64,
    unit: &str,
    permutations: i64,
    seed: u64,
) -> Result<Options, Error> {
    Ok(Options {
        threshold,
        ngram: usize::try_from(ngram).map_err(|_| Error::InvalidNgram {
            value: ngram,
            max: dedup::MAX_NGRAM,
        })?,
        unit: Unit::from_name(unit)?,
        permutations: usize::try_from(permutations).map_err(|_| Error::InvalidPermutations {
            value: permutations,
            max: dedup::MAX_PERMUTATIONS,
        })?,
        seed,
    })
}

/// For each text the row of the first text of the same normal form.
#[pyfunction]
pub fn exact_duplicates<'py>(py: Python<'py>, texts: &Bound<'py, PyAny>) -> PyResult<Rows<'py>> {
    let texts = read_texts("texts", texts)?;
    let rows = py.detach(|| dedup::exact_duplicates(&texts));
    Ok(to_array(py, rows))
}

/// For each text the row of the first text of its cluster of near duplicates.
#[pyfunction]
#[pyo3(signature = (texts, *, threshold=0.8, ngram=3, unit="word", permutations=128, seed=0))]
pub fn near_duplicates<'py>(
    py: Python<'py>,
    texts: &Bound<'py, PyAny>,
    threshold: f64,
    ngram: i64,
    unit: &str,
    permutations: i64,
    seed: u64,
) -> PyResult<Rows<'py>> {
    let options = read_options(threshold, ngram, unit, permutations, seed).map_err(value_error)?;
    let texts = read_texts("texts", texts)?;
    let rows = py.detach(|| dedup::near_duplicates(&texts, options));
    Ok(to_array(py, rows.map_err(value_error)?))
}

/// Clusters of near duplicates among all texts added so far.
#[pyclass(module = "srlm._native")]
pub struct NearDuplicateIndex {
    index: dedup::NearDuplicateIndex,
}

#[pymethods]
impl NearDuplicateIndex {
    #[new]
    #[pyo3(signature = (*, threshold=0.8, ngram=3, unit="word", permutations=128, seed=0))]
    fn new(threshold: f64, ngram: i64, unit: &str, permutations: i64, seed: u64) -> PyResult<Self> {
        let options =
            read_options(threshold, ngram, unit, permutations, seed).map_err(value_error)?;
        let index = dedup::NearDuplicateIndex::new(options).map_err(value_error)?;
        Ok(Self { index })
    }

    fn __len__(&self) -> usize {
        self.index.len()
    }

    /// Adds texts.
    fn add<'py>(&mut self, py: Python<'py>, texts: &Bound<'py, PyAny>) -> PyResult<Rows<'py>> {
        let texts = read_texts("texts", texts)?;
        let rows = py.detach(|| self.index.add(&texts));
        Ok(to_array(py, rows))
    }

    /// For each text added so far the row of the first text of its cluster.
    fn clusters<'py>(&self, py: Python<'py>) -> Rows<'py> {
        to_array(py, py.detach(|| self.index.clusters()))
    }

    /// Saves the index.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        py.detach(|| self.index.save(&path)).map_err(value_error)
    }

    /// Loads a saved index.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let index = py.detach(|| dedup::NearDuplicateIndex::load(&path));
        Ok(Self {
            index: index.map_err(value_error)?,
        })
    }

    #[getter]
    fn threshold(&self) -> f64 {
        self.index.options().threshold
    }

    #[getter]
    fn ngram(&self) -> usize {
        self.index.options().ngram
    }

    #[getter]
    fn unit(&self) -> &'static str {
        self.index.options().unit.name()
    }

    #[getter]
    fn permutations(&self) -> usize {
        self.index.options().permutations
    }

    #[getter]
    fn seed(&self) -> u64 {
        self.index.options().seed
    }
}
