//! Replacement of the escapes of lone surrogates.

/// The line with every escape of a lone surrogate replaced by the escape of
/// `?`, which has the same length; None if there is none.
pub(super) fn replaced(line: &str) -> Option<String> {
    let bytes = line.as_bytes();
    let mut fixed = String::new();
    let (mut at, mut copied) = (0, 0);
    while let Some(found) = memchr::memchr(b'\\', &bytes[at..]) {
        at += found;
        let len = match code_unit(bytes, at) {
            None => 2, // another escape, or invalid
            Some(0xD800..=0xDBFF) if is_low(bytes, at + 6) => 12,
            Some(0xD800..=0xDFFF) => {
                fixed.push_str(&line[copied..at]);
                fixed.push_str("\\u003f");
                copied = at + 6;
                6
            }
            Some(_) => 6,
        };
        at = (at + len).min(bytes.len());
    }
    if fixed.is_empty() {
        return None;
    }
    fixed.push_str(&line[copied..]);
    Some(fixed)
}

fn is_low(bytes: &[u8], at: usize) -> bool {
    matches!(code_unit(bytes, at), Some(0xDC00..=0xDFFF))
}

/// The UTF-16 code unit whose escape starts at byte `at`.
fn code_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |value, &digit| {
        Some(value << 4 | char::from(digit).to_digit(16)? as u16)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lone_surrogates_become_question_marks() {
        let cases = [
            (r"\ud800", Some(r"\u003f")),
            (r"a\uDFFFé\ud83d\ude00", Some(r"a\u003fé\ud83d\ude00")),
            (r"\ude00\ud83d", Some(r"\u003f\u003f")),
            (r"\ud800\ud83d\ude00", Some(r"\u003f\ud83d\ude00")),
            (r"\ud83d\n\ude00", Some(r"\u003f\n\u003f")),
            (r"\\ud800", None),
            (r"\\\ud800", Some(r"\\\u003f")),
            (r"\ud83d\ude00", None),
            (r"\u0041", None),
            (r"\ud80", None),
            ("\\", None),
            (r"\é", None),
            ("", None),
        ];
        for (line, expected) in cases {
            assert_eq!(replaced(line).as_deref(), expected, "{line}");
        }
    }
}
