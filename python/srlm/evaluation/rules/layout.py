"""Rules on the layout of an answer: paragraphs, bullets, sections, titles, JSON."""

from __future__ import annotations

import json
import re

DIVIDER, TWO_RESPONSES_DIVIDER = "***", "******"


def number_paragraphs(answer: str, *, num_paragraphs: int) -> bool:
    """length_constraints:number_paragraphs: exactly this many, separated by "***".

    Only the first and the last part may be blank; they are not counted then.
    """
    parts = _parts(answer, DIVIDER)
    return parts is not None and len(parts) == num_paragraphs


def nth_paragraph_first_word(answer: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """length_constraints:nth_paragraph_first_word: this many, separated by blank lines; the nth starts with the word.

    Blank paragraphs (four line feeds in a row) are not counted, but the nth is taken from all of them, as in the
    benchmark's code.
    """
    paragraphs = answer.split("\n\n")
    filled = sum(1 for paragraph in paragraphs if paragraph.strip())
    if filled != num_paragraphs or nth_paragraph > filled:
        return False
    return _first_word(paragraphs[nth_paragraph - 1]) == first_word.lower()


def number_bullet_lists(answer: str, *, num_bullets: int) -> bool:
    """detectable_format:number_bullet_lists: exactly this many lines start with "-", or with a single "*" and text."""
    return sum(bool(re.match(r"\s*(?:\*[^*]|-)", line)) for line in answer.split("\n")) == num_bullets


def number_highlighted_sections(answer: str, *, num_highlights: int) -> bool:
    """detectable_format:number_highlighted_sections: at least this many *highlights* or **highlights**.

    Each is within one line. "***both***" counts twice, as in the benchmark's code.
    """
    single = re.findall(r"\*([^\n*]*)\*", answer)
    double = re.findall(r"\*\*([^\n*]*)\*\*", answer)
    return sum(bool(text.strip()) for text in single + double) >= num_highlights


def multiple_sections(answer: str, *, section_spliter: str, num_sections: int) -> bool:
    """detectable_format:multiple_sections: the word with a number ("Section 1") occurs at least this often."""
    return len(re.findall(re.escape(section_spliter.strip()) + r"\s?\d+", answer)) >= num_sections


def title(answer: str) -> bool:
    """detectable_format:title: a line has text between << and >>."""
    return any(_title(line) for line in answer.split("\n"))


def json_format(answer: str) -> bool:
    """detectable_format:json_format: the whole answer is JSON, with or without a code fence."""
    bare = re.sub(r"^```(?:json|Json|JSON)?", "", answer.strip()).removesuffix("```")
    try:
        json.loads(bare)
    except (ValueError, RecursionError):
        return False
    return True


def two_responses(answer: str) -> bool:
    """combination:two_responses: two different answers, separated by "******"."""
    parts = _parts(answer, TWO_RESPONSES_DIVIDER)
    return parts is not None and len(parts) == 2 and parts[0] != parts[1]


def _parts(answer: str, divider: str) -> list[str] | None:
    """Return the stripped non-blank parts; None if one between two dividers is blank."""
    parts = [part.strip() for part in answer.split(divider)]
    return [part for part in parts if part] if all(parts[1:-1]) else None


def _first_word(paragraph: str) -> str:
    """Return the first word in lower case, without leading quotes and up to a punctuation mark."""
    first = (paragraph.split() or [""])[0].lstrip("'").lstrip('"')
    return re.split(r"[.,?!'\"]", first)[0].lower()


def _title(line: str) -> str:
    start, end = line.find("<<"), line.rfind(">>")
    return line[start:end].lstrip("<").rstrip(">").strip() if 0 <= start < end else ""
