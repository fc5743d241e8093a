"""Parsing a judge's pairwise verdict: a line `Verdict: A`, `Verdict: B` or `Verdict: tie`.

Only this form counts, since a remark may turn a letter around (`A is worse than B`, `A: 3/5, B: 4/5`). What may stand
around it is listed here; everything else is unparseable. Letters are ASCII, in either case; look-alikes do not count.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

VerdictLabel = Literal["first", "second", "tie", "missing"]

# The label: at the start of a line (after markdown, quotes or a list number), or after the end of a sentence.
_LABEL = re.compile(
    r"(?<![^\W_])(?:(?:my|the|our)\s{1,3})?(?:(?:final|overall)\s{1,3})?verdict(?![^\W_])", re.IGNORECASE
)
_LINE_START = re.compile(r"[\s*_`~#>|(\[{<\"'\u201c\u2018\u00ab\u201e\u2022+-]*(?:\d{1,3}[.)][\s*_`]*)?")
_SENTENCE_END = re.compile(r"[.!?\u2026\u3002\uff01\uff1f][*_)\]\"'\u201d\u2019\u00bb]{0,4}\s{1,4}[*_(\[]{0,6}\Z")
_SEPARATOR = re.compile(r"[*_`\"'\u201d\u2019)\]]{0,6}\s{0,4}(?:[:\uff1a=]|[-\u2013\u2014]{1,3})")
_IS = re.compile(r"\s{1,3}is\b\s{0,3}[:\uff1a]?", re.IGNORECASE)
_HEADING_END = re.compile(r"[\s*_`#\"'\u201d\u2019)\]|:\uff1a]*")
_BLANK = re.compile(r"\s+")
_WINDOW = 80  # characters before and after a label that are looked at: parsing takes linear time

# What may stand around the choice, from the outside to the inside.
_MARKUP = " \t\r\f\v*_`~\u00a0\u200b\u200c\u200d\ufeff"
_CLOSING = "]})\"'\u201d\u2019\u00bb|.!\u3002"
_PAIRS = [
    ("[", "]"), ("(", ")"), ("{", "}"), ("<", ">"), ('"', '"'), ("'", "'"), ("\u201c", "\u201d"), ("\u2018", "\u2019"),
    ("\u201e", "\u201c"), ("\u00ab", "\u00bb"), ("$", "$"), (r"\boxed{", "}"), (r"\text{", "}"), (r"\(", r"\)"),
]  # fmt: skip
_CHOICE = re.compile(
    r"(?:(?:answer|assistant|response|option|candidate|model|output)[\s*_`\"'(\[#:-]{1,6})?(?P<letter>[ab])"
    r"|(?:(?:it['\u2019]?s|it\s+is)\s+)?(?:a\s+)?(?:tied?|draw)",
    re.IGNORECASE | re.ASCII,
)
_NAMED = re.compile(r"(?<!\w)(?:A|B|[Tt]ie[ds]?|[Dd]raw)(?!\w)")
# Quoted instructions: the choices that a verdict has, and an example after a line that announces it.
_CHOICES = re.compile(r"A\W{1,6}B\W{1,6}(?:(?:or|and)\W{1,4})?(?:a\s+)?tie", re.IGNORECASE | re.ASCII)
_ANNOUNCED = re.compile(r"\b(?:form|format)\b.*\bA\b.*\bB\b.*[:\uff1a]\W*\Z")


def parse_verdict(text: str) -> VerdictLabel:
    """Parse the verdict in a judge's response: the last one, if no other verdict disagrees with it.

    Returns:
        "missing" if there is no verdict, the last one is not in the form `Verdict: A`, `Verdict: B` or `Verdict: tie`,
        or several verdicts disagree.
    """
    verdicts = list(_verdicts(text))
    if not verdicts or len(set(verdicts) - {"missing"}) != 1:
        return "missing"
    return verdicts[-1]


def _verdicts(text: str) -> Iterator[VerdictLabel]:
    """Yield every verdict of a text in order, and "missing" for one in another form."""
    for label in _LABEL.finditer(text):
        window = max(0, label.start() - _WINDOW)
        newline = text.rfind("\n", window, label.start())
        line_start = window if newline < 0 else newline + 1
        before = text[line_start : label.start()]
        is_line = (newline >= 0 or window == 0) and _LINE_START.fullmatch(before) is not None
        if not is_line and _SENTENCE_END.search(before) is None:
            continue
        if is_line and _ANNOUNCED.search(_line_before(text, line_start)):
            continue
        after = _line_from(text, label.end())
        separator, is_verb = _SEPARATOR.match(after), _IS.match(after)
        if is_line and _HEADING_END.fullmatch(after):
            yield _choice(_next_line(text, label.end() + len(after)))
        elif separator is not None:
            if not _CHOICES.fullmatch(_bare(after[separator.end() :])):
                yield _choice(after[separator.end() :])
        elif is_verb is not None:
            verdict = _choice(after[is_verb.end() :])
            if verdict != "missing" or _NAMED.search(after[is_verb.end() :]):  # "The verdict is final." is none
                yield verdict


def _choice(text: str) -> VerdictLabel:
    choice = _CHOICE.fullmatch(_bare(text))
    if choice is None:
        return "missing"
    letter = choice["letter"]
    return "tie" if letter is None else "first" if letter in "Aa" else "second"


def _bare(text: str) -> str:
    """Return the text without the markup, brackets, quotes and full stop around it.

    A bracket or quote may close one that stands before the label, but one that opens here must close here.
    """
    while True:
        bare = text.strip(_MARKUP)
        opened = next((pair for pair in _PAIRS if bare.startswith(pair[0])), None)
        if opened is not None and bare.endswith(opened[1]) and len(bare) >= len(opened[0] + opened[1]):
            bare = bare[len(opened[0]) : len(bare) - len(opened[1])]
        else:
            bare = bare.rstrip(_CLOSING + _MARKUP) if opened is None else bare.rstrip(".!\u3002")
        if bare == text:
            return bare
        text = bare


def _line_before(text: str, line_start: int) -> str:
    """Return the last non-blank line before `line_start`, or its end if it is long."""
    return text[max(0, line_start - 4 * _WINDOW) : line_start].rstrip().rpartition("\n")[2]


def _next_line(text: str, start: int) -> str:
    """Return the first non-blank line from `start` on (see `_line_from`)."""
    blank = _BLANK.match(text, start)
    return _line_from(text, blank.end() if blank else start)


def _line_from(text: str, start: int) -> str:
    """Return the rest of the line; if it is long, its beginning and a character that no verdict has."""
    line, ends, _ = text[start : start + _WINDOW].partition("\n")
    return line if ends or start + _WINDOW >= len(text) else line + "\0"
