"""The final answer of a response, and when two of them are the same."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING

from srlm.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

BOXED = re.compile(r"\\boxed\s*\{")
MARK = re.compile(r"(?:\banswer\s+is\b|\banswer\s*:|####)[^\S\n]*:?", re.IGNORECASE)
NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:\s*/\s*\d+)?(?:\^\d+)?|[-+]?\.\d+")
MAX_EXPONENT = 1000
SPACE_AND_MARKUP = " \t*_`$\"'"
ENDS = SPACE_AND_MARKUP + ".,;:!?"


def reader_of(pattern: str | None) -> Callable[[str], str | None]:
    """Return the function that finds the final answer of a response, in the form in which answers are compared.

    Without a pattern: the last `\\boxed{}`, else what follows the last "answer is", "answer:" or `####` on its
    line (the number alone, if it begins with one), else the last number.

    Raises:
        InputError: the pattern is not a regular expression with the group `answer`.
    """
    if pattern is None:
        return lambda text: _normal(_default(text))
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"signal.answer_pattern: {error}; use a regular expression with the group `answer`") from error
    if "answer" not in compiled.groupindex:
        raise InputError("signal.answer_pattern: has no group named `answer`; write it as (?P<answer>…)")

    def find(text: str) -> str | None:
        matches = [found.group("answer") for found in compiled.finditer(text)]
        return _normal(matches[-1] if matches else None)

    return find


def normal_answer(text: str) -> str | None:
    """Return an answer in the form in which answers are compared, or None if nothing is left of it.

    Numbers are compared as numbers: `1,000`, `1000.0`, `+1000` and `10^3` are the same, as are `1/2` and `0.5`, while
    `5%` is not 5. Other answers are compared without case, surrounding punctuation, quotes and emphasis, and runs of
    white space. Symbols and accents count.
    """
    return _normal(text)


def _default(text: str) -> str | None:
    boxed = [inside for found in BOXED.finditer(text) if (inside := _inside_braces(text, found.end())) is not None]
    if boxed:
        return boxed[-1]
    lines = [text[found.end() :].partition("\n")[0].strip(SPACE_AND_MARKUP) for found in MARK.finditer(text)]
    if marked := [line for line in lines if line]:
        number = NUMBER.match(marked[-1])
        return marked[-1] if number is None else number.group()
    numbers = NUMBER.findall(text)
    return numbers[-1] if numbers else None


def _inside_braces(text: str, start: int) -> str | None:
    """Return the text from `start` to the brace that closes the one before it."""
    depth = 1
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[start:at]
    return None


def _normal(text: str | None) -> str | None:
    bare = " ".join((text or "").split()).lstrip(SPACE_AND_MARKUP).rstrip(ENDS).casefold()
    if not bare:
        return None
    number = _as_number(bare)
    return bare if number is None else str(number)


def _as_number(text: str) -> Fraction | None:
    if not NUMBER.fullmatch(text):
        return None
    base, _, exponent = text.replace(",", "").replace(" ", "").partition("^")
    if exponent and int(exponent) > MAX_EXPONENT:
        return None
    try:
        number = Fraction(base) ** int(exponent or 1)
    except (ValueError, ZeroDivisionError):
        return None
    return Fraction(number)
