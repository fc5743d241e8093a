//! What was said in a reply, and texts that go into a judge's prompt.

use pyo3::prelude::*;
use pyo3::types::PyString;
use srlm_core::{escape, reply};

use crate::error::value_error;
use crate::texts::Text;

/// The marks with which a chat template begins and ends turns.
#[pyclass(frozen, module = "srlm._native")]
pub struct TurnMarks {
    marks: reply::TurnMarks,
}

#[pymethods]
impl TurnMarks {
    #[new]
    fn new(marks: Vec<(Text, bool, bool)>) -> PyResult<Self> {
        let marks = marks
            .into_iter()
            .map(|(text, at_line_start, own)| reply::TurnMark {
                text: text.as_ref().to_owned(),
                at_line_start,
                own,
            });
        let marks = reply::TurnMarks::new(marks.collect()).map_err(value_error)?;
        Ok(Self { marks })
    }

    /// The marks: text, whether it counts at a line start only, and whether it
    /// begins the assistant's own turn.
    #[getter]
    fn marks(&self) -> Vec<(String, bool, bool)> {
        let marks = self.marks.marks().iter();
        marks
            .map(|it| (it.text.clone(), it.at_line_start, it.own))
            .collect()
    }

    /// Splits a reply into what was said and what was thought.
    #[pyo3(signature = (reply, *, in_thought = false))]
    fn split(&self, py: Python<'_>, reply: Text, in_thought: bool) -> Reply {
        py.detach(|| {
            let found = reply::split(reply.as_ref(), &self.marks, in_thought);
            let starts = found.said_starts();
            Reply {
                said: found.said.into_owned(),
                thought: found.thought,
                turn: found.turn.map(|at| reply.code_points(at)),
                open: found.open,
                starts: starts
                    .into_iter()
                    .map(|(said, at)| (said, reply.code_points(at)))
                    .collect(),
            }
        })
    }
}

/// The parts of a reply; positions are in code points.
#[pyclass(frozen, get_all, module = "srlm._native")]
pub struct Reply {
    said: String,
    thought: Option<String>,
    turn: Option<usize>,
    open: bool,
    starts: Vec<(usize, usize)>,
}

#[pymethods]
impl Reply {
    /// The position in the reply of position `at` of what was said.
    fn position(&self, at: usize) -> usize {
        let part = self.starts.partition_point(|&(said, _)| said <= at);
        let (said, reply) = self.starts[part.saturating_sub(1)];
        reply + at.saturating_sub(said)
    }
}

/// Escapes texts that are inserted into a prompt.
#[pyclass(frozen, module = "srlm._native")]
pub struct PromptEscaper {
    escaper: escape::Escaper,
}

#[pymethods]
impl PromptEscaper {
    #[new]
    #[pyo3(signature = (blocks, *, marks = None, control_strings = false))]
    fn new(
        blocks: Vec<Text>,
        marks: Option<&Bound<'_, TurnMarks>>,
        control_strings: bool,
    ) -> PyResult<Self> {
        let none = reply::TurnMarks::default();
        let marks = marks.map_or(&none, |it| &it.get().marks);
        let escaper = escape::Escaper::new(&blocks, marks, control_strings);
        Ok(Self {
            escaper: escaper.map_err(value_error)?,
        })
    }

    /// Escapes tags and marks in a text.
    fn escape<'py>(&self, text: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyString>> {
        let found: Text = text.extract()?;
        let escaped = text
            .py()
            .detach(|| match self.escaper.escape(found.as_ref()) {
                std::borrow::Cow::Borrowed(_) => None,
                std::borrow::Cow::Owned(escaped) => Some(escaped),
            });
        Ok(escaped.map_or_else(|| text.clone(), |it| PyString::new(text.py(), &it)))
    }
}
