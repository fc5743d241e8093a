//! From messages to token ids.

use std::borrow::Cow;

use numpy::{IntoPyArray, PyArray1};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use srlm_core::chat::{self, Answer, ChatTemplate, Message, Ragged, Rendered, Tokenizer};

use crate::error::value_error;
use crate::texts::{Text, read_texts};

/// The ids of rows, and the cumulative lengths of the rows.
type Ids<'py> = (Bound<'py, PyArray1<i32>>, Bound<'py, PyArray1<i64>>);

/// Rows with a completion mask.
type Examples<'py> = (
    Bound<'py, PyArray1<i32>>,
    Bound<'py, PyArray1<bool>>,
    Bound<'py, PyArray1<i64>>,
);

/// A chat template and a tokenizer.
#[pyclass(module = "srlm._native", frozen)]
pub struct ChatEncoder {
    encoder: chat::ChatEncoder,
}

#[pymethods]
impl ChatEncoder {
    #[new]
    #[pyo3(signature = (tokenizer_json, *, template = None, variables = None, end_token = None))]
    fn new(
        py: Python<'_>,
        tokenizer_json: Text,
        template: Option<Text>,
        variables: Option<&Bound<'_, PyDict>>,
        end_token: Option<Text>,
    ) -> PyResult<Self> {
        let variables: Vec<(String, String)> = match variables {
            Some(variables) => variables
                .iter()
                .map(|(name, value)| Ok((name.extract()?, value.extract()?)))
                .collect::<PyResult<_>>()?,
            None => Vec::new(),
        };
        let encoder = py.detach(|| {
            let template = template
                .map(|source| ChatTemplate::new(source.as_ref(), &variables))
                .transpose()?;
            let end_token = end_token.as_ref().map(AsRef::as_ref);
            let tokenizer = Tokenizer::from_json(tokenizer_json.as_ref(), end_token)?;
            chat::ChatEncoder::new(tokenizer, template, end_token)
        });
        Ok(Self {
            encoder: encoder.map_err(value_error)?,
        })
    }

    /// The reason why there is no fast lane; None if there is one.
    #[getter]
    fn lane_refusal(&self) -> Option<String> {
        self.encoder
            .tokenizer()
            .lane_refusal()
            .map(ToString::to_string)
    }

    /// Renders one conversation unchanged.
    #[pyo3(signature = (messages, *, add_generation_prompt))]
    fn render(
        &self,
        py: Python<'_>,
        messages: &Bound<'_, PyAny>,
        add_generation_prompt: bool,
    ) -> PyResult<String> {
        let messages = read_conversation("messages", messages)?;
        let messages = borrowed(&messages);
        py.detach(|| self.encoder.render_plain(&messages, add_generation_prompt))
            .map_err(value_error)
    }

    /// Breaks up the strings of special tokens in the contents of a conversation.
    fn broken(&self, messages: &Bound<'_, PyAny>) -> PyResult<(u32, Vec<String>)> {
        let messages = read_conversation("messages", messages)?;
        let broken = self.encoder.broken(&borrowed(&messages));
        let (mark, contents) = broken.map_err(value_error)?;
        Ok((mark, contents.into_iter().map(Cow::into_owned).collect()))
    }

    /// The ids of texts. Strings of special tokens are encoded as special
    /// tokens.
    fn encode_texts<'py>(&self, py: Python<'py>, texts: &Bound<'py, PyAny>) -> PyResult<Ids<'py>> {
        let texts = read_texts("texts", texts)?;
        let ids = py.detach(|| self.encoder.encode_texts(&texts));
        Ok(arrays(py, ids.map_err(value_error)?))
    }

    /// The ids of prompts for generation.
    #[pyo3(signature = (prompts, *, opening = None))]
    fn encode_prompts<'py>(
        &self,
        py: Python<'py>,
        prompts: &Bound<'py, PyAny>,
        opening: Option<Text>,
    ) -> PyResult<Ids<'py>> {
        let batch = Batch::<0>::read(prompts, [], [])?;
        let opening = opening.as_ref().map_or("", AsRef::as_ref);
        let ids = py.detach(|| {
            let render = |row| batch.rendered(&self.encoder, row);
            self.encoder.encode_prompts(batch.len(), render, opening)
        });
        Ok(arrays(py, ids.map_err(value_error)?))
    }

    /// Prompts with their completions, and a completion mask.
    #[pyo3(signature = (prompts, completions = None, *, completion_ids = None, keep_tail = false))]
    fn encode_examples<'py>(
        &self,
        py: Python<'py>,
        prompts: &Bound<'py, PyAny>,
        completions: Option<&Bound<'py, PyAny>>,
        completion_ids: Option<&Bound<'py, PyAny>>,
        keep_tail: bool,
    ) -> PyResult<Examples<'py>> {
        let batch = Batch::<1>::read(
            prompts,
            [("completions", completions)],
            [("completion_ids", completion_ids)],
        )?;
        let encoded = py.detach(|| {
            let render = |row| batch.rendered(&self.encoder, row);
            let given = |row| batch.given(row);
            self.encoder
                .encode_examples(batch.len(), render, given, keep_tail)
        });
        let encoded = encoded.map_err(value_error)?;
        let mask = encoded.completion_mask.into_pyarray(py);
        let (ids, offsets) = arrays(py, encoded.rows);
        Ok((ids, mask, offsets))
    }

    /// Prompts, chosen and rejected answers, each in separate rows.
    #[pyo3(signature = (prompts, chosen = None, rejected = None, *, chosen_ids = None, rejected_ids = None, keep_tail = false))]
    #[allow(clippy::too_many_arguments)] // the columns of a table
    fn encode_pairs<'py>(
        &self,
        py: Python<'py>,
        prompts: &Bound<'py, PyAny>,
        chosen: Option<&Bound<'py, PyAny>>,
        rejected: Option<&Bound<'py, PyAny>>,
        chosen_ids: Option<&Bound<'py, PyAny>>,
        rejected_ids: Option<&Bound<'py, PyAny>>,
        keep_tail: bool,
    ) -> PyResult<(Ids<'py>, Ids<'py>, Ids<'py>)> {
        let batch = Batch::<2>::read(
            prompts,
            [("chosen", chosen), ("rejected", rejected)],
            [("chosen_ids", chosen_ids), ("rejected_ids", rejected_ids)],
        )?;
        let encoded = py.detach(|| {
            let render = |row| batch.rendered(&self.encoder, row);
            let given = |row| batch.given(row);
            self.encoder
                .encode_pairs(batch.len(), render, given, keep_tail)
        });
        let [prompt, chosen, rejected] = encoded.map_err(value_error)?;
        Ok((arrays(py, prompt), arrays(py, chosen), arrays(py, rejected)))
    }
}

fn arrays(py: Python<'_>, ragged: Ragged) -> Ids<'_> {
    (ragged.ids.into_pyarray(py), ragged.offsets.into_pyarray(py))
}

/// A message from Python: role and content.
type OwnMessage = (Text, Text);

/// Prompts with `N` answers each.
struct Batch<const N: usize> {
    rows: Source<N>,
    given: [Option<Vec<Option<Vec<u32>>>>; N],
}

/// The source of the rows.
enum Source<const N: usize> {
    /// Conversations to render.
    Messages {
        prompts: Vec<Vec<OwnMessage>>,
        answers: [Option<Vec<Vec<OwnMessage>>>; N],
    },
    /// Rendered conversations.
    Rendered(Vec<Rendered>),
}

impl<const N: usize> Batch<N> {
    fn read(
        prompts: &Bound<'_, PyAny>,
        answers: [(&str, Option<&Bound<'_, PyAny>>); N],
        given: [(&str, Option<&Bound<'_, PyAny>>); N],
    ) -> PyResult<Self> {
        let items: Vec<Bound<'_, PyAny>> = prompts.try_iter()?.collect::<PyResult<_>>()?;
        let count = items.len();
        let rows = if items
            .first()
            .is_some_and(|item| item.is_instance_of::<PyTuple>())
        {
            Source::Rendered(items.iter().map(read_rendered).collect::<PyResult<_>>()?)
        } else {
            let prompts = items.iter().enumerate();
            let prompts =
                prompts.map(|(row, item)| read_conversation(&format!("prompts[{row}]"), item));
            Source::Messages {
                prompts: prompts.collect::<PyResult<_>>()?,
                answers: read_each(answers, count, |name, item| read_conversation(name, item))?,
            }
        };
        let given = read_each(given, count, read_ids)?;
        Ok(Self { rows, given })
    }

    fn len(&self) -> usize {
        match &self.rows {
            Source::Messages { prompts, .. } => prompts.len(),
            Source::Rendered(rows) => rows.len(),
        }
    }

    fn given(&self, row: usize) -> [Option<&[u32]>; N] {
        std::array::from_fn(|at| self.given[at].as_ref()?[row].as_deref())
    }

    fn rendered(
        &self,
        encoder: &chat::ChatEncoder,
        row: usize,
    ) -> Result<Rendered, srlm_core::Error> {
        let (prompts, answers) = match &self.rows {
            Source::Rendered(rows) => return Ok(rows[row].clone()),
            Source::Messages { prompts, answers } => (prompts, answers),
        };
        let given = self.given(row);
        let messages: [Vec<Message<'_>>; N] = std::array::from_fn(|at| match &answers[at] {
            Some(answers) => borrowed(&answers[row]),
            None => Vec::new(),
        });
        let answers: [Answer<'_>; N] = std::array::from_fn(|at| match given[at] {
            Some(ids) => Answer::Ids(ids),
            None => Answer::Messages(&messages[at]),
        });
        encoder.render(&borrowed(&prompts[row]), &answers)
    }
}

/// Reads optional columns, each of `count` items.
fn read_each<'py, T, const N: usize>(
    columns: [(&str, Option<&Bound<'py, PyAny>>); N],
    count: usize,
    read: impl Fn(&str, &Bound<'py, PyAny>) -> PyResult<T>,
) -> PyResult<[Option<Vec<T>>; N]> {
    let mut out = std::array::from_fn(|_| None);
    for (at, (name, column)) in columns.into_iter().enumerate() {
        let Some(column) = column else { continue };
        let rows = column.try_iter()?.enumerate();
        let rows: Vec<T> = rows
            .map(|(row, item)| read(&format!("{name}[{row}]"), &item?))
            .collect::<PyResult<_>>()?;
        if rows.len() != count {
            return Err(PyValueError::new_err(format!(
                "{name} has {} rows but prompts has {count}; pass one per prompt",
                rows.len()
            )));
        }
        out[at] = Some(rows);
    }
    Ok(out)
}

fn read_ids(name: &str, item: &Bound<'_, PyAny>) -> PyResult<Option<Vec<u32>>> {
    let Some(ids) = item.extract::<Option<Vec<i64>>>()? else {
        return Ok(None);
    };
    let read = |id: i64| match i32::try_from(id) {
        Ok(known) if known >= 0 => Ok(known as u32),
        _ => Err(PyValueError::new_err(format!(
            "{name}: {id} is not a token id; use ids from 0 to {}",
            i32::MAX
        ))),
    };
    ids.into_iter().map(read).collect::<PyResult<_>>().map(Some)
}

fn read_rendered(item: &Bound<'_, PyAny>) -> PyResult<Rendered> {
    let (prompt, with_answers, marks) = item.extract::<(Text, Vec<Option<Text>>, u32)>()?;
    let owned = |text: Text| text.as_ref().to_owned();
    Ok(Rendered {
        prompt: owned(prompt),
        with_answers: with_answers
            .into_iter()
            .map(|text| text.map(owned))
            .collect(),
        marks,
    })
}

fn read_conversation(name: &str, messages: &Bound<'_, PyAny>) -> PyResult<Vec<OwnMessage>> {
    let list = messages.cast::<PyList>().map_err(|_| {
        let found = messages.get_type();
        PyTypeError::new_err(format!("{name} is {found}; pass a list of messages"))
    })?;
    list.iter()
        .map(|message| read_message(name, &message))
        .collect()
}

fn read_message(name: &str, message: &Bound<'_, PyAny>) -> PyResult<OwnMessage> {
    let wrong = || {
        PyTypeError::new_err(format!(
            "{name}: a message must be a dict with the keys role and content only, both str"
        ))
    };
    let dict = message.cast::<PyDict>().map_err(|_| wrong())?;
    let field = |key: &str| match dict.get_item(key)? {
        Some(value) => value.extract::<Text>().map_err(|_| wrong()),
        None => Err(wrong()),
    };
    if dict.len() != 2 {
        return Err(wrong());
    }
    Ok((field("role")?, field("content")?))
}

fn borrowed(messages: &[OwnMessage]) -> Vec<Message<'_>> {
    let pairs = messages.iter();
    pairs
        .map(|(role, content)| Message {
            role: role.as_ref(),
            content: content.as_ref(),
        })
        .collect()
}
