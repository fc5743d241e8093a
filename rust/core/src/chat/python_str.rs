//! Methods of Python's `str` that templates use and that differ in Rust.

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, State};

/// Python's `str.isspace`: Unicode white space, and the ASCII separators, which
/// Rust does not include.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// `text.rstrip()`.
pub(super) fn rstrip(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

/// `text.strip()`.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// The ends of a text to strip.
#[derive(Clone, Copy)]
struct Ends {
    left: bool,
    right: bool,
}

const BOTH: Ends = Ends {
    left: true,
    right: true,
};

fn stripped(text: &str, characters: Option<&str>, ends: Ends) -> String {
    let is_stripped = |c: char| match characters {
        Some(characters) => characters.contains(c),
        None => is_space(c),
    };
    let mut text = text;
    if ends.left {
        text = text.trim_start_matches(is_stripped);
    }
    if ends.right {
        text = text.trim_end_matches(is_stripped);
    }
    text.to_owned()
}

/// Jinja's filter `trim`, which is `str.strip`.
pub(super) fn trim(value: &Value, characters: Option<&str>) -> String {
    match value.as_str() {
        Some(text) => stripped(text, characters, BOTH),
        None => stripped(&value.to_string(), characters, BOTH),
    }
}

/// Methods of Python's types: those of `str` that differ are implemented here,
/// the rest in minijinja's `pycompat`.
pub(super) fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    let ends = match name {
        "strip" => Some(BOTH),
        "lstrip" => Some(Ends {
            right: false,
            ..BOTH
        }),
        "rstrip" => Some(Ends {
            left: false,
            ..BOTH
        }),
        _ => None,
    };
    match (value.kind(), value.as_str(), ends, args) {
        (ValueKind::String, Some(text), Some(ends), []) => Ok(stripped(text, None, ends).into()),
        (ValueKind::String, Some(text), Some(ends), [characters]) if characters.is_none() => {
            Ok(stripped(text, None, ends).into())
        }
        (ValueKind::String, Some(text), None, []) if name == "split" => Ok(text
            .split(is_space)
            .filter(|word| !word.is_empty())
            .map(Value::from)
            .collect()),
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_python_s() {
        let every: String = (0..=0x3000u32)
            .filter_map(char::from_u32)
            .filter(|&c| is_space(c))
            .collect();
        let expected = "\t\n\u{b}\u{c}\r\u{1c}\u{1d}\u{1e}\u{1f} \u{85}\u{a0}\u{1680}\u{2000}\u{2001}\u{2002}\u{2003}\
                        \u{2004}\u{2005}\u{2006}\u{2007}\u{2008}\u{2009}\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}";
        assert_eq!(every, expected);
    }

    #[test]
    fn stripping() {
        assert_eq!(trim(&Value::from("\u{1f} a b\n"), None), "a b");
        assert_eq!(trim(&Value::from("xaxbx"), Some("x")), "axb");
        assert_eq!(trim(&Value::from(12), None), "12");
        assert_eq!(rstrip(" a \u{1c}"), " a");
    }
}
