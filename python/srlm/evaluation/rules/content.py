"""Rules on the content of an answer: words, letters, punctuation. Argument names are those of the benchmark's data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from srlm.evaluation.rules.counting import satisfies

if TYPE_CHECKING:
    from collections.abc import Sequence

OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def existence(answer: str, *, keywords: Sequence[str]) -> bool:
    """keywords:existence: contains every keyword, in any case, also inside longer words."""
    return all(_occurrences(keyword, answer) for keyword in keywords)


def frequency(answer: str, *, keyword: str, frequency: int, relation: str) -> bool:
    """keywords:frequency: the number of occurrences, in any case, also inside longer words."""
    return satisfies(_occurrences(keyword.strip(), answer), relation, frequency)


def forbidden_words(answer: str, *, forbidden_words: Sequence[str]) -> bool:
    """keywords:forbidden_words: none occurs as a whole word, in any case; a word may end in punctuation, as "C++"."""
    return not any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", answer, re.IGNORECASE) for word in forbidden_words)


def letter_frequency(answer: str, *, letter: str, let_frequency: int, let_relation: str) -> bool:
    """keywords:letter_frequency: the number of occurrences of the character, in either case."""
    return satisfies(answer.lower().count(letter.lower()), let_relation, let_frequency)


def number_placeholders(answer: str, *, num_placeholders: int) -> bool:
    """detectable_content:number_placeholders: at least this many [placeholders], each within one line."""
    return len(re.findall(r"\[[^\[\]\n]*\]", answer)) >= num_placeholders


def postscript(answer: str, *, postscript_marker: str) -> bool:
    """detectable_content:postscript: contains the marker, in any case; "P.S." and "P.P.S" may contain spaces."""
    patterns = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    marker = postscript_marker.strip()
    return bool(re.search(patterns.get(marker, re.escape(marker.lower())), answer.lower()))


def no_comma(answer: str) -> bool:
    """punctuation:no_comma: no "," (commas of other scripts are allowed)."""
    return "," not in answer


def constrained_response(answer: str) -> bool:
    """detectable_format:constrained_response: contains one of the three options verbatim."""
    return any(option in answer for option in OPTIONS)


def _occurrences(keyword: str, answer: str) -> int:
    return len(re.findall(re.escape(keyword), answer, re.IGNORECASE))
