//! One string of a JSON object, by its path.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::Error;

/// The path of a field.
pub(super) struct Field {
    name: String,
    parts: Vec<String>,
}

impl Field {
    pub fn new(name: &str) -> Result<Self, Error> {
        let parts: Vec<String> = name.split('.').map(str::to_owned).collect();
        if parts.iter().any(String::is_empty) {
            return Err(Error::InvalidField {
                field: name.to_owned(),
            });
        }
        Ok(Self {
            name: name.to_owned(),
            parts,
        })
    }

    /// The value at this path in a line, which is one JSON value.
    pub fn find<'a>(&self, line: &'a str) -> Result<Found<'a>, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_str(line);
        let found = ValueAt(&self.parts).deserialize(&mut reader)?;
        reader.end()?;
        Ok(match line.trim_start().as_bytes().first() {
            Some(b'{') => found,
            Some(b'[') => Found::NoObject("an array"),
            Some(b'"') => Found::NoObject("a string"),
            Some(b't' | b'f') => Found::NoObject("a boolean"),
            Some(b'n') => Found::NoObject("null"),
            _ => Found::NoObject("a number"),
        })
    }
}

/// The value at the path of a field.
pub(super) enum Found<'a> {
    Text(Cow<'a, str>),
    Missing,
    /// A value of another type (its name): at the end of the path not a string,
    /// or before the end not a container for the remaining parts (their
    /// number).
    Other(&'static str, usize),
    /// The line itself is not an object.
    NoObject(&'static str),
}

impl<'a> Found<'a> {
    /// The text, or the error message.
    pub fn text(self, field: &Field) -> Result<Cow<'a, str>, String> {
        let name = &field.name;
        match self {
            Self::Text(text) => Ok(text),
            Self::Missing => Err(format!(
                "field `{name}` is missing; add it or use another field"
            )),
            Self::Other(kind, 0) => Err(format!(
                "field `{name}` is {kind}; expected a string, or use another field"
            )),
            Self::Other(kind, left) => {
                let inside = field.parts[..field.parts.len() - left].join(".");
                Err(format!(
                    "field `{name}` is missing, since `{inside}` is {kind}; \
                     use another field"
                ))
            }
            Self::NoObject(kind) => Err(format!("expected a JSON object, found {kind}")),
        }
    }

    pub fn into_owned<'b>(self) -> Found<'b> {
        match self {
            Self::Text(text) => Found::Text(Cow::Owned(text.into_owned())),
            Self::Missing => Found::Missing,
            Self::Other(kind, left) => Found::Other(kind, left),
            Self::NoObject(kind) => Found::NoObject(kind),
        }
    }
}

/// Deserialises one value and keeps only what is at the path. The whole value
/// is read, so that invalid JSON is detected.
struct ValueAt<'p>(&'p [String]);

impl ValueAt<'_> {
    fn other<'a>(&self, kind: &'static str) -> Found<'a> {
        Found::Other(kind, self.0.len())
    }
}

impl<'de> DeserializeSeed<'de> for ValueAt<'_> {
    type Value = Found<'de>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Found<'de>, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueAt<'_> {
    type Value = Found<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Found<'de>, E> {
        Ok(match self.0 {
            [] => Found::Text(Cow::Borrowed(text)),
            _ => self.other("a string"),
        })
    }

    fn visit_str<E>(self, text: &str) -> Result<Found<'de>, E> {
        Ok(match self.0 {
            [] => Found::Text(Cow::Owned(text.to_owned())),
            _ => self.other("a string"),
        })
    }

    fn visit_bool<E>(self, _: bool) -> Result<Found<'de>, E> {
        Ok(self.other("a boolean"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Found<'de>, E> {
        Ok(self.other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Found<'de>, E> {
        Ok(self.other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Found<'de>, E> {
        Ok(self.other("a number"))
    }

    fn visit_unit<E>(self) -> Result<Found<'de>, E> {
        Ok(self.other("null"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found<'de>, A::Error> {
        let Some((key, rest)) = self.0.split_first() else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(self.other("an object"));
        };
        let mut found = Found::Missing;
        while let Some(matches) = map.next_key_seed(KeyIs(key))? {
            if matches {
                found = map.next_value_seed(ValueAt(rest))?; // `read_line` refuses a second one
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Found<'de>, A::Error> {
        let mut found = match self.0 {
            [] => self.other("an array"),
            _ => Found::Missing,
        };
        if let Some((index, rest)) = self.0.split_first()
            && let Ok(index) = index.parse::<usize>()
        {
            for _ in 0..index {
                if list.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(found);
                }
            }
            if let Some(value) = list.next_element_seed(ValueAt(rest))? {
                found = value;
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

/// Deserialises a key and compares it with this one.
struct KeyIs<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for KeyIs<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<bool, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyIs<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}
