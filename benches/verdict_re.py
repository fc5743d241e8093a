"""The rules of docs/verdicts.md with Python's compiled `re`: the baseline of the bench.

Optimised for speed: `re` is fast for patterns that start with a literal or a character set, and slow for those that
start with a look-behind or ignore case, hence the spelling of the word. No search is done twice.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

Verdict = tuple[str, float | None]
MISSING: Verdict = ("missing", None)
OUT_OF_RANGE: Verdict = ("out_of_range", None)
CONFLICTING: Verdict = ("conflicting", None)

# Starts with `<` or `[`, so `re` skips to these; this still works with IGNORECASE, since they have no case.
TAG = re.compile(
    r"<(?:(?P<close>/)?(?P<think>think)>|/s>|eos>|(?:start|end)_of_turn>"
    r"|\|(?:im_(?:start|end|sep)|user|assistant|system|eot_id|eom_id|(?:start|end)_header_id|begin_of_text"
    r"|end_of_text|endoftext|end|eot|start|return)\|>"
    r"|\uff5c(?:User|Assistant|end\u2581of\u2581sentence)\uff5c>)|\[INST\]",
    re.IGNORECASE,
)
SPEAKER = re.compile(r"\n[^\S\n]*(?:User[:\uff1a]|USER:|Human[:\uff1a]|HUMAN:|<response>)")
OPENING_SPEAKER = re.compile(r"[^\S\n]*(?:User[:\uff1a]|USER:|Human[:\uff1a]|HUMAN:|<response>)")

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
WORDS = {word: float(n) for n, word in enumerate(NAMES)}
DASH = "[-\u2010\u2011\u2013\u2014\u2212\uff0d]"
MARKS = "*_`#\"'\u201c\u201d"
FILL, OPEN, CLOSE = (rf"(?:[^\S\n]|[{marks}])*" for marks in (MARKS, MARKS + r"<\[(", MARKS + r">\])"))
UNIT = r"(?:points?|pts?|stars)(?![^\W_])"
NUMBER = rf"(?:[+]|{DASH})?(?:[0-9]+(?:\.[0-9]+)?(?!\.?[0-9])(?:{UNIT}|(?![^\W_]))|(?:{'|'.join(WORDS)})(?![^\W_]))"
SCALE = rf"(?:%|{OPEN}(?:/|(?:out[^\S\n]*)?of[^\S\n]+(?:(?:a|possible|maximum|max|total|of)[^\S\n]+)*){OPEN}({NUMBER}))"

WORD = re.compile(r"[Ss][Cc][Oo][Rr][Ee](?![^\W_])")
NO_LABEL = re.compile(
    rf"(?:[^\W_]|(?<!total)(?<!final)(?<!overall)(?<=[^\W_])(?:_|{DASH})"
    rf"|(?<![^\W_])(?:max|maximum|highest|min|minimum|lowest|possible|perfect|full){FILL})\Z",
    re.IGNORECASE,
)
SEPARATOR = re.compile(
    rf"{FILL}(?:[(\[](?P<note>[^)\]\n]{{0,40}})[)\]]{FILL})?"
    rf"(?:(?P<colon>(?:is(?![^\W_]){FILL})?[:=\uff1a]+)|is(?![^\W_])|{DASH})",
    re.IGNORECASE,
)
ON_LINE = re.compile(rf"{OPEN}(?P<number>{NUMBER})", re.IGNORECASE)
ANYWHERE = re.compile(rf"(?:{OPEN}\n)*{OPEN}(?P<number>{NUMBER})", re.IGNORECASE)
TAIL = re.compile(
    rf"(?P<comma>,[0-9])?(?P<all>(?:{CLOSE}{UNIT})?(?:{CLOSE}{SCALE}(?:{CLOSE}{UNIT})?)?)"
    rf"(?P<more>{CLOSE}(?:(?:\.\.+|(?:{DASH}|[~\u2192\u2026+=\u2248\u00d7&|:])>?){OPEN}{NUMBER}"
    rf"|(?:,?{OPEN}(?:or|to|and)(?![^\W_]){OPEN}{NUMBER})|(?<=[\s{MARKS}>\])])[0-9]))?",
    re.IGNORECASE,
)
ALONE = re.compile(rf"(?:{CLOSE}|\.)*(?:\n|\r|\Z)")
DIFFERENCE = re.compile(rf"{FILL}(?:below|above|under|over|lower|higher|less|more|short)(?![^\W_])", re.IGNORECASE)


def parts(text: str) -> list[str]:
    """Return the parts of the reply that count: rules 1 and 2."""
    found: list[str] = []
    start, end, thinking = 0, len(text), False
    speaker = OPENING_SPEAKER.match(text) or SPEAKER.search(text)
    for tag in TAG.finditer(text):
        if speaker and not thinking and speaker.start() < tag.start():
            break
        if not tag["think"]:
            end = tag.start()
            break
        if not tag["close"]:
            if not thinking:
                found.append(text[start : tag.start()])
            thinking = True
            continue
        if not thinking:
            found.clear()
        thinking, start = False, tag.end()
        speaker = OPENING_SPEAKER.match(text, start) or SPEAKER.search(text, start)
    if thinking:
        return []
    if speaker and start <= speaker.start() < end:
        end = speaker.start() + 1
        if not text[start:end].strip():
            end = start
    found.append(text[start:end])
    return found


def value(number: str) -> float:
    """Return the value of a match of NUMBER."""
    if number.isdecimal():
        return float(number)
    sign = -1.0 if number[0] in "-\u2010\u2011\u2013\u2014\u2212\uff0d" else 1.0
    digits = number.lstrip("+-\u2010\u2011\u2013\u2014\u2212\uff0d").lower()
    digits = re.sub(r"(?<=\d)[a-z]+\Z", "", digits)
    return sign * (WORDS[digits] if digits in WORDS else float(digits))


def on_scale(score: float, max_score: float) -> Verdict:
    """Return the verdict of a number."""
    return ("scored", score + 0.0) if 0.0 <= score <= max_score else OUT_OF_RANGE


def label(text: str, max_score: float) -> Verdict | None:
    """Return the verdict of the last label of a part: rules 3 and 4."""
    for word in reversed(list(WORD.finditer(text))):
        if NO_LABEL.search(text, max(0, word.start() - 12), word.start()):
            continue
        verdict = at_label(text, word.end(), max_score)
        if verdict is not None:
            return verdict
    return None


def at_label(text: str, at: int, max_score: float) -> Verdict | None:
    """Return the verdict of the label whose word ends at `at`; None if it is not a label."""
    separator = SEPARATOR.match(text, at)
    if not separator:
        return None
    colon = separator["colon"] is not None
    found = (ANYWHERE if colon else ON_LINE).match(text, separator.end())
    if not found:
        return MISSING if colon else None
    tail = TAIL.match(text, found.end())
    assert tail is not None
    if "\n" in text[separator.end() : found.start("number")] and not ALONE.match(text, tail.end("all")):
        return MISSING
    if not colon and DIFFERENCE.match(text, tail.end("all")):
        return None
    if tail["comma"] or tail["more"]:
        return CONFLICTING
    return scaled(found["number"], tail, separator["note"], max_score)


def scaled(number: str, tail: re.Match[str], note: str | None, max_score: float) -> Verdict:
    """Return the verdict of one number, whose scale may be in `tail` or `note`."""
    denominator = tail[3]
    if denominator is not None and value(denominator) != max_score:
        return OUT_OF_RANGE
    if denominator is None and "%" in tail["all"] and max_score != 100.0:
        return OUT_OF_RANGE
    if note and "+" not in note:
        scales = [float(digits) for digits in re.findall(r"[0-9]+(?:\.[0-9]+)?", note)]
        if scales and max(scales) != max_score:
            return OUT_OF_RANGE
    return on_scale(value(number), max_score)


def matcher(pattern: str) -> Callable[[str, float], Verdict | None]:
    """Return a function that parses a part with a custom pattern."""
    compiled = re.compile(pattern)

    def last(text: str, max_score: float) -> Verdict | None:
        found = None
        for match in compiled.finditer(text):
            found = match
        if found is None:
            return None
        group = (found["score"] or "").strip()
        return on_scale(value(group), max_score) if WHOLE.fullmatch(group) else MISSING

    return last


WHOLE = re.compile(NUMBER, re.IGNORECASE)


def read(
    replies: list[str], max_score: float, of_part: Callable[[str, float], Verdict | None] = label
) -> list[Verdict]:
    """Return the verdicts of replies."""
    verdicts = []
    for reply in replies:
        for part in reversed(parts(reply)):
            verdict = of_part(part, max_score)
            if verdict is not None:
                break
        else:
            verdict = MISSING
        verdicts.append(verdict)
    return verdicts
