//! Reading one column of text out of a file of JSON lines.
//!
//! JSON lines end at `\n` only: U+2028 and its kin are legal inside a JSON
//! string, and breaking a line there would break a row. The reading is that of
//! Python's `json.loads` line by line, with these choices:
//!
//! * a byte order mark before the first line, `\r` before `\n` and blank lines
//!   are allowed;
//! * `NaN` and `Infinity` are not: JSON (RFC 8259) has neither;
//! * of equal keys the last one counts;
//! * the escape of a lone surrogate (`"\ud800"`), which stands for no character,
//!   is read as `?`, as such a character in a Python string is elsewhere in
//!   this crate's bindings;
//! * what is not asked for may nest as deeply as it likes.

mod field;
mod surrogates;

use std::borrow::Cow;

use memchr::memchr;

use crate::{Error, parallel};
use field::{Field, Found};

/// How many bytes of whole lines one task reads.
const TASK: usize = 1 << 18;

/// The text of one field, line by line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextColumn<'a> {
    /// One text for each line that is not blank, borrowed where the line has it
    /// without escapes.
    pub texts: Vec<Cow<'a, str>>,
    /// The number of each of these lines, from 1.
    pub lines: Vec<usize>,
}

/// Reads the string `field` of every line of `data`: the name of a field of the
/// line's object, or a path whose parts are joined by dots (`chosen.0.content`),
/// each of which is a key of an object or a place, from 0, in an array. A key
/// that holds a dot cannot be named.
///
/// # Errors
/// [`Error::InvalidField`] if a part of the path is empty;
/// [`Error::InvalidLine`] for the first line that is not UTF-8, not JSON, no
/// object, or has no string there.
pub fn text_column<'a>(data: &'a [u8], field: &str) -> Result<TextColumn<'a>, Error> {
    let field = Field::new(field)?;
    let data = data.strip_prefix("\u{feff}".as_bytes()).unwrap_or(data);
    let mut column = TextColumn::default();
    let mut lines = 0;
    for part in parallel::map(&parts(data, TASK), 1, |part| read_part(part, &field)) {
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

/// Cuts `data` behind line ends into parts of at least `task` bytes.
fn parts(data: &[u8], task: usize) -> Vec<&[u8]> {
    let (mut parts, mut rest) = (Vec::new(), data);
    while rest.len() > task {
        let Some(end) = memchr(b'\n', &rest[task..]) else {
            break;
        };
        let (part, behind) = rest.split_at(task + end + 1);
        parts.push(part);
        rest = behind;
    }
    parts.push(rest);
    parts
}

/// What a part of a file holds; its lines are counted from 1.
struct Part<'a> {
    texts: Vec<Cow<'a, str>>,
    lines: Vec<usize>,
    /// The number of lines, blank ones included.
    len: usize,
}

/// Reads a part; the error has the number of the line within the part.
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
            // A text that owns its bytes, since the mended line ends here.
            Some(mended) => field.find(&mended).map(Found::into_owned),
            None => Err(error),
        },
        found => found,
    };
    found.map_err(not_json)?.text(field).map(Some)
}

/// White space as Python's `str.strip` takes it.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

fn not_json(error: serde_json::Error) -> String {
    let column = error.column();
    let text = error.to_string();
    let reason = text.split(" at line ").next().unwrap_or_default();
    format!("not valid JSON: {reason} at column {column}; mend or remove the line")
}

#[cfg(test)]
mod tests;
