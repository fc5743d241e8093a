//! The reader of JSON lines agrees with serde_json on whole values.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use srlm_core::Error;
use srlm_core::jsonl::text_column;

const FIELDS: [&str; 3] = ["t", "t.0", "a.b"];

fuzz_target!(|data: &[u8]| {
    for field in FIELDS {
        let whole = text_column(data, field);
        let mut texts = Vec::new();
        let mut numbers = Vec::new();
        let mut wrong = None;
        let rest = data.strip_prefix("\u{feff}".as_bytes()).unwrap_or(data);
        for (at, line) in rest.split(|&byte| byte == b'\n').enumerate() {
            match one(line, field) {
                Ok(Some(text)) => {
                    texts.push(text);
                    numbers.push(at + 1);
                }
                Ok(None) => {}
                Err(()) => wrong = wrong.or(Some(at + 1)),
            }
        }
        match whole {
            Ok(column) => {
                assert_eq!(wrong, None);
                assert_eq!(column.texts, texts);
                assert_eq!(column.lines, numbers);
            }
            Err(error) => {
                let line = wrong.expect("a line that is wrong by itself");
                assert!(error.to_string().starts_with(&format!("line {line}: ")));
            }
        }
    }
});

/// One line, compared with its whole value; None if it is blank.
fn one(line: &[u8], field: &str) -> Result<Option<String>, ()> {
    // The preceding line end ensures that a byte order mark is not at the start
    // of the file.
    let data = [b"\n", line].concat();
    let ours = text_column(&data, field).map(|column| column.texts.first().map(|t| t.to_string()));
    match serde_json::from_slice::<Value>(line) {
        // An object that repeats a key is an error; its value here has the last one.
        Ok(value) if !repeats_a_key(&ours) => assert_eq!(
            ours.as_ref().ok(),
            text_at(&value, field).map(Some).as_ref()
        ),
        Ok(_) => assert!(serde_json::from_slice::<Unique>(line).is_err()),
        Err(error) => {
            let reason = error.to_string();
            let lenient = [
                "surrogate",
                "out of range",
                "recursion",
                "end of hex escape",
            ];
            let blank = std::str::from_utf8(line).is_ok_and(is_blank);
            assert!(
                ours.is_err() || blank || lenient.iter().any(|part| reason.contains(part)),
                "{reason}"
            );
        }
    }
    ours.map_err(drop)
}

fn is_blank(line: &str) -> bool {
    line.chars()
        .all(|c| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
}

fn text_at(value: &Value, field: &str) -> Option<String> {
    let mut value = Some(value).filter(|value| value.is_object())?;
    for part in field.split('.') {
        value = match value {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            value => value.get(part)?,
        };
    }
    value.as_str().map(str::to_owned)
}

fn repeats_a_key(found: &Result<Option<String>, Error>) -> bool {
    found
        .as_ref()
        .is_err_and(|error| error.to_string().contains("` appears twice"))
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
