//! Keys that appear twice in an object, of which readers of JSON take
//! different ones.

use std::borrow::Cow;

use memchr::memchr2;

/// A key that appears twice in one of the objects of `line`, at any depth.
/// `line` must be valid JSON.
pub(super) fn repeated(line: &str) -> Option<String> {
    let bytes = line.as_bytes();
    // The keys of each open object; an open array has a list without keys.
    let mut open: Vec<Vec<Cow<'_, str>>> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'{' | b'[' => open.push(Vec::new()),
            b'}' | b']' => {
                if let Some(key) = open.pop().and_then(twice) {
                    return Some(key);
                }
            }
            b'"' => {
                let end = string_end(bytes, at);
                if is_before_colon(bytes, end + 1)
                    && let Some(keys) = open.last_mut()
                {
                    keys.push(unescaped(&line[at - 1..=end]));
                }
                at = end + 1;
            }
            _ => {}
        }
    }
    None
}

/// The position of the quotation mark that ends the string whose content
/// starts at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(found) = memchr2(b'"', b'\\', &bytes[at.min(bytes.len())..]) {
        at += found;
        if bytes[at] == b'"' {
            return at;
        }
        at += 2;
    }
    bytes.len().saturating_sub(1)
}

fn is_before_colon(bytes: &[u8], at: usize) -> bool {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter()
        .find(|byte| !byte.is_ascii_whitespace())
        .is_some_and(|&byte| byte == b':')
}

/// The content of a quoted string; a lone surrogate stays an escape.
fn unescaped(quoted: &str) -> Cow<'_, str> {
    let content = &quoted[1..quoted.len() - 1];
    if !content.contains('\\') {
        return Cow::Borrowed(content);
    }
    serde_json::from_str(quoted).map_or(Cow::Borrowed(content), Cow::Owned)
}

/// A key that appears more than once.
fn twice(mut keys: Vec<Cow<'_, str>>) -> Option<String> {
    keys.sort_unstable(); // an object may have many keys
    keys.windows(2)
        .find(|pair| pair[0] == pair[1])
        .map(|pair| pair[0].clone().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_keys_are_found_at_any_depth() {
        let cases = [
            ("{}", None),
            ("[]", None),
            (r#""a": "#, None),
            (r#"{"a": 1, "b": 2}"#, None),
            (r#"{"a": 1, "a": 2}"#, Some("a")),
            (r#"{"a":1,"b":{"a":1},"c":[{"a":1},{"a":1}]}"#, None),
            (
                r#"{"b": 0, "a": "x", "c": [1, {"d": {}}], "a": "x"}"#,
                Some("a"),
            ),
            (r#"{"x": {"a": 1, "a": 2}}"#, Some("a")),
            (r#"{"x": [[{"a": 1, "b": 2, "a": 3}]]}"#, Some("a")),
            (r#"{"a": "a", "b": "a"}"#, None),
            (r#"{"x": ["a", "a"], "y": ["x"]}"#, None),
            (r#"{"a" : 1, "a"	: 2}"#, Some("a")),
            (r#"{"a": 1, "\u0061": 2}"#, Some("a")),
            (r#"{"\"": 1, "\u0022": 2}"#, Some("\"")),
            (r#"{"a\\": 1, "a": 2}"#, None),
            (r#"{"": 1, "": 2}"#, Some("")),
            (r#"{"é": 1, "\u00e9": 2}"#, Some("é")),
            (r#"{"é": 1, "e\u0301": 2, "A": 3, "a": 4}"#, None),
            (r#"{"\ud800": 1, "\ud800": 2}"#, Some("\\ud800")),
            (r#"{"\ud800": 1, "\ud801": 2, "?": 3}"#, None),
            (r#"{"t": "{\"a\": 1, \"a\": 2}", "u": "\\"}"#, None),
            (r#"{"t": "\\", "t\\": "}{", "x": 1e999}"#, None),
        ];
        for (line, expected) in cases {
            assert_eq!(repeated(line).as_deref(), expected, "{line}");
        }
    }

    #[test]
    fn many_keys_and_deep_nesting_are_fast() {
        let many: Vec<String> = (0..200_000).map(|n| format!("\"{n}\":0")).collect();
        assert_eq!(repeated(&format!("{{{}}}", many.join(","))), None);
        let line = format!("{{{},\"77\":0}}", many.join(","));
        assert_eq!(repeated(&line).as_deref(), Some("77"));
        let deep = format!(
            "{}{{\"a\":0,\"a\":0}}{}",
            "[".repeat(300_000),
            "]".repeat(300_000)
        );
        assert_eq!(repeated(&deep).as_deref(), Some("a"));
    }
}
