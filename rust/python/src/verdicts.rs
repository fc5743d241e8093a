//! Parsing of verdicts, and expected scores.

use numpy::{Element, IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray2};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};
use srlm_core::parallel;
use srlm_core::verdict::{self, Outcome, Rules};

use crate::columns::read_column;
use crate::error::value_error;
use crate::texts::{Text, read_texts};

/// Minimum number of replies per task; a task costs more than parsing a few.
const MIN_TASK_SIZE: usize = 64;

/// Outcomes, scores and spans, one entry per reply.
type Columns<'py> = (
    Bound<'py, PyList>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray2<i64>>,
);

/// Parses the verdict of each reply.
#[pyfunction]
#[pyo3(signature = (replies, *, max_score = 5.0, pattern = None))]
pub fn parse_verdicts<'py>(
    py: Python<'py>,
    replies: &Bound<'py, PyAny>,
    max_score: f64,
    pattern: Option<&str>,
) -> PyResult<Columns<'py>> {
    let rules = match pattern {
        Some(pattern) => Rules::custom(pattern, max_score),
        None => Rules::new(max_score),
    };
    let rules = rules.map_err(value_error)?;
    let replies = read_texts("replies", replies)?;
    let (rows, scores, spans) = py.detach(|| {
        let rows = parallel::map(&replies, MIN_TASK_SIZE, |reply| parse_reply(reply, &rules));
        let scores: Vec<f64> = rows.iter().map(|row| row.score).collect();
        let spans: Vec<i64> = rows.iter().flat_map(|row| row.span).collect();
        (rows, scores, spans)
    });
    let spans = spans.into_pyarray(py).reshape([rows.len(), 2])?;
    Ok((outcome_names(py, &rows)?, scores.into_pyarray(py), spans))
}

/// A verdict in the format of the columns.
struct Row {
    outcome: Outcome,
    /// NaN unless scored.
    score: f64,
    /// In code points, which index a Python str; -1 if there is none.
    span: [i64; 2],
}

/// The names of the outcomes. All entries of the same outcome share one str.
fn outcome_names<'py>(py: Python<'py>, rows: &[Row]) -> PyResult<Bound<'py, PyList>> {
    let [scored, missing, out_of_range, conflicting] = [
        Outcome::Scored,
        Outcome::Missing,
        Outcome::OutOfRange,
        Outcome::Conflicting,
    ]
    .map(|outcome| PyString::intern(py, outcome.name()));
    let names = rows.iter().map(|row| match row.outcome {
        Outcome::Scored => &scored,
        Outcome::Missing => &missing,
        Outcome::OutOfRange => &out_of_range,
        Outcome::Conflicting => &conflicting,
    });
    PyList::new(py, names)
}

fn parse_reply(reply: &Text, rules: &Rules) -> Row {
    let verdict = verdict::parse(reply.as_ref(), rules);
    Row {
        outcome: verdict.outcome,
        score: verdict.score.unwrap_or(f64::NAN),
        span: match verdict.span {
            Some((start, end)) => [start, end].map(|at| reply.code_points(at) as i64),
            None => [-1, -1],
        },
    }
}

/// The mean of each reply's distribution over the digits.
#[pyfunction]
pub fn expected_scores<'py>(
    py: Python<'py>,
    logps: &Bound<'py, PyAny>,
    digits: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArray1<f64>>> {
    let digits = read_column::<f64>("digits", "float64", digits)?;
    if let Ok(table) = logps.extract::<PyReadonlyArray2<'py, f64>>() {
        return means(py, &table, &digits);
    }
    if let Ok(table) = logps.extract::<PyReadonlyArray2<'py, f32>>() {
        return means(py, &table, &digits);
    }
    Err(PyTypeError::new_err(
        "logps must be a two-dimensional numpy array of float64 or float32; \
         convert it with numpy.atleast_2d(numpy.asarray(logps, dtype=numpy.float64))",
    ))
}

fn means<'py, T>(
    py: Python<'py>,
    table: &PyReadonlyArray2<'py, T>,
    digits: &[f64],
) -> PyResult<Bound<'py, PyArray1<f64>>>
where
    T: Element + Copy + Into<f64>,
{
    let table = table.as_array();
    if table.ncols() != digits.len() {
        let error = srlm_core::Error::UnequalDigits {
            values: table.len(),
            digits: digits.len(),
        };
        return Err(value_error(error));
    }
    let table = table.as_standard_layout();
    let rows = table.as_slice().expect("the layout is contiguous");
    py.detach(|| verdict::expected_scores(rows, digits))
        .map(|means| means.into_pyarray(py))
        .map_err(value_error)
}
