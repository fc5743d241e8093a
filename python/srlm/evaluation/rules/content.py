"""Rules on what an answer contains: words, letters, marks. Arguments are named as in the benchmark's data."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from srlm.evaluation.rules.counting import holds

if TYPE_CHECKING:
    from collections.abc import Sequence

OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def existence(answer: str, *, keywords: Sequence[str]) -> bool:
    """keywords:existence: every keyword is there, in any case, also inside longer words."""
    return all(_occurrences(keyword, answer) for keyword in keywords)


def frequency(answer: str, *, keyword: str, frequency: int, relation: str) -> bool:
    """keywords:frequency: the keyword is there this often, in any case, also inside longer words."""
    return holds(_occurrences(keyword.strip(), answer), relation, frequency)


def forbidden_words(answer: str, *, forbidden_words: Sequence[str]) -> bool:
    """keywords:forbidden_words: none is there as a whole word, in any case; a word may end in a mark, as "C++" does."""
    return not any(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", answer, re.IGNORECASE) for word in forbidden_words)


def letter_frequency(answer: str, *, letter: str, let_frequency: int, let_relation: str) -> bool:
    """keywords:letter_frequency: the character is there this often, in either case."""
    return holds(answer.lower().count(letter.lower()), let_relation, let_frequency)


def number_placeholders(answer: str, *, num_placeholders: int) -> bool:
    """detectable_content:number_placeholders: at least so many [placeholders], each within a line."""
    return len(re.findall(r"\[[^\[\]\n]*\]", answer)) >= num_placeholders


def postscript(answer: str, *, postscript_marker: str) -> bool:
    """detectable_content:postscript: the marker is there, in any case; "P.S." and "P.P.S" may have spaces inside."""
    patterns = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    marker = postscript_marker.strip()
    return bool(re.search(patterns.get(marker, re.escape(marker.lower())), answer.lower()))


def no_comma(answer: str) -> bool:
    """punctuation:no_comma: no "," (other scripts' commas are not asked about)."""
    return "," not in answer


def constrained_response(answer: str) -> bool:
    """detectable_format:constrained_response: one of the three options is there, as it is written."""
    return any(option in answer for option in OPTIONS)


def _occurrences(keyword: str, answer: str) -> int:
    return len(re.findall(re.escape(keyword), answer, re.IGNORECASE))
