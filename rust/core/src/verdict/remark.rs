//! What may follow the number of a label: the end of the line or sentence, or a
//! remark without another number.

use super::cursor::{Cursor, DASHES, is_blank, is_closer, is_filler, is_line_break};
use super::number;
use super::scale;
use super::words::{
    ARITHMETIC, ARTICLES, FUNCTION, NUMBERS, REASONS, REMARKS, UNITS, classes, is_in, last_word,
    word_at,
};

/// The maximum length, in bytes, of the part of a remark that is examined.
const MAX_REMARK: usize = 240;

/// Characters that begin a remark. `=` and `:` only before words.
const STARTS: [char; 14] = [
    ',', ';', '(', '[', '（', '…', ':', '=', '→', '|', '，', '；', '：', '・',
];

/// Signs outside ASCII that change a number or join two numbers.
const SIGNS: [char; 16] = [
    '±', '×', '÷', '≈', '≤', '≥', '＋', '＝', '～', '〜', '∓', '∼', '≠', '＜', '＞', '¬',
];

/// `4,5` is ambiguous: 4.5 in some locales, two numbers in others.
pub(super) fn has_decimal_comma(mut after: Cursor) -> bool {
    after
        .eat_if(|c| matches!(c, ',' | '٫' | '，' | '·'))
        .is_some()
        && after.peek().is_some_and(char::is_numeric)
}

/// Whether the text after a number and its scale leaves no doubt about it.
/// `is_key` is true for the value of a quoted key, which ends at a comma.
pub(super) fn is_clean(after: Cursor, value: f64, max_score: f64, is_key: bool) -> bool {
    let mut cursor = after;
    skip_closers(&mut cursor);
    if skip_restatement(&mut cursor, value, max_score) {
        skip_closers(&mut cursor);
    }
    let Some(next) = cursor.peek().filter(|&c| !is_line_break(c)) else {
        return true;
    };
    if is_key && matches!(next, ',' | '}' | ']') || eat_sentence_end(&mut cursor) {
        return true;
    }
    if cursor.rest().starts_with("..") {
        cursor.skip(|c| c == '.');
        return is_remark(cursor);
    }
    if DASHES.contains(&next) || STARTS.contains(&next) {
        return is_remark_after_sign(cursor);
    }
    if next.is_alphabetic() {
        return begins_remark(cursor) && !has_number(cursor);
    }
    let is_symbol = !next.is_ascii() && !next.is_alphanumeric() && !SIGNS.contains(&next);
    is_symbol && !has_number(cursor)
}

/// Skips marks, closing brackets and the ends of LaTeX groups.
fn skip_closers(cursor: &mut Cursor) {
    loop {
        cursor.skip(is_closer);
        let mut ahead = *cursor;
        if ahead.eat_if(|c| c == '\\').is_none()
            || ahead.eat_if(|c| matches!(c, ')' | ']' | '\\')).is_none()
        {
            return;
        }
        *cursor = ahead;
    }
}

/// Skips `.`, `!` and the like if a sentence ends there.
fn eat_sentence_end(cursor: &mut Cursor) -> bool {
    let mut ahead = *cursor;
    let Some(end) = ahead.eat_if(|c| matches!(c, '.' | '!' | '。' | '！' | '।' | '．')) else {
        return false;
    };
    let is_wide = matches!(end, '。' | '！' | '．');
    if !is_wide
        && ahead
            .peek()
            .is_some_and(|c| c == '.' || !(is_closer(c) || is_line_break(c)))
    {
        return ahead.peek() == Some('!') && end == '!' && {
            ahead.skip(|c| c == '!');
            ahead
                .peek()
                .is_none_or(|c| is_closer(c) || is_line_break(c))
        };
    }
    *cursor = ahead;
    true
}

/// Whether the text behind a dash, bracket, comma or similar sign is a remark.
fn is_remark_after_sign(mut cursor: Cursor) -> bool {
    let is_dash = cursor.eat_if(|c| DASHES.contains(&c)).is_some();
    let sign = if is_dash {
        None
    } else {
        cursor.eat_if(|_| true)
    };
    cursor.eat_if(|c| c == '>');
    cursor.skip(|c| is_filler(c) || c == '(' || DASHES.contains(&c));
    if cursor.peek().is_none_or(is_line_break) {
        return matches!(sign, Some(',' | ';' | '|' | '，' | '；' | '…'));
    }
    is_remark(cursor)
}

/// Whether the text at the cursor is a remark: it does not begin with a word of
/// arithmetic or of an alternative, and has no number.
fn is_remark(mut cursor: Cursor) -> bool {
    cursor.skip(is_filler);
    let word = word_at(cursor);
    !is_in(word, ARITHMETIC) && !has_number(cursor)
}

/// Whether the word that directly follows the number begins a remark, as in
/// `4 because it helps`, `3 or so` and `4 Explanation: …`. Any other word may be
/// what the number counts, or join it to another number.
fn begins_remark(mut cursor: Cursor) -> bool {
    let word = word_at(cursor);
    cursor.at += word.len();
    let ends_label = cursor.peek().is_some_and(|c| matches!(c, ':' | '：'));
    cursor.skip(is_filler);
    let next = word_at(cursor);
    match () {
        () if word.eq_ignore_ascii_case("or") => next.eq_ignore_ascii_case("so"),
        () if word.eq_ignore_ascii_case("to") => next.eq_ignore_ascii_case("be"),
        () => ends_label || is_in(word, REMARKS),
    }
}

/// Skips a bracket that says the same again: a sum of that value (`4 (1+1+1+1)`,
/// also `= 4`), the number (`4 (four)`), or its percentage (`4/5 (80%)`).
fn skip_restatement(cursor: &mut Cursor, value: f64, max_score: f64) -> bool {
    let mut ahead = *cursor;
    if ahead.eat_if(|c| matches!(c, '(' | '[' | '（')).is_none() {
        return false;
    }
    let mut sum = 0.0;
    for _ in 0..20 {
        ahead.skip(is_filler);
        let Some(term) = number::read(ahead) else {
            return false;
        };
        ahead.at = term.end;
        sum += term.value;
        ahead.skip(is_filler);
        if ahead.eat_if(|c| c == '+').is_none() {
            break;
        }
    }
    if ahead.eat_if(|c| c == '=').is_some() {
        ahead.skip(is_filler);
        let Some(total) = number::read(ahead).filter(|total| total.value == sum) else {
            return false;
        };
        ahead.at = total.end;
    }
    let mut scales = Vec::new();
    scale::skip(&mut ahead, &mut scales);
    let stated = match scales[..] {
        [] => sum,
        [scale] if scale == max_score => sum,
        [100.0] => sum * max_score / 100.0,
        _ => return false,
    };
    ahead.skip(is_filler);
    let closed = ahead.text[cursor.at..ahead.at].ends_with([')', ']', '）'])
        || ahead.eat_if(|c| matches!(c, ')' | ']' | '）')).is_some();
    let same = closed && (stated - value).abs() < 1e-9;
    if same {
        *cursor = ahead;
    }
    same
}

/// Whether the sentence at the cursor has a number. After a word such as
/// `because` a number may count a noun (`it misses one detail`), if nothing is
/// added or subtracted.
fn has_number(cursor: Cursor) -> bool {
    let text = remark_text(cursor);
    let (mut gives_reason, mut counts, mut computes) = (false, false, false);
    let mut at = 0;
    while let Some(found) = text[at..].find(char::is_alphanumeric) {
        let start = at + found;
        let word = word_at(Cursor::new(text, start));
        at = start + word.len();
        let classes = classes(word);
        gives_reason |= classes.has(REASONS);
        computes |= classes.has(ARITHMETIC);
        let is_number = classes.has(NUMBERS) || word.chars().any(char::is_numeric);
        if !is_number || is_pronoun(word, &text[..start]) {
            continue;
        }
        if !gives_reason || !counts_noun(&text[..start], &text[at..]) {
            return true;
        }
        counts = true;
    }
    counts && computes
}

/// The rest of the sentence and line, cut to [`MAX_REMARK`] bytes.
fn remark_text(cursor: Cursor<'_>) -> &str {
    let mut end = cursor;
    while end.at < cursor.at + MAX_REMARK {
        let mut ahead = end;
        if end.peek().is_none_or(is_line_break) || eat_sentence_end(&mut ahead) {
            break;
        }
        end.eat_if(|_| true);
    }
    &cursor.text[cursor.at..end.at]
}

/// Whether `one` stands for a noun, as in `a good one`.
fn is_pronoun(word: &str, before: &str) -> bool {
    if !word.eq_ignore_ascii_case("one") {
        return false;
    }
    let before = before.trim_end();
    let last = last_word(before);
    let earlier = last_word(before[..before.len() - last.len()].trim_end());
    is_in(last, ARTICLES) && last.len() > 1 || is_in(earlier, ARTICLES) && !is_in(last, ARITHMETIC)
}

/// Whether a number counts a noun that is not a unit of scores.
fn counts_noun(before: &str, after: &str) -> bool {
    let noun = after.trim_start_matches(is_blank);
    let word = word_at(Cursor::new(noun, 0));
    let signs = ['+', '=', '/', '×', '*'];
    noun.len() < after.len()
        && word.starts_with(char::is_lowercase)
        && !is_in(word, FUNCTION)
        && !is_in(word, UNITS)
        && !before.trim_end().ends_with(signs)
        && !before.trim_end().ends_with(DASHES)
}
