//! Tables of files and their texts, and a comparison with serde_json's values.

use super::*;
use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

fn texts(data: &str, field: &str) -> Result<Vec<(usize, String)>, String> {
    let column = text_column(data.as_bytes(), field).map_err(|error| error.to_string())?;
    let texts = column.texts.into_iter().map(Cow::into_owned);
    Ok(column.lines.into_iter().zip(texts).collect())
}

#[test]
fn lines_and_their_numbers() {
    let cases: [(&str, &[(usize, &str)]); 11] = [
        ("", &[]),
        ("\n \n\r\n\u{a0}\n\u{1c}\n", &[]),
        (r#"{"t": "a"}"#, &[(1, "a")]),
        ("\u{feff}{\"t\": \"a\"}\r\n", &[(1, "a")]),
        (
            "\n{\"t\": \"a\"}\n\n{\"t\": \"b\"}\n",
            &[(2, "a"), (4, "b")],
        ),
        ("{\"t\": \"a\u{2028}b\u{85}\"}", &[(1, "a\u{2028}b\u{85}")]),
        ("\t{\"x\": [{}, 1e999, null], \"t\": \"\"} ", &[(1, "")]),
        (r#"{"t": "\u00e9\ud83d\ude00\n\"\\"}"#, &[(1, "é😀\n\"\\")]),
        (r#"{"t": "a\ud800b", "\udfff": 0}"#, &[(1, "a?b")]),
        (r#"{"t": "\\ud800"}"#, &[(1, "\\ud800")]),
        (r#"{"\u0074": "a"}"#, &[(1, "a")]),
    ];
    for (data, expected) in cases {
        let found = texts(data, "t").unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(line, text)| (*line, text.as_str()))
            .collect();
        assert_eq!(found, expected, "{data:?}");
    }
}

#[test]
fn paths_lead_into_objects_and_arrays() {
    let line = r#"{"a": {"b": ["x", {"c": "y"}], "0": "z"}, "a.b": "no"}"#;
    for (path, text) in [("a.b.0", "x"), ("a.b.1.c", "y"), ("a.0", "z")] {
        assert_eq!(texts(line, path).unwrap(), [(1, text.to_owned())], "{path}");
    }
    for path in ["a.b.2", "a.b.c", "a.c", "b", "a.b.99999999999999999999999"] {
        let message = texts(line, path).unwrap_err();
        assert_eq!(
            message,
            format!("line 1: field `{path}` is missing; add it or use another field")
        );
    }
}

#[test]
fn errors_name_the_line_and_the_reason() {
    let cases = [
        (
            r#"{"t": "a"#,
            "not valid JSON: EOF while parsing a string at column 8; fix",
        ),
        (
            r#"{"t": "a"} x"#,
            "not valid JSON: trailing characters at column 12",
        ),
        (
            r#"{"t": NaN}"#,
            "not valid JSON: expected value at column 7",
        ),
        (
            r#"{"t": "a", "x": Infinity}"#,
            "not valid JSON: expected value",
        ),
        (
            r#"{"t": "a", "x": -Infinity}"#,
            "not valid JSON: invalid number",
        ),
        (r#"{"t": "a", "x": 01}"#, "not valid JSON: invalid number"),
        (r#"{"t": "\ud800\x"}"#, "not valid JSON: invalid escape"),
        ("{\"t\": \"a\tb\"}", "not valid JSON: control character"),
        ("\u{feff}\u{feff}{}", "not valid JSON: expected value"),
        ("[1]", "expected a JSON object, found an array"),
        ("[[\"x\"]]", "expected a JSON object, found an array"),
        ("\"t\"", "expected a JSON object, found a string"),
        ("true", "expected a JSON object, found a boolean"),
        ("null", "expected a JSON object, found null"),
        ("-1", "expected a JSON object, found a number"),
        ("{}", "field `t` is missing; add it"),
        (r#"{"t": null}"#, "field `t` is null; expected a string"),
        (r#"{"t": 1}"#, "field `t` is a number; expected a string"),
        (r#"{"t": -1.5}"#, "field `t` is a number; expected a string"),
        (
            r#"{"t": false}"#,
            "field `t` is a boolean; expected a string",
        ),
        (r#"{"t": []}"#, "field `t` is an array; expected a string"),
        (r#"{"t": {}}"#, "field `t` is an object; expected a string"),
    ];
    for (line, part) in cases {
        for (before, number) in [("", 1), ("\n{\"t\": \"\"}\n", 3)] {
            if before.is_empty() || !line.starts_with('\u{feff}') {
                let message = texts(&format!("{before}{line}\n{{"), "t").unwrap_err();
                assert!(
                    message.starts_with(&format!("line {number}: {part}")),
                    "{line}: {message}"
                );
            }
        }
    }
    assert_eq!(
        texts(r#"{"a": {"b": 1}}"#, "a.b.c").unwrap_err(),
        "line 1: field `a.b.c` is missing, since `a.b` is a number; use another field"
    );
}

/// Also where the values are equal, where the field is another one, and where
/// it is missing.
#[test]
fn repeated_keys_are_errors() {
    let cases = [
        (r#"{"t": 1, "t": "a"}"#, "t", "t"),
        (r#"{"t": "a", "t": "a"}"#, "t", "t"),
        (r#"{"t": "a", "\u0074": "b"}"#, "t", "t"),
        (r#"{"t": "a", "x": 1, "x": 1}"#, "t", "x"),
        (r#"{"x": [{"y": 1, "y": 2}], "t": "a"}"#, "t", "y"),
        (r#"{"x": 1, "x": 1}"#, "t", "x"),
        (r#"{"a": {"b": "x"}, "a": {"c": "y"}}"#, "a.b", "a"),
        (r#"{"a": {"b": "x", "b": "y"}}"#, "a.b", "b"),
        (r#"{"a": [{"b": "x", "b": "y"}]}"#, "a.0.b", "b"),
        (r#"{"t": "\ud800", "t": "a"}"#, "t", "t"),
        (r#"{"a\n": 1, "t": "", "a\n": 2}"#, "t", "a\\n"),
    ];
    for (line, field, key) in cases {
        for (before, number) in [("", 1), ("\n{\"t\": \"\", \"a\": [{\"b\": \"\"}]}\n", 3)] {
            let found = texts(&format!("{before}{line}\n{{"), field);
            if before.is_empty() || field != "a.b" {
                assert_eq!(
                    found.unwrap_err(),
                    format!(
                        "line {number}: the key `{key}` appears twice; remove one of them, or the line"
                    ),
                    "{line}"
                );
            }
        }
    }
    // Not in a value that is broken JSON, which is said first.
    let message = texts(r#"{"t": 1, "t": "a""#, "t").unwrap_err();
    assert!(message.contains("not valid JSON"), "{message}");
}

#[test]
fn bytes_that_are_not_text() {
    let error = text_column(b"{\"t\": \"a\"}\n{\"t\": \"\xff\"}\n", "t").unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 2: not UTF-8 (byte 8); save the file as UTF-8"
    );
}

#[test]
fn a_field_has_a_name() {
    for field in ["", ".", "a.", ".a", "a..b"] {
        let message = text_column(b"", field).unwrap_err().to_string();
        assert!(message.starts_with("field is "), "{message}");
    }
}

#[test]
fn deep_nesting_takes_no_stack() {
    let deep = 300_000;
    for (open, close) in [("[", "]"), ("{\"t\":", "}")] {
        let value = format!("{}0{}", open.repeat(deep), close.repeat(deep));
        assert_eq!(
            texts(&format!("{{\"x\": {value}, \"t\": \"a\"}}"), "t"),
            Ok(vec![(1, "a".to_owned())])
        );
        assert!(texts(&format!("{{\"t\": {value}}}"), "t").is_err());
        assert!(texts(&open.repeat(deep), "t").is_err());
    }
}

#[test]
fn parts_are_whole_lines() {
    for data in ["", "\n", "a", "ab\ncd\n\nef", "abc\ndef\n"] {
        for task in 0..9 {
            let parts = parts(data.as_bytes(), task);
            assert_eq!(parts.concat(), data.as_bytes());
            for part in &parts[..parts.len() - 1] {
                assert!(
                    part.len() > task && part.ends_with(b"\n"),
                    "{data:?} {task}"
                );
            }
        }
    }
}

/// Long enough for many parts: line numbers continue from part to part.
#[test]
fn many_parts() {
    let lines: Vec<String> = (0..40_000)
        .map(|n| match n % 3 {
            0 => String::new(),
            _ => format!(r#"{{"n": {n}, "t": "text number {n}\n"}}"#),
        })
        .collect();
    let data = lines.join("\n");
    let expected: Vec<(usize, String)> = (0..40_000)
        .filter(|n| n % 3 != 0)
        .map(|n| (n + 1, format!("text number {n}\n")))
        .collect();
    assert!(parts(data.as_bytes(), MIN_PART_BYTES).len() > 4);
    assert_eq!(texts(&data, "t").unwrap(), expected);
    let message = texts(&format!("{data}\n{{}}\nx"), "t").unwrap_err();
    assert!(
        message.starts_with("line 40001: field `t` is missing"),
        "{message}"
    );
}

/// Deserialises any value in which no object repeats a key.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Self;

    fn expecting(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut keys = std::collections::HashSet::new();
        while let Some((key, _)) = map.next_entry::<String, Self>()? {
            if !keys.insert(key) {
                return Err(serde::de::Error::custom("repeated"));
            }
        }
        Ok(self)
    }
}

/// Objects of few keys, nested, with and without escapes and spaces.
fn object() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec!["1", "\"a\"", "\"}\\\"\\\\\"", "{}", "[]", "null"]);
    leaf.prop_map(str::to_owned)
        .prop_recursive(3, 24, 4, |inner| {
            let key = prop::sample::select(vec![
                "\"a\"",
                "\"b\" ",
                "\"\\u0061\"",
                "\"\\\"\"",
                "\"c\\\\\"",
                "\"\"",
            ]);
            let entry = (key, inner.clone()).prop_map(|(key, value)| format!("{key}: {value}"));
            prop_oneof![
                prop::collection::vec(entry, 0..4)
                    .prop_map(|entries| format!("{{{}}}", entries.join(", "))),
                prop::collection::vec(inner, 0..3)
                    .prop_map(|items| format!("[{}]", items.join(","))),
            ]
        })
}

/// The naive way: parses every line into a value.
fn naive(data: &str, path: &[&str]) -> Result<Vec<(usize, String)>, usize> {
    let mut found = Vec::new();
    for (at, line) in data.split('\n').enumerate() {
        if line.trim_matches(is_space).is_empty() {
            continue;
        }
        let value: Value = serde_json::from_str(line).map_err(|_| at + 1)?;
        serde_json::from_str::<Unique>(line).map_err(|_| at + 1)?;
        let mut inner = Some(&value).filter(|value| value.is_object());
        for part in path {
            inner = inner.and_then(|value| match value {
                Value::Array(items) => items.get(part.parse::<usize>().ok()?),
                value => value.get(part),
            });
        }
        let text = inner.and_then(Value::as_str).ok_or(at + 1)?;
        found.push((at + 1, text.to_owned()));
    }
    Ok(found)
}

/// Files made of the pieces of JSON, mostly broken, and of whole lines.
fn file() -> impl Strategy<Value = String> {
    let pieces = vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\"t\"",
        "\"0\"",
        "\"x\"",
        "{\"t\":",
        "{\"t\":{\"0\":",
        "{\"t\":[",
        "\\n",
        "\\u00e9",
        "\\ud83d\\ude00",
        "\\",
        "1",
        "-",
        "0",
        "1.5e3",
        "true",
        "null",
        "NaN",
        " ",
        "\t",
        "\r",
        "\n",
        "\u{2028}",
        "é",
        "\u{1}",
    ];
    let line = prop::sample::select(vec![
        "{\"t\": \"a\"}",
        "{\"t\": {\"0\": \"b\"}}",
        "{\"t\": [\"c\", 1]}",
        "{\"x\": 1, \"t\": \"d\", \"t\": \"\\u00e9\"}",
        "",
    ]);
    prop_oneof![
        prop::collection::vec(prop::sample::select(pieces), 0..16).prop_map(|parts| parts.concat()),
        prop::collection::vec(line, 0..5).prop_map(|lines| lines.join("\n")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn repeated_keys_are_those_of_a_parser(line in object()) {
        let unique = serde_json::from_str::<Unique>(&line).is_ok();
        prop_assert_eq!(keys::repeated(&line).is_none(), unique, "{}", line);
    }

    #[test]
    fn columns_are_those_of_whole_values(data in file(), path in prop::sample::select(vec!["t", "t.0"])) {
        let split: Vec<&str> = path.split('.').collect();
        match (texts(&data, path), naive(&data, &split)) {
            (Ok(found), expected) => prop_assert_eq!(Ok(found), expected),
            (Err(message), Err(line)) => {
                prop_assert!(message.starts_with(&format!("line {line}: ")), "{} {}", message, line);
            }
            (Err(message), Ok(_)) => prop_assert!(false, "{}", message),
        }
    }
}
