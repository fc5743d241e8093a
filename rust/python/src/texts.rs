//! Python strings as Rust strings.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyList, PyString};

/// A Python string, borrowed if it is valid Unicode.
pub enum Text {
    /// The string itself, and whether it is ASCII.
    Borrowed(PyBackedStr, bool),
    /// A copy with each lone surrogate replaced by one `?`, so that the
    /// positions of code points do not change.
    Replaced(String),
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        match self {
            Self::Borrowed(text, _) => text,
            Self::Replaced(text) => text,
        }
    }
}

impl Text {
    /// The index, in code points, of byte `at`, which must be a character
    /// boundary.
    pub fn code_points(&self, at: usize) -> usize {
        match self {
            Self::Borrowed(_, true) => at,
            text => text.as_ref()[..at].chars().count(),
        }
    }

    fn new(string: &Bound<'_, PyString>) -> PyResult<Self> {
        if let Ok(text) = PyBackedStr::try_from(string.clone()) {
            // Python knows the number of code points. It equals the number of
            // bytes only for ASCII.
            let ascii = string.len()? == text.len();
            return Ok(Self::Borrowed(text, ascii));
        }
        let bytes = string.call_method1("encode", ("utf-8", "replace"))?;
        let bytes = bytes.cast::<PyBytes>()?.as_bytes();
        Ok(Self::Replaced(String::from_utf8_lossy(bytes).into_owned()))
    }
}

impl<'py> FromPyObject<'_, 'py> for Text {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match object.cast::<PyString>() {
            Ok(string) => Self::new(&string),
            Err(_) => Err(PyTypeError::new_err(format!(
                "expected a str, got {}",
                object.get_type().name()?
            ))),
        }
    }
}

/// The strings of a sequence. A single string is an error, since Python would
/// iterate over its characters.
pub fn read_texts(name: &str, sequence: &Bound<'_, PyAny>) -> PyResult<Vec<Text>> {
    if sequence.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err(format!(
            "{name} is a single str; pass a sequence of str, for example [{name}]"
        )));
    }
    if let Ok(list) = sequence.cast_exact::<PyList>() {
        let mut texts = Vec::with_capacity(list.len());
        for (at, item) in list.iter().enumerate() {
            texts.push(read_item(name, at, &item)?);
        }
        return Ok(texts);
    }
    sequence
        .try_iter()?
        .enumerate()
        .map(|(at, item)| read_item(name, at, &item?))
        .collect()
}

fn read_item(name: &str, at: usize, item: &Bound<'_, PyAny>) -> PyResult<Text> {
    let string = item.cast::<PyString>().map_err(|_| {
        let found = item.get_type();
        PyTypeError::new_err(format!("{name}[{at}] is {found}; pass a str"))
    })?;
    Text::new(string)
}
