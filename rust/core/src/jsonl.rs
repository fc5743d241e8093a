//! Reading one text field from a file of JSON lines.
//!
//! Lines end at `\n` only: U+2028 and similar characters are legal inside a
//! JSON string. The result is that of Python's `json.loads` for each line, with
//! these exceptions and details:
//!
//! * a byte order mark before the first line, `\r` before `\n` and blank lines
//!   are allowed;
//! * `NaN` and `Infinity` are not allowed: JSON (RFC 8259) has neither;
//! * a key that appears twice in an object is an error, wherever the object is;
//! * the escape of a lone surrogate (`"\ud800"`), which is not a character, is
//!   read as `?`, as everywhere in the Python bindings;
//! * other values may be nested to any depth.

mod field;
mod keys;
mod surrogates;

use std::borrow::Cow;

use memchr::memchr;

use crate::{Error, parallel};
use field::{Field, Found};

/// The minimum number of bytes per task; a task reads whole lines.
const MIN_PART_BYTES: usize = 1 << 18;

/// The text of one field, line by line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextColumn<'a> {
    /// One text per non-blank line, borrowed if it has no escapes.
    pub texts: Vec<Cow<'a, str>>,
    /// The line number of each text, from 1.
    pub lines: Vec<usize>,
}

/// Reads the string `field` of every line of `data`: the name of a field of the
/// line's object, or a path of parts joined by dots (`chosen.0.content`), each
/// of which is a key of an object or an index, from 0, into an array. Keys that
/// contain a dot are not supported.
///
/// # Errors
/// [`Error::InvalidField`] if a part of the path is empty;
/// [`Error::InvalidLine`] for the first line that is not UTF-8, not JSON, not
/// an object, repeats a key, or has no string at the path.
pub fn text_column<'a>(data: &'a [u8], field: &str) -> Result<TextColumn<'a>, Error> {
    let field = Field::new(field)?;
    let data = data.strip_prefix("\u{feff}".as_bytes()).unwrap_or(data);
    let mut column = TextColumn::default();
    let mut lines = 0;
    for part in parallel::map(&parts(data, MIN_PART_BYTES), 1, |part| {
        read_part(part, &field)
    }) {
        let part = part.map_err(|(line, reason)| Error::InvalidLine {
            line: lines + line,
            reason,
        })?;
        column.texts.extend(part.texts);
        column.lines.extend(part.lines.iter().map(|at| lines + at));
        lines += part.len;
    }
    Ok(column)
}

/// Splits `data` after line ends into parts of at least `min_bytes` bytes.
fn parts(data: &[u8], min_bytes: usize) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (Vec::new(), data);
    while rest.len() > min_bytes {
        let Some(end) = memchr(b'\n', &rest[min_bytes..]) else {
            break;
        };
        let (part, after) = rest.split_at(min_bytes + end + 1);
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    parts
}

/// The texts of a part of a file; lines are numbered from 1 within the part.
struct Part<'a> {
    texts: Vec<Cow<'a, str>>,
    lines: Vec<usize>,
    /// The number of lines, including blank ones.
    len: usize,
}

/// Reads a part; the error has the line number within the part.
fn read_part<'a>(data: &'a [u8], field: &Field) -> Result<Part<'a>, (usize, String)> {
    let mut part = Part {
        texts: Vec::new(),
        lines: Vec::new(),
        len: 0,
    };
    let mut rest = data;
    while !rest.is_empty() {
        let end = memchr(b'\n', rest).unwrap_or(rest.len());
        part.len += 1;
        match read_line(&rest[..end], field) {
            Ok(Some(text)) => {
                part.texts.push(text);
                part.lines.push(part.len);
            }
            Ok(None) => {}
            Err(reason) => return Err((part.len, reason)),
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    Ok(part)
}

/// The text of one line; None for a blank line.
fn read_line<'a>(line: &'a [u8], field: &Field) -> Result<Option<Cow<'a, str>>, String> {
    let line = std::str::from_utf8(line).map_err(|error| {
        format!(
            "not UTF-8 (byte {}); save the file as UTF-8",
            error.valid_up_to() + 1
        )
    })?;
    if line.trim_matches(is_space).is_empty() {
        return Ok(None);
    }
    let found = match field.find(line) {
        Err(error) => match surrogates::replaced(line) {
            // An owned text, since the fixed line is dropped here.
            Some(fixed) => field.find(&fixed).map(Found::into_owned),
            None => Err(error),
        },
        found => found,
    };
    let found = found.map_err(not_json)?;
    if let Some(key) = keys::repeated(line) {
        return Err(format!(
            "the key `{}` appears twice; remove one of them, or the line",
            key.escape_debug()
        ));
    }
    found.text(field).map(Some)
}

/// White space as defined by Python's `str.strip`.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

fn not_json(error: serde_json::Error) -> String {
    let column = error.column();
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or_default();
    format!("not valid JSON: {reason} at column {column}; fix or remove the line")
}

#[cfg(test)]
mod tests;
