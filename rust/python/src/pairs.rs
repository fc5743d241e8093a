//! Selection of pairs and positives.

use numpy::{Element, IntoPyArray, PyArray1, PyArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use srlm_core::pair::{self, Columns, Method, Rules};

use crate::columns::{read_column, read_optional};
use crate::error::value_error;
use crate::texts::{Text, read_texts};

/// A column of row numbers or of counts.
type Ints<'py> = Bound<'py, PyArray1<i64>>;

/// The pairs of answers to each prompt.
#[pyfunction]
#[pyo3(signature = (
    prompt, score, expected = None, usable = None, texts = None, *, min_margin = 0.0, method = "best_worst",
    seed = 0, k = 2, rho = 0.1, max_per_prompt = None, length = None, may_be_chosen = None, may_be_rejected = None
))]
#[allow(clippy::too_many_arguments)] // one for each argument in Python
pub fn select_pairs<'py>(
    py: Python<'py>,
    prompt: &Bound<'py, PyAny>,
    score: &Bound<'py, PyAny>,
    expected: Option<&Bound<'py, PyAny>>,
    usable: Option<&Bound<'py, PyAny>>,
    texts: Option<&Bound<'py, PyAny>>,
    min_margin: f64,
    method: &str,
    seed: i128,
    k: i64,
    rho: f64,
    max_per_prompt: Option<i64>,
    length: Option<&Bound<'py, PyAny>>,
    may_be_chosen: Option<&Bound<'py, PyAny>>,
    may_be_rejected: Option<&Bound<'py, PyAny>>,
) -> PyResult<(Ints<'py>, Ints<'py>, Bound<'py, PyDict>)> {
    let rules = Rules {
        method: read_method(method, seed, k, rho)?,
        min_margin,
        max_per_prompt: max_per_prompt
            .map(|count| read_count("max_per_prompt", count))
            .transpose()?,
    };
    let expected = read_optional("expected", "float64", expected)?;
    let usable = read_optional("usable", "bool", usable)?;
    let texts = read_optional_texts(texts)?;
    let length = read_optional("length", "int64", length)?;
    let may_be_chosen = read_optional("may_be_chosen", "bool", may_be_chosen)?;
    let may_be_rejected = read_optional("may_be_rejected", "bool", may_be_rejected)?;
    let columns = Columns {
        prompt: &read_column("prompt", "int64", prompt)?,
        score: &read_column("score", "float64", score)?,
        expected: expected.as_deref(),
        usable: usable.as_deref(),
        may_be_chosen: may_be_chosen.as_deref(),
        may_be_rejected: may_be_rejected.as_deref(),
        texts: texts.as_deref(),
        length: length.as_deref(),
    };
    let found = py
        .detach(|| pair::select(&columns, &rules))
        .map_err(value_error)?;
    let drops = counts(py, &found.drops.by_name())?;
    if matches!(rules.method, Method::Margin | Method::TopBottom { .. }) {
        drops.set_item("over_cap", found.over_cap)?;
    }
    Ok((
        found.chosen.into_pyarray(py),
        found.rejected.into_pyarray(py),
        drops,
    ))
}

/// The perfect answers of each prompt.
#[pyfunction]
#[pyo3(signature = (prompt, score, usable = None, texts = None, *, perfect, may_be_chosen = None))]
pub fn select_positives<'py>(
    py: Python<'py>,
    prompt: &Bound<'py, PyAny>,
    score: &Bound<'py, PyAny>,
    usable: Option<&Bound<'py, PyAny>>,
    texts: Option<&Bound<'py, PyAny>>,
    perfect: f64,
    may_be_chosen: Option<&Bound<'py, PyAny>>,
) -> PyResult<(Ints<'py>, Bound<'py, PyDict>)> {
    let usable = read_optional("usable", "bool", usable)?;
    let may_be_chosen = read_optional("may_be_chosen", "bool", may_be_chosen)?;
    let texts = read_optional_texts(texts)?;
    let columns = Columns {
        prompt: &read_column("prompt", "int64", prompt)?,
        score: &read_column("score", "float64", score)?,
        expected: None,
        usable: usable.as_deref(),
        may_be_chosen: may_be_chosen.as_deref(),
        may_be_rejected: None,
        texts: texts.as_deref(),
        length: None,
    };
    let found = py
        .detach(|| pair::positives(&columns, perfect))
        .map_err(value_error)?;
    let left_out = [
        ("no_perfect_answer", found.no_perfect_answer),
        ("same_text", found.same_text),
    ];
    Ok((found.rows.into_pyarray(py), counts(py, &left_out)?))
}

/// The mean over the verdicts on each candidate.
#[pyfunction]
#[pyo3(signature = (candidate, score, *, candidates = None))]
pub fn mean_scores<'py>(
    py: Python<'py>,
    candidate: &Bound<'py, PyAny>,
    score: &Bound<'py, PyAny>,
    candidates: Option<i64>,
) -> PyResult<(Bound<'py, PyArray1<f64>>, Ints<'py>)> {
    let candidate: &[i64] = &read_column("candidate", "int64", candidate)?;
    let score: &[f64] = &read_column("score", "float64", score)?;
    let candidates = candidates
        .map(|count| read_count("candidates", count))
        .transpose()?;
    let len = py
        .detach(|| pair::candidate_count(candidate, candidates))
        .map_err(value_error)?;
    let mean = zeros::<f64>(py, len, "float64")?;
    let count = zeros::<i64>(py, len, "int64")?;
    let (mut means, mut counts) = (mean.readwrite(), count.readwrite());
    let (means, counts) = (means.as_slice_mut()?, counts.as_slice_mut()?);
    py.detach(|| pair::mean_scores_into(candidate, score, means, counts))
        .map_err(value_error)?;
    Ok((mean, count))
}

/// An array allocated by numpy, which requests huge pages where the system
/// supports them. This avoids a page fault per 4 KiB.
fn zeros<'py, T: Element>(
    py: Python<'py>,
    len: usize,
    dtype: &str,
) -> PyResult<Bound<'py, PyArray1<T>>> {
    let array = py.import("numpy")?.call_method1("zeros", (len, dtype))?;
    Ok(array.cast_into()?)
}

fn read_method(name: &str, seed: i128, k: i64, rho: f64) -> PyResult<Method> {
    let seed = u64::try_from(seed).map_err(|_| {
        PyValueError::new_err(format!(
            "seed is {seed}; use a whole number of at least 0 and below 2**64"
        ))
    })?;
    let k = read_count("k", k)?;
    match name {
        "best_worst" => Ok(Method::BestWorst),
        "length_controlled" => Ok(Method::LengthControlled { rho }),
        "margin" => Ok(Method::Margin),
        "random" => Ok(Method::Random { seed }),
        "top_bottom" => Ok(Method::TopBottom { k }),
        other => Err(PyValueError::new_err(format!(
            "method is {other:?}; use best_worst, length_controlled, margin, random or top_bottom"
        ))),
    }
}

/// A count. The core checks for 0, where at least 1 is required.
fn read_count(name: &str, count: i64) -> PyResult<usize> {
    usize::try_from(count).map_err(|_| {
        PyValueError::new_err(format!(
            "{name} is {count}; use a number that is not negative"
        ))
    })
}

fn read_optional_texts(texts: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Vec<Text>>> {
    texts.map(|texts| read_texts("texts", texts)).transpose()
}

fn counts<'py>(py: Python<'py>, counts: &[(&str, usize)]) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, count) in counts {
        dict.set_item(name, count)?;
    }
    Ok(dict)
}
