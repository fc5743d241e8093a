//! Reading verdicts.

use numpy::ndarray::Array2;
use numpy::{IntoPyArray, PyArray1, PyArray2};
use pyo3::prelude::*;
use srlm_core::parallel;
use srlm_core::verdict::{self, Rules, Verdict};

use crate::error::value_error;
use crate::texts::read_texts;

/// How few replies one task reads; a task costs more than reading a few.
const SMALLEST_TASK: usize = 64;

/// Outcomes, scores and spans, one entry per reply.
type Columns<'py> = (
    Vec<&'static str>,
    Bound<'py, PyArray1<f64>>,
    Bound<'py, PyArray2<i64>>,
);

/// Reads the verdict of each reply.
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
    let read = py.detach(|| {
        parallel::map(&replies, SMALLEST_TASK, |reply| {
            read_one(reply.as_ref(), &rules)
        })
    });
    let outcomes = read
        .iter()
        .map(|(verdict, _)| verdict.outcome.name())
        .collect();
    let scores: Vec<f64> = read
        .iter()
        .map(|(verdict, _)| verdict.score.unwrap_or(f64::NAN))
        .collect();
    let spans = Array2::from_shape_fn((read.len(), 2), |(row, end)| read[row].1[end]);
    Ok((outcomes, scores.into_pyarray(py), spans.into_pyarray(py)))
}

/// The verdict of a reply and its span in code points, which index a Python str.
fn read_one(reply: &str, rules: &Rules) -> (Verdict, [i64; 2]) {
    let verdict = verdict::parse(reply, rules);
    let span = match verdict.span {
        Some((start, end)) => {
            let before = reply[..start].chars().count();
            [
                before as i64,
                (before + reply[start..end].chars().count()) as i64,
            ]
        }
        None => [-1, -1],
    };
    (verdict, span)
}
