//! Splitting a text into the words that ROUGE-L compares.

/// See [`super::words`].
pub(super) fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    if lower.chars().any(|c| !c.is_ascii() && c.is_alphabetic()) {
        unicode_words(&lower)
    } else {
        ascii_words(&lower)
    }
}

fn ascii_words(lower: &str) -> Vec<String> {
    lower
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn unicode_words(lower: &str) -> Vec<String> {
    let mut words = Vec::new();
    for run in lower.split(|c: char| !c.is_alphanumeric()) {
        split_run(run, &mut words);
    }
    words
}

/// Splits a run of letters and digits so that each character of a script
/// without spaces is a word of its own.
fn split_run(run: &str, words: &mut Vec<String>) {
    let mut word = String::new();
    for c in run.chars() {
        if is_unspaced(c) {
            words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
            words.push(c.to_string());
        } else {
            word.push(c);
        }
    }
    words.extend((!word.is_empty()).then_some(word));
}

/// Kana and Han characters: the blocks from Hiragana to Katakana, the extended
/// Katakana, the unified and compatibility ideographs, and planes 2 and 3.
fn is_unspaced(c: char) -> bool {
    matches!(
        c,
        '\u{3040}'..='\u{30ff}'
            | '\u{31f0}'..='\u{31ff}'
            | '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{3ffff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_texts() {
        let cases: [(&str, &[&str]); 9] = [
            ("", &[]),
            (" …!? ", &[]),
            ("Hello, World!", &["hello", "world"]),
            (
                "don't snake_case 3.5",
                &["don", "t", "snake", "case", "3", "5"],
            ),
            ("x² = 4", &["x", "4"]),
            ("Ünïcode Wörter, 12", &["ünïcode", "wörter", "12"]),
            ("Напиши письмо.", &["напиши", "письмо"]),
            ("写一封信 to Bob2", &["写", "一", "封", "信", "to", "bob2"]),
            ("カタカナabc", &["カ", "タ", "カ", "ナ", "abc"]),
        ];
        for (text, expected) in cases {
            assert_eq!(words(text), expected, "{text:?}");
        }
    }
}
